"""Which model is loaded: at the start, from the picker, and after one that could not be loaded."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from app.chat import turn as turn_module
from app.chat.loading import LoadState
from app.chat.queue import Asker
from app.chat.services import Services
from app.store.errors import DiskFull
from app.store.records import ConversationSettings
from app.store.settings import AppSettings
from app.store.store import Store
from app.view.model import notices
from engine.api import Running
from engine.config import ModelSpec
from engine.errors import BrokenModel, DownloadCancelled, EngineError, ModelNotFound
from engine.events import LoadProgress
from tests.scripted import ScriptedEngine
from tests.scripted_answer import EXACT

NOTE = "This is a scripted engine."  # of every model that it loads


class PickyEngine(ScriptedEngine):
    """Loads what it is given, but for models whose name begins with `missing/`; what was there is gone then."""

    def load(self, spec: ModelSpec) -> Running[LoadProgress]:
        fails = spec.model.startswith("missing/")
        self.load_error = EngineError(f"{spec.model} is not on the Hub.") if fails else None
        return super().load(spec)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def services_for(store: Store, flags: ModelSpec | None = None) -> Services:
    return Services(PickyEngine(), store, flags)


def noticed(services: Services) -> list[str]:
    return notices(services.model_state(), None)


def rest(services: Services) -> LoadState:
    """The loader's state once nothing is loaded any more."""
    state = services.loader.state()
    while state.running:
        state = services.loader.wait(state.sequence, 10)
    return state


def loaded(services: Services) -> list[str]:
    engine = services.engine
    assert isinstance(engine, PickyEngine)
    return [spec.model for spec in engine.specs]


def test_the_first_start_loads_the_model_that_comes_along(store: Store) -> None:
    services = services_for(store)
    services.load_first(named=False)
    assert rest(services).error is None
    assert loaded(services) == ["smollm2"]
    assert noticed(services) == [NOTE]


def test_the_model_that_was_loaded_last_is_loaded_at_the_next_start(store: Store) -> None:
    first = services_for(store)
    first.load("some/model", "int8", "bfloat16")
    rest(first)
    again = services_for(store, ModelSpec(threads=2, offline=True))
    again.load_first(named=False)
    rest(again)
    wanted = ModelSpec(model="some/model", quant="int8", dtype="bfloat16", threads=2, offline=True)
    wanted = replace(wanted, certify="background")
    assert isinstance(again.engine, PickyEngine)
    assert again.engine.specs == [wanted]


def test_a_named_model_comes_before_the_last_one(store: Store) -> None:
    AppSettings(store).remember_model(ModelSpec(model="some/model", quant="int8"))
    services = services_for(store, ModelSpec(model="other/model"))
    services.load_first(named=True)
    rest(services)
    assert isinstance(services.engine, PickyEngine)
    assert services.engine.specs == [ModelSpec(model="other/model", certify="background")]


def test_the_command_lines_context_is_for_one_start_and_the_pages_for_all(store: Store) -> None:
    for flag, asked, then in ((512, None, None), (512, 2048, 2048), (None, 1024, 1024)):
        services = services_for(store, ModelSpec(model="some/model", max_context=flag))
        services.load_first(named=True)
        rest(services)
        if asked is not None:
            services.load("some/model", "none", "auto", asked)
            rest(services)
        assert services.settings.model.max_context == then
        services.load("some/model", "none", "auto", None)
        rest(services)
        assert services.loader.present is not None
        assert services.loader.present.max_context is None


def test_where_the_last_model_is_gone_the_starter_comes_with_a_sentence(store: Store) -> None:
    AppSettings(store).remember_model(ModelSpec(model="missing/model", quant="nf4"))
    services = services_for(store)
    services.load_first(named=False)
    assert rest(services).error is None
    assert loaded(services) == ["missing/model", "starter"]
    assert noticed(services) == ["missing/model is not on the Hub. The starter model is used instead.", NOTE]
    assert AppSettings(store).model.model == "missing/model"  # it may be back at the next start


def test_a_model_that_was_never_loaded_is_not_remembered(store: Store) -> None:
    services = services_for(store)
    services.load("missing/model", "none", "auto")
    assert rest(services).error == "missing/model is not on the Hub."
    assert AppSettings(store).model == ModelSpec(model="smollm2")
    assert AppSettings(store).recent_models == []


def test_a_load_that_fails_brings_the_model_before_it_back(store: Store) -> None:
    services = services_for(store)
    services.load("some/model", "none", "auto")
    rest(services)
    services.load("missing/model", "none", "auto")
    assert rest(services).error is None
    assert loaded(services) == ["some/model", "missing/model", "some/model"]
    assert noticed(services) == ["missing/model is not on the Hub. some/model is used instead.", NOTE]
    services.load("smollm2", "none", "auto")
    rest(services)
    services.load("missing/model", "none", "auto")
    rest(services)
    assert noticed(services)[0] == "missing/model is not on the Hub. SmolLM2 135M is used instead."
    services.load("third/model", "none", "auto")
    rest(services)
    assert noticed(services) == [NOTE]


def test_the_context_that_was_asked_for_is_asked_for_again(store: Store) -> None:
    services = services_for(store)
    services.load("some/model", "none", "auto", 4096)
    rest(services)
    again = services_for(store)
    again.load_first(named=False)
    rest(again)
    assert isinstance(again.engine, PickyEngine)
    assert [spec.max_context for spec in again.engine.specs] == [4096]


def test_after_unloading_nothing_is_brought_back(store: Store) -> None:
    services = services_for(store)
    services.load("some/model", "none", "auto")
    rest(services)
    services.loader.unload()
    services.load("missing/model", "none", "auto")
    assert rest(services).error == "missing/model is not on the Hub."


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nowhere at all", ModelNotFound),
        ("x" * 900, ModelNotFound),
        ("~nobody-of-that-name/model", ModelNotFound),
        ("./{folder}", ModelNotFound),
        ("{broken}", BrokenModel),
    ],
)
def test_what_can_be_seen_without_loading_costs_nothing(
    store: Store, tmp_path: Path, name: str, error: type[Exception]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    services = services_for(store)
    services.load("some/model", "none", "auto")
    rest(services)
    with pytest.raises(error):
        services.load(name.replace("{broken}", str(broken)).replace("{folder}", "no/such/folder"), "none", "auto")
    assert loaded(services) == ["some/model"]
    assert services.engine.info is not None


def test_a_load_that_the_shutdown_ends_brings_nothing_back(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    services = services_for(store)
    services.load("some/model", "none", "auto")
    rest(services)
    services.close()
    services.load("missing/model", "none", "auto")
    rest(services)
    assert loaded(services) == ["some/model", "missing/model"]
    assert "WARNING" not in caplog.text


def test_what_the_launcher_found_stands_on_the_page(store: Store) -> None:
    warning = "The GPU is not used: its driver is too old."
    assert notices(services_for(store).model_state(), warning) == [warning]


def test_an_answer_that_cannot_be_saved_does_not_stop_the_shutdown(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    services = services_for(store)

    def full() -> None:
        raise DiskFull("The disk is full: free some space.")

    monkeypatch.setattr(services.chat, "close", full)
    services.close()
    assert "The last answer could not be saved: The disk is full" in caplog.text


class StandingStill(ScriptedEngine):
    """Stands still in the middle of loading what is named `slow/`, until it is cancelled; `begun` is set then."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.begun = threading.Event()

    def _load(self, spec: ModelSpec, stop: threading.Event) -> Generator[LoadProgress, None, None]:
        for progress in super()._load(spec, stop):
            yield progress
            if spec.model.startswith("slow/") and progress.stage == "weights":
                self._info = None
                self.begun.set()
                stop.wait()
                raise DownloadCancelled("Loading was cancelled.")


def test_unloading_cancels_a_load_and_nothing_takes_its_place(store: Store) -> None:
    engine = StandingStill()
    services = Services(engine, store)
    services.load("some/model", "none", "auto")
    rest(services)
    services.load("slow/model", "none", "auto")
    assert engine.begun.wait(20)
    services.loader.unload()
    state = services.loader.state()
    assert (engine.info, state.running, state.error, state.notice) == (None, False, None, None)
    assert [spec.model for spec in engine.specs] == ["some/model", "slow/model"]
    assert services.settings.model.model == "some/model"
    services.load("some/model", "none", "auto")
    rest(services)
    assert engine.info is not None


def test_while_another_model_waits_the_present_one_keeps_its_name(store: Store) -> None:
    services = services_for(store)
    services.load("some/model", "none", "auto")
    rest(services)
    with services.queue.join(Asker(kind="api", name="a")):
        services.load("other/model", "none", "auto")
        assert services.model_names == ("some/model",)
    rest(services)
    assert services.model_names == ("other/model",)


class Preparing(ScriptedEngine):
    """Certifies in the background, as `note` says."""

    progress: LoadProgress | None = None

    @property
    def background(self) -> Self:  # type: ignore[override]
        return self

    def on_change(self, listener: Callable[[], None]) -> None:
        self._changed = listener

    def note(self, done: int | None) -> None:
        step = None if done is None else LoadProgress(stage="certify", message="x", done=done, total=1000)
        self.progress = step
        assert self._info is not None
        self._info = replace(self._info, exact=EXACT if done is None else None, provisional=done is not None)
        self._changed()


def test_the_page_is_drawn_again_as_the_engine_gets_ready_to_draft(store: Store) -> None:
    engine = Preparing(loaded=True)
    services = Services(engine, store)
    versions = [services.page_version()]
    for done in (0, 500, 501, 502, None):
        engine.note(done)
        versions.append(services.page_version())
        assert services.model_state().preparing == engine.progress
    assert len(set(versions)) == 4, "not for every step"
    assert services.model_state().info == engine.info


def test_a_comparison_before_the_certificate_is_refused_and_nothing_is_stored(store: Store) -> None:
    engine = Preparing(loaded=True)
    services = Services(engine, store)
    engine.note(1)
    conversation = store.new_conversation(ConversationSettings())
    with pytest.raises(ValueError, match="still getting ready to draft"):
        services.chat.compare(conversation.id, "Hello")
    assert store.path(conversation.id) == []
    engine.note(None)
    assert services.chat.compare(conversation.id, "Hello").wait_done(30)
    services.close()


def test_the_page_is_drawn_again_once_an_answer_is_saved_late(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "SAVE_EVERY_S", 0.01)
    services = services_for(store)
    services.load_first(named=False)
    rest(services)
    conversation = store.new_conversation(ConversationSettings())

    def fail(*_: object, **__: object) -> None:
        raise DiskFull("The disk is full.")

    with monkeypatch.context() as full:
        full.setattr(store, "update_message", fail)
        turn = services.chat.send(conversation.id, "Hello")
        assert turn.wait_done(30)
        unsaved = services.page_version()
    end = time.monotonic() + 30
    while not turn.saved and time.monotonic() < end:
        time.sleep(0.01)
    assert services.page_version() != unsaved


def test_a_page_version_never_comes_back(store: Store) -> None:
    """A page that looks every two seconds must see that an answer came and went in between."""
    services = services_for(store)
    services.load_first(named=False)
    rest(services)
    conversation = store.new_conversation(ConversationSettings())
    versions = [services.page_version()]
    for _ in range(2):
        turn = services.chat.send(conversation.id, "Hello")
        assert turn.wait_done(30)
        versions.append(services.page_version())
    assert len(set(versions)) == 3
