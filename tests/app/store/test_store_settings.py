"""App-wide settings: kept, checked when they are read, and harmless when they are damaged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.settings import AppSettings
from app.store.store import Store
from engine.config import ModelSpec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def test_what_is_set_is_read_again(store: Store) -> None:
    settings = AppSettings(store)
    settings.remember_model(ModelSpec(model="Qwen/Qwen3-0.6B", quant="nf4", device="cpu", threads=2, offline=True))
    settings.set_theme("dark")
    store.close()
    again = AppSettings(Store(store.file))
    assert again.model == ModelSpec(model="Qwen/Qwen3-0.6B", quant="nf4")  # the others are for one start
    assert again.theme == "dark"
    again._store.close()


def test_at_first_the_starter_model_and_the_system_s_colours(store: Store) -> None:
    settings = AppSettings(store)
    assert settings.model == ModelSpec()
    assert settings.recent_models == []
    assert settings.theme == "system"


def test_recent_models_are_few_and_each_is_there_once(store: Store) -> None:
    settings = AppSettings(store)
    for name in ["a/0", *(f"a/{number}" for number in range(1, 9)), "a/3"]:
        settings.remember_model(ModelSpec(model=name))
    assert settings.recent_models == ["a/3", "a/8", "a/7", "a/6", "a/5", "a/4", "a/2", "a/1"]


@pytest.mark.parametrize("value", [None, 5, {"a": 1}, [1, None]])
def test_damaged_recent_models_are_none(store: Store, value: object) -> None:
    store.set_setting("recent_models", value)
    assert AppSettings(store).recent_models == []


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


def test_a_theme_that_is_none_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="theme must be one of system, light, dark"):
        AppSettings(store).set_theme("purple")
