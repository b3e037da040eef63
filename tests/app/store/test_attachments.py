"""Attachments in the store: with the message that is written, with the one that was sent, and gone with it."""

from pathlib import Path

import pytest

from app.exchange.markdown import export_markdown
from app.store.attachments import MOST, Attachments
from app.store.errors import NotFound
from app.store.records import ConversationSettings
from app.store.store import Store


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def files_hold(folder: Path, end: bytes) -> bool:
    return any(end in path.read_bytes() for path in folder.iterdir())


def names(attachments: object) -> list[str]:
    return [one.name for one in attachments]  # type: ignore[attr-defined]


def test_what_waits_goes_with_the_message_and_another_version_has_a_copy(store: Store) -> None:
    kept = Attachments(store)
    kept.add(None, "a.txt", "text", 3, "one")
    kept.add(None, "a.txt", "text", 3, "two\0")
    first = store.new_conversation(ConversationSettings()).id
    assert (names(kept.waiting(None)), kept.waiting(first)) == (["a.txt", "a (2).txt"], [])
    kept.move(first)
    assert (kept.waiting(None), names(kept.waiting(first))) == ([], ["a.txt", "a (2).txt"])
    message = store.add_message(first, None, "user", "Compare them.")
    kept.send(first, message.id)
    assert kept.waiting(first) == []
    sent = store.message(message.id).attachments
    assert [(one.name, one.kind, one.size, one.text) for one in sent] == [
        ("a.txt", "text", 3, "one"),
        ("a (2).txt", "text", 3, "two"),
    ]
    version = store.add_message(first, None, "user", "Compare them well.")
    kept.copy(message.id, version.id)
    assert [one.text for one in store.path(first)[0].attachments] == ["one", "two"]
    kept.remove(sent[0].id)  # it was sent: it stays
    assert len(store.message(message.id).attachments) == 2


def test_one_that_waits_can_be_taken_away_and_there_are_not_too_many(store: Store) -> None:
    kept = Attachments(store)
    for _ in range(MOST):
        kept.add(None, "notes", "text", 1, "x")
    with pytest.raises(ValueError, match="remove one first"):
        kept.add(None, "notes", "text", 1, "x")
    gone = kept.waiting(None)[0]
    for number in (gone.id, 2**70, -(2**70)):
        kept.remove(number)
    assert len(kept.waiting_ids(None)) == MOST - 1
    for unknown in (gone.id, 2**70):
        with pytest.raises(NotFound):
            kept.get(unknown)
    with pytest.raises(NotFound):
        kept.add(999, "x", "text", 1, "x")


def test_a_deleted_conversation_takes_its_attachments_with_it(store: Store, tmp_path: Path) -> None:
    kept = Attachments(store)
    first = store.new_conversation(ConversationSettings()).id
    sent = kept.add(first, "s.txt", "text", 1, "sent-secret " * 50)
    kept.send(first, store.add_message(first, None, "user", "x").id)
    kept.add(first, "w.txt", "text", 1, "waiting-secret " * 50)
    store.delete(first)
    with pytest.raises(NotFound):
        kept.get(sent.id)
    store.restore(first)
    assert kept.get(sent.id) == sent
    store.delete(first)
    store.empty_trash()
    store.finish_cleaning()
    assert not files_hold(tmp_path, b"sent-secret")
    assert not files_hold(tmp_path, b"waiting-secret")


def test_a_markdown_export_holds_them_in_fences_that_nothing_closes(store: Store) -> None:
    first = store.new_conversation(ConversationSettings()).id
    Attachments(store).add(first, "read.md", "text", 1, "```\ncode\n```\n")
    message = store.add_message(first, None, "user", "Read it.")
    Attachments(store).send(first, message.id)
    assert "**Attached: read.md**\n\n````text\n```\ncode\n```\n````\n\nRead it." in export_markdown(store, first)
