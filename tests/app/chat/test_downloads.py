"""Downloads beside the chat, from a Hub on this machine, in a process of their own as the application starts it."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.chat import downloads
from app.chat.downloads import Download, Downloads
from engine.errors import EngineBusy
from engine.models.well_known import ChatModel, chat_models
from tests.fake_hub import FakeHub, running
from tests.gguf_files import write_gguf

WAIT_S = 60.0
TinyModel = Callable[..., Path]


@pytest.fixture
def hub(tmp_path: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Two models of the catalogue, made tiny."""
    two = chat_models()[:2]
    files = [write_gguf(tmp_path / model.name / model.file, tiny_model("llama"), "F32") for model in two]
    models = tuple(replace(model, gguf_bytes=file.stat().st_size) for model, file in zip(two, files, strict=True))
    monkeypatch.setattr(downloads, "chat_models", lambda: models)
    with running() as hub:
        for model in models:
            hub.repositories[model.repository] = tmp_path / model.name
        yield hub


@pytest.fixture
def model(hub: FakeHub) -> ChatModel:
    return downloads.chat_models()[0]


@pytest.fixture
def start(hub: FakeHub, tmp_path: Path) -> Iterator[Callable[[], Downloads]]:
    """What the application makes at each start."""
    started: list[Downloads] = []
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}

    def start() -> Downloads:
        started.append(Downloads(environment, tmp_path / "stamps", tmp_path / "download.log"))
        return started[-1]

    yield start
    for each in started:
        each.close()


def ended(service: Downloads) -> Download:
    state = service.wait(lambda state: state is not None and state.status == "running", WAIT_S)
    assert state is not None
    return state


def under_way(service: Downloads, model: ChatModel, hub: FakeHub, bytes_per_s: int = 100_000) -> Download:
    """A download of which a part has arrived."""
    hub.bytes_per_s = bytes_per_s
    service.begin(model)
    deadline = time.monotonic() + WAIT_S
    while not service.num_partial(model) and time.monotonic() < deadline:
        time.sleep(0.01)
    state = service.state
    assert state is not None
    assert state.status == "running", state
    return state


def parts(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "hf").rglob("*.part"))


def the_file(tmp_path: Path, model: ChatModel) -> bytes:
    (file,) = (tmp_path / "hf").rglob(model.file)
    return file.read_bytes()


def test_a_model_is_downloaded(start: Callable[[], Downloads], model: ChatModel, tmp_path: Path) -> None:
    service = start()
    assert service.state is None
    service.begin(model)
    state = ended(service)
    assert (state.status, state.done, state.total, state.error) == ("done", model.gguf_bytes, model.gguf_bytes, None)
    assert the_file(tmp_path, model) == (tmp_path / model.name / model.file).read_bytes()
    assert list((tmp_path / "stamps").iterdir()), "the checksum would be computed again by the first load"
    assert service.num_changes == 2


def test_pause_keeps_what_arrived_and_resume_goes_on(
    start: Callable[[], Downloads], model: ChatModel, hub: FakeHub, tmp_path: Path
) -> None:
    service = start()
    under_way(service, model, hub)
    service.pause()
    state = service.state
    assert state is not None
    assert (state.status, state.error) == ("paused", None)
    have = service.num_partial(model)
    assert have > 0
    hub.bytes_per_s = None
    service.begin(model)
    assert ended(service).status == "done"
    assert the_file(tmp_path, model) == (tmp_path / model.name / model.file).read_bytes()
    assert f"bytes={have}-" in hub.transfers(model.file)


def test_cancel_removes_what_arrived(
    start: Callable[[], Downloads], model: ChatModel, hub: FakeHub, tmp_path: Path
) -> None:
    service = start()
    under_way(service, model, hub)
    service.cancel()
    assert service.state is None
    assert parts(tmp_path) == []
    under_way(service, model, hub)
    service.pause()
    service.cancel()
    assert service.state is None
    assert parts(tmp_path) == []


def test_what_an_end_of_the_application_left_is_offered_again(
    start: Callable[[], Downloads], model: ChatModel, hub: FakeHub, tmp_path: Path
) -> None:
    service = start()
    under_way(service, model, hub)
    service.close()
    again = start()
    state = again.state
    assert state is not None
    assert (state.model, state.status, state.total) == (model, "paused", model.gguf_bytes)
    assert 0 < state.done < state.total
    hub.bytes_per_s = None
    again.begin(state.model)
    assert ended(again).status == "done"
    assert start().state is None


def test_one_download_at_a_time(start: Callable[[], Downloads], model: ChatModel, hub: FakeHub) -> None:
    service, other = start(), downloads.chat_models()[1]
    under_way(service, model, hub)
    with pytest.raises(EngineBusy, match=f"{model.name} is still being downloaded: wait .* or pause it first"):
        service.begin(other)
    service.pause()
    hub.bytes_per_s = None
    service.begin(other)
    assert ended(service).status == "done"
    assert service.num_partial(model) > 0, "what was paused is kept"


def test_a_failure_is_a_sentence_and_can_be_tried_again(
    start: Callable[[], Downloads], model: ChatModel, hub: FakeHub
) -> None:
    hub.status = 503
    service = start()
    service.begin(model)
    state = ended(service)
    assert state.status == "failed"
    assert state.error is not None
    assert "Try again" in state.error
    hub.status = None
    service.begin(model)
    assert ended(service).status == "done"


def test_a_process_that_dies_is_a_sentence(hub: FakeHub, model: ChatModel, tmp_path: Path) -> None:
    service = Downloads({**os.environ, "HF_HOME": str(tmp_path)}, command=(sys.executable, "-c", "raise SystemExit(3)"))
    service.begin(model)
    state = ended(service)
    assert state.error == f"The download of {model.name} ended unexpectedly (3). What has arrived is kept: resume it."


def test_a_process_that_does_not_listen_is_ended(
    hub: FakeHub, model: ChatModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_END_WAIT_S", 0.1)
    deaf = (sys.executable, "-c", "import time; time.sleep(600)")
    service = Downloads({**os.environ, "HF_HOME": str(tmp_path)}, command=deaf)
    service.begin(model)
    service.pause()
    state = service.state
    assert state is not None
    assert state.status == "paused"
