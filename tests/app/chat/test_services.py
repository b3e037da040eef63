"""Which model is loaded: at the start, from the picker, and after one that could not be loaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.chat.loading import LoadState
from app.chat.services import Services
from app.store.errors import DiskFull
from app.store.records import ConversationSettings
from app.store.settings import AppSettings
from app.store.store import Store
from app.view.model import notices
from engine.api import Running
from engine.config import ModelSpec
from engine.errors import BrokenModel, EngineError, ModelNotFound
from engine.events import LoadProgress
from tests.scripted import ScriptedEngine

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
    assert isinstance(again.engine, PickyEngine)
    assert again.engine.specs == [wanted]


def test_a_named_model_comes_before_the_last_one(store: Store) -> None:
    AppSettings(store).remember_model(ModelSpec(model="some/model", quant="int8"))
    services = services_for(store, ModelSpec(model="other/model"))
    services.load_first(named=True)
    rest(services)
    assert isinstance(services.engine, PickyEngine)
    assert services.engine.specs == [ModelSpec(model="other/model")]


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
    services.load("third/model", "none", "auto")
    rest(services)
    assert noticed(services) == [NOTE]


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
