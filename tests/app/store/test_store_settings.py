"""App-wide settings: kept, checked when they are read, and harmless when they are damaged."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.exchange.own import export_json, import_json
from app.store.records import ConversationSettings
from app.store.settings import AppSettings
from app.store.store import Store
from engine.config import ModelSpec, Sampling


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def test_what_is_set_is_read_again(store: Store) -> None:
    settings = AppSettings(store)
    kept = ModelSpec(model="Qwen/Qwen3-0.6B", quant="nf4", max_context=4096)
    settings.remember_model(replace(kept, device="cpu", threads=2, offline=True))
    settings.set_theme("dark")
    store.close()
    again = AppSettings(Store(store.file))
    assert again.model == kept  # the others are for one start
    assert again.theme == "dark"
    again._store.close()


def test_at_first_the_model_that_comes_along_and_the_system_s_colours(store: Store) -> None:
    settings = AppSettings(store)
    assert settings.model == ModelSpec(model="smollm2")
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


@pytest.mark.parametrize("value", [5, [], {"model": 5}, {"model": ""}, {"dtype": "float8"}, {"device": None}])
def test_a_damaged_model_falls_back(store: Store, caplog: pytest.LogCaptureFixture, value: object) -> None:
    store.set_setting("model", value)
    assert AppSettings(store).model == ModelSpec(model="smollm2")
    assert "default is used" in caplog.text


def test_a_model_of_a_newer_version_is_the_model_still(store: Store) -> None:
    store.set_setting("model", {"model": "a/b", "dtype": "float8", "quant": "nf4", "newer": 1})
    assert AppSettings(store).model == ModelSpec(model="a/b", quant="nf4")


@pytest.mark.parametrize("value", ["purple", 5, None, [], {}])
def test_a_damaged_theme_falls_back(store: Store, caplog: pytest.LogCaptureFixture, value: object) -> None:
    store.set_setting("theme", value)
    assert AppSettings(store).theme == "system"
    assert "The setting theme is" in caplog.text


def test_a_theme_that_is_none_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="theme must be one of system, light, dark"):
        AppSettings(store).set_theme("purple")


NEWER = {
    "system": "Be brief.",
    "drafter": "eagle",  # a newer version's
    "mode": "plain",
    "sampling": {"temperature": 0.5, "top_k": "many", "typical_p": 0.9},
    "effort": {"level": 3},
}


def test_a_setting_of_a_newer_version_falls_back_alone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    conversation = store.new_conversation(ConversationSettings())
    with store.transaction() as db:
        db.execute("UPDATE conversations SET settings = ?", [json.dumps(NEWER)])
    settings = store.conversation(conversation.id).settings
    assert (settings.system, settings.mode, settings.drafter) == ("Be brief.", "plain", "adaptive")
    assert settings.sampling == Sampling(temperature=0.5)
    assert "settings.drafter must be one of adaptive" in caplog.text
    assert 'settings.sampling.top_k must be a whole number; got "many"' in caplog.text


def test_a_newer_version_s_settings_survive_this_one(store: Store, tmp_path: Path) -> None:
    conversation = store.new_conversation(ConversationSettings())
    with store.transaction() as db:
        db.execute("UPDATE conversations SET settings = ?", [json.dumps(NEWER)])
    store.save_settings(conversation.id, ConversationSettings(system="Be long.", sampling=Sampling(top_p=0.5)))
    other = Store(tmp_path / "other.db")
    (copied,) = import_json(other, export_json(store))
    for stored, id in ((store, conversation.id), (other, copied)):
        with stored.transaction() as db:
            (text,) = db.execute("SELECT settings FROM conversations WHERE id = ?", [id]).fetchone()
        data = json.loads(text)
        assert (data["system"], data["effort"]) == ("Be long.", {"level": 3})
        assert (data["sampling"]["top_p"], data["sampling"]["typical_p"]) == (0.5, 0.9)
    other.close()


def test_a_file_of_a_newer_version_costs_the_unknown_setting_only(store: Store) -> None:
    store.new_conversation(ConversationSettings())
    data = json.loads(export_json(store))
    data["conversations"][0]["settings"] = NEWER
    (id,) = import_json(store, json.dumps(data))
    settings = store.conversation(id).settings
    assert (settings.system, settings.mode, settings.drafter) == ("Be brief.", "plain", "adaptive")
    assert settings.sampling == Sampling(temperature=0.5)


@pytest.mark.parametrize(
    "newer",
    ['"newer": ' + "[" * 40 + "]" * 40, r'"newer": "\ud800"', r'"\ud800": 1'],
    ids=["deep", "half a character", "a name of half a character"],
)
@pytest.mark.parametrize("place", ["?", '"sampling": {?}'])
def test_an_unknown_setting_that_cannot_be_kept_costs_nothing_else(
    store: Store, caplog: pytest.LogCaptureFixture, newer: str, place: str
) -> None:
    conversation = store.new_conversation(ConversationSettings())
    text = '{"system": "Be brief.", ' + place.replace("?", newer) + "}"
    with store.transaction() as db:
        db.execute("UPDATE conversations SET settings = ?", [text])
    settings = store.conversation(conversation.id).settings
    assert settings.system == "Be brief."
    assert "is left out" in caplog.text
    store.save_settings(conversation.id, settings)
    assert store.conversation(conversation.id).settings == settings


def test_an_imported_setting_that_does_not_fit_falls_back_and_is_logged(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.new_conversation(ConversationSettings())
    data = json.loads(export_json(store))
    data["conversations"][0]["settings"] = {"system": "Be brief.", "max_tokens": -5}
    (id,) = import_json(store, json.dumps(data))
    assert store.conversation(id).settings == ConversationSettings(system="Be brief.")
    assert [record.getMessage() for record in caplog.records] == [
        "max_tokens must be between 1 and 1000000; got -5. Its default is used."
    ]


@pytest.mark.parametrize("key", ["theme", "model"])
def test_a_setting_nested_too_deep_to_be_read_falls_back(store: Store, key: str) -> None:
    with store.transaction() as db:
        db["settings"].insert({"key": key, "value": "[" * 100_000})
    settings = AppSettings(store)
    assert (settings.theme, settings.model) == ("system", ModelSpec(model="smollm2"))
