"""Downloads from a Hub on this machine: only what is needed, resumed where it stopped, each failure a sentence."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from engine.errors import (
    BrokenModel,
    DownloadCancelled,
    EngineBusy,
    EngineError,
    ModelGated,
    ModelNotFound,
    NetworkUnavailable,
    NotEnoughDisk,
    UnsupportedModel,
)
from engine.events import LoadProgress
from engine.models.catalog import read_checkpoint
from engine.models.hub import cache
from engine.models.hub.download import fetch
from tests.fake_hub import FakeHub, running
from tests.models import copy_model

NAME = "someone/tiny"
TinyModel = Callable[..., Path]


@pytest.fixture
def hub(tmp_path: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with running() as hub:
        hub.repositories[NAME] = copy_model(tiny_model("llama"), tmp_path / "repository")
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(cache.time, "sleep", lambda seconds: None)
        yield hub


def get(**options: Any) -> Path:
    return fetch(NAME, lambda progress: None, **options)


def same_weights(hub: FakeHub, folder: Path) -> bool:
    name = "model.safetensors"
    return (folder / name).read_bytes() == (hub.repositories[NAME] / name).read_bytes()


def test_only_what_is_needed_is_downloaded(hub: FakeHub) -> None:
    for name in ("README.md", "pytorch_model.bin", "model.onnx", "evil.py", "consolidated.safetensors"):
        (hub.repositories[NAME] / name).write_bytes(b"x" * 100)
    folder = get()
    assert {p.name for p in folder.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert same_weights(hub, folder)
    assert read_checkpoint(folder, NAME).num_parameters == 123_200


def test_the_size_is_shown_first_and_progress_ends_at_it(hub: FakeHub) -> None:
    reports: list[LoadProgress] = []
    folder = fetch(NAME, reports.append)
    total = sum(p.stat().st_size for p in folder.iterdir())
    assert reports[0].stage == "download"
    assert reports[0].message == f"{NAME} is {total / 10**6:.1f} MB"
    assert (reports[0].done, reports[0].total) == (0, total)
    assert [p.done for p in reports] == sorted(p.done for p in reports)
    assert reports[-1].done == reports[-1].total == total


def test_what_is_here_is_not_looked_up_again(hub: FakeHub) -> None:
    folder = get()
    hub.requests.clear()
    assert get() == get(offline=True) == folder
    assert hub.requests == []


def test_a_connection_that_is_cut_is_taken_up_again(hub: FakeHub) -> None:
    hub.cuts = [1000, 2000]
    folder = get()
    assert same_weights(hub, folder)
    assert hub.transfers("model.safetensors") == [None, "bytes=1000-", "bytes=3000-"]


def test_the_token_goes_to_the_hub_only(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    get()
    assert hub.tokens_elsewhere == [None]


def test_a_server_without_ranges_sends_it_all_again(hub: FakeHub) -> None:
    hub.cuts, hub.ignore_ranges = [1000], True
    assert same_weights(hub, get())
    assert hub.transfers("model.safetensors") == [None, "bytes=1000-"]


def test_a_connection_that_brings_nothing_more_ends_with_a_sentence_and_is_resumed_later(hub: FakeHub) -> None:
    hub.cuts = [100_000, *[0] * 10]
    with pytest.raises(NetworkUnavailable, match=r"after 0\.1 of 0\.5 MB.*to continue"):
        get()
    hub.cuts = []
    hub.requests.clear()
    reports: list[LoadProgress] = []
    folder = fetch(NAME, reports.append)
    assert same_weights(hub, folder)
    assert hub.transfers("model.safetensors") == ["bytes=100000-"]
    assert hub.transfers("config.json") == []
    assert reports[0].done > 100_000


def test_a_download_is_cancelled_and_continues_later(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = hub.repositories[NAME] / "model.safetensors"
    monkeypatch.setattr(cache, "_REPORT_BYTES", 1)
    seen: list[int] = []
    small = sum(p.stat().st_size for p in weights.parent.iterdir()) - weights.stat().st_size

    def report(progress: LoadProgress) -> None:
        seen.append(progress.done)

    with pytest.raises(DownloadCancelled, match="to continue"):
        fetch(NAME, report, cancelled=lambda: seen[-1] > small + 50_000)
    assert seen[-1] < small + weights.stat().st_size
    hub.requests.clear()
    assert same_weights(hub, get())
    (span,) = hub.transfers("model.safetensors")
    assert span is not None
    assert int(span.removeprefix("bytes=").removesuffix("-")) > 50_000


def test_a_damaged_transfer_is_found_out_and_not_kept(hub: FakeHub) -> None:
    hub.corrupt = True
    with pytest.raises(NetworkUnavailable, match="arrived damaged"):
        get()
    hub.corrupt = False
    assert same_weights(hub, get())


def test_another_process_downloads_the_same(hub: FakeHub, tmp_path: Path) -> None:
    from filelock import FileLock

    hub.cuts = [1000, *[0] * 10]
    with pytest.raises(NetworkUnavailable):
        get()
    (lock,) = (tmp_path / "cache").rglob("*model.safetensors.part.lock")
    hub.cuts = []
    with FileLock(lock), pytest.raises(EngineBusy, match="Another program"):
        get()
    assert same_weights(hub, get())


# --- what goes wrong


def test_no_such_repository(hub: FakeHub) -> None:
    with pytest.raises(ModelNotFound, match=r"no model nobody/nothing.*spelling"):
        fetch("nobody/nothing", lambda progress: None)


@pytest.mark.parametrize("listed", [False, True], ids=["hidden", "files only"])
def test_a_gated_repository(hub: FakeHub, listed: bool) -> None:
    hub.gated, hub.gated_files = {NAME}, listed
    with pytest.raises(ModelGated, match=r"licence.*log in"):
        get()


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_is_down(hub: FakeHub, status: int) -> None:
    hub.status = status
    with pytest.raises(NetworkUnavailable, match=rf"\({status}\).*Try again"):
        get()


def test_no_network(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(NetworkUnavailable, match="cannot be reached"):
        get()


def test_a_cache_that_cannot_be_written(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(NotEnoughDisk, match=r"cannot be written.*HF_HOME"):
        get()


def test_a_repository_that_lacks_a_shard_is_refused_before_the_weights(
    hub: FakeHub, tiny_model: TinyModel, tmp_path: Path
) -> None:
    folder = copy_model(tiny_model("llama", max_shard_size="200KB"), tmp_path / "shards")
    shard = max(folder.glob("model-*.safetensors"))
    shard.unlink()
    hub.repositories[NAME] = folder
    with pytest.raises(BrokenModel, match=rf"1 of 3 weight files are missing, the first is {shard.name}"):
        get()
    assert hub.transfers(".safetensors") == []


def test_offline_and_not_here(hub: FakeHub) -> None:
    with pytest.raises(ModelNotFound, match="offline mode"):
        get(offline=True)
    assert hub.requests == []


def test_offline_and_here_in_part(hub: FakeHub) -> None:
    hub.cuts = [10, *[0] * 10]
    with pytest.raises(NetworkUnavailable):
        get()
    with pytest.raises(ModelNotFound, match="not on this machine in full"):
        get(offline=True)


def test_too_little_disk(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=100_000))
    with pytest.raises(NotEnoughDisk, match=r"0\.00 GB are free.*HF_HOME"):
        get()
    assert hub.transfers("model.safetensors") == []


def test_an_unsupported_architecture_is_refused_before_the_weights(hub: FakeHub) -> None:
    config = hub.repositories[NAME] / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "mamba"}))
    with pytest.raises(UnsupportedModel, match="recurrent"):
        get()
    assert hub.transfers("model.safetensors") == []


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "\0", '{"model_type": "llama", "architectures": 5}'])
def test_a_damaged_config_is_refused_before_the_weights(hub: FakeHub, text: str) -> None:
    (hub.repositories[NAME] / "config.json").write_text(text)
    with pytest.raises(BrokenModel, match=r"config\.json"):
        get()
    assert hub.transfers("model.safetensors") == []


@pytest.mark.parametrize(
    ("names", "kind", "words"),
    [
        (["config.json", "tokenizer.json", "pytorch_model.bin"], UnsupportedModel, "pickled"),
        (["config.json", "model.safetensors"], BrokenModel, "tokenizer"),
        (["adapter_config.json", "adapter_model.safetensors"], UnsupportedModel, "adapter"),
        (["README.md"], ModelNotFound, "config.json"),
    ],
)
def test_repositories_that_hold_no_model_are_refused_by_their_listing(
    hub: FakeHub, tmp_path: Path, names: list[str], kind: type[EngineError], words: str
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"{}")
    hub.repositories[NAME] = folder
    with pytest.raises(kind, match=words):
        get()
    assert [path for _, path, _ in hub.requests if "resolve" in path] == []


def test_a_defect_of_ours_is_not_called_a_network_failure(hub: FakeHub) -> None:
    def report(progress: LoadProgress) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        fetch(NAME, report)


def test_load_model_downloads_by_environment_alone(hub: FakeHub, tmp_path: Path) -> None:
    """The whole way in a process of its own, as a person's HF_ENDPOINT and HF_HOME set it."""
    code = (
        "from engine.config import ModelSpec\n"
        "from engine.models.loader import load_model\n"
        f"loaded = load_model(ModelSpec(model={NAME!r}, device='cpu'), lambda p: None)\n"
        "print(loaded.name, loaded.num_parameters)"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert found.stdout.split() == [NAME, "123200"], found.stderr
