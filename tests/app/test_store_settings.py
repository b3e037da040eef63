"""App-wide settings: kept, checked when they are read, and harmless when they are damaged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import AppSettings
from app.store import ConversationSettings, Store
from engine.config import ModelSpec, Sampling
from tests.scripted import scripted_info


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def test_what_is_set_is_read_again(store: Store) -> None:
    spec = ModelSpec(model="Qwen/Qwen3-0.6B", quant="nf4", threads=2, offline=True)
    chosen = ConversationSettings(system="Be brief.", sampling=Sampling(temperature=0.3), seed=4)
    settings = AppSettings(store)
    settings.remember_model(spec)
    settings.set_theme("dark")
    settings.save_conversation_defaults(chosen)
    store.close()
    again = AppSettings(Store(store.file))
    assert again.model == ModelSpec(model="Qwen/Qwen3-0.6B", quant="nf4", threads=2)  # offline is for one start
    assert again.theme == "dark"
    assert again.conversation_defaults(scripted_info(ModelSpec())) == chosen
    again.forget_conversation_defaults()
    assert again.conversation_defaults() == ConversationSettings()
    again._store.close()


def test_at_first_the_starter_model_and_its_makers_sampling(store: Store) -> None:
    settings = AppSettings(store)
    info = scripted_info(ModelSpec())
    assert settings.model == ModelSpec()
    assert settings.theme == "system"
    assert settings.conversation_defaults() == ConversationSettings()
    assert settings.conversation_defaults(info).sampling == info.default_sampling


@pytest.mark.parametrize(
    "value", [5, [], {"model": 5}, {"model": ""}, {"dtype": "float8"}, {"extra": 1}, {"device": None}]
)
def test_a_damaged_model_falls_back(store: Store, caplog: pytest.LogCaptureFixture, value: object) -> None:
    store.set_setting("model", value)
    assert AppSettings(store).model == ModelSpec()
    assert "The setting model is damaged" in caplog.text


@pytest.mark.parametrize("value", ["purple", 5, None, [], {}])
def test_a_damaged_theme_falls_back(store: Store, caplog: pytest.LogCaptureFixture, value: object) -> None:
    store.set_setting("theme", value)
    assert AppSettings(store).theme == "system"
    assert "The setting theme is" in caplog.text


@pytest.mark.parametrize("value", ["x", {"max_tokens": -1}, {"sampling": {"top_p": 0}}, {"mode": ["plain"]}])
def test_damaged_defaults_fall_back(store: Store, caplog: pytest.LogCaptureFixture, value: object) -> None:
    store.set_setting("conversation_defaults", value)
    assert AppSettings(store).conversation_defaults() == ConversationSettings()
    assert "The setting conversation_defaults is damaged" in caplog.text


def test_a_theme_that_is_none_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="theme must be one of system, light, dark"):
        AppSettings(store).set_theme("purple")  # type: ignore[arg-type]
