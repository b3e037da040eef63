"""Text is cleaned by one rule, whichever way it comes in."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange.own import export_json, import_json
from app.store.records import ConversationSettings
from app.store.store import Store
from app.store.text import TITLE_LIMIT, clean_text, clean_title

DIRTY, CLEAN = "before\0behind\x1b[31m\r\nnext\x85 \x7f.", "beforebehind[31m\nnext ."


def test_the_rule() -> None:
    assert clean_text(DIRTY) == CLEAN
    assert clean_text("half \ud800") == "half ?"
    assert clean_title(DIRTY) == "beforebehind[31m next ."
    assert len(clean_title("x" * 1000)) == TITLE_LIMIT


@given(st.text())
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    once.encode()  # no half of a character is left


@pytest.fixture
def imported(tmp_path: Path) -> str:
    when = "2026-11-28T10:00:00+00:00"
    message = {"token_ids": [], "status": "complete", "error": None, "created": when, "runs": []}
    conversation = {
        "title": "nul\0title",
        "created": when,
        "updated": when,
        "pinned": False,
        "settings": {"system": DIRTY},
        "tip": 2,
        "messages": [
            {"id": 1, "parent": None, "role": "user", "text": "before\0behindthenul", **message},
            {"id": 2, "parent": 1, "role": "assistant", "text": DIRTY, **message},
        ],
    }
    return json.dumps({"format": "slipstream-conversations", "version": 1, "conversations": [conversation]})


def test_an_import_is_cleaned(tmp_path: Path, imported: str) -> None:
    store = Store(tmp_path / "slipstream.db")
    (conversation_id,) = import_json(store, imported)
    for query in ("behindthenul", "nultitle", "behind[31m"):
        assert [line.id for line in store.conversations(query)] == [conversation_id], query
    assert [message.text for message in store.path(conversation_id)] == ["beforebehindthenul", CLEAN]
    assert store.conversation(conversation_id).settings.system == CLEAN
    exported = export_json(store)
    (again,) = import_json(store, exported)
    assert export_json(store, [again]) == exported
    store.close()


def test_settings_and_titles_are_cleaned(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    conversation = store.new_conversation(ConversationSettings(system=DIRTY), "a\0b")
    assert conversation.title == "ab"
    assert conversation.settings.system == CLEAN
    store.rename(conversation.id, "c\0d\x07e")
    assert store.conversation(conversation.id).title == "cde"
    store.close()


def test_what_a_model_wrote_behind_a_nul_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    conversation = store.new_conversation(ConversationSettings(), "title")
    answer = store.add_message(conversation.id, None, "assistant", "", status="streaming")
    store.update_message(answer.id, "before\0 behindthenul", (), "complete")
    assert len(store.conversations("behindthenul")) == 1
    store.close()
