"""Deleted text is in no byte of the database's files, and an answer is indexed at its end."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.store import purge
from app.store.attachments import Attachments
from app.store.memory_texts import FileTexts, MemoryTextStore
from app.store.records import ConversationSettings
from app.store.store import Store

# Each is one trigram of rare characters. An index keeps a term without the bytes that it shares with the one before,
# so that only its end can be looked for.
PATIENCE_S = 20.0  # for what takes milliseconds on an idle machine; reaching it is the failure
SECRET, OLD_TITLE = "ꙮ⸎𝄞", "ꚙ⸙𝄫"


@pytest.fixture(autouse=True)
def left_the_trash_at_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.dates.TRASH_DAYS", 0)


def files_with(folder: Path, secret: str) -> list[str]:
    """The database's files that hold the end of the secret."""
    end = secret[1:].encode()
    return [path.name for path in sorted(folder.iterdir()) if end in path.read_bytes()]


def fill(store: Store, messages: int = 50) -> None:
    """Something around the secrets, written in many transactions: the index then has several segments."""
    conversation = store.new_conversation(ConversationSettings(), "kept")
    for number in range(messages):
        message = store.add_message(conversation.id, None, "user", f"message {number} " + f"word{number} " * 50)
        if number % 10 == 0:
            Attachments(store).insert(conversation.id, message.id, "b.txt", "text", 9, f"attached{number} " * 50)


def write_secrets(store: Store) -> int:
    conversation = store.new_conversation(ConversationSettings(system=SECRET), SECRET)
    question = store.add_message(conversation.id, None, "user", f"tell me of {SECRET} once {SECRET}")
    store.add_message(conversation.id, None, "user", f"edited: {SECRET}")
    attachments = Attachments(store)
    attachments.insert(conversation.id, question.id, f"{SECRET}.txt", "text", 9, f"attached {SECRET}")
    attachments.add(conversation.id, "a.txt", "text", 9, f"never sent {SECRET}")
    answer = store.add_message(conversation.id, question.id, "assistant", "", status="streaming")
    store.update_message(answer.id, f"half of {SECRET}", [1], "streaming")
    store.update_message(answer.id, f"the whole {SECRET}", [1, 2], "complete")
    return conversation.id


@pytest.mark.parametrize("killed", [False, True])
def test_a_deleted_conversation_is_in_no_byte_of_the_files(tmp_path: Path, killed: bool) -> None:
    store = Store(tmp_path / "slipstream.db")
    fill(store)
    deleted = write_secrets(store)
    fill(store)
    store.delete(deleted)
    if killed:  # the log beside the file stays
        store._db.conn.execute("PRAGMA wal_autocheckpoint = 0")
        copy = tmp_path / "killed"
        copy.mkdir()
        for name in ("slipstream.db", "slipstream.db-wal"):
            (copy / name).write_bytes((tmp_path / name).read_bytes())
        store.close()
        for path in tmp_path.glob("slipstream.db*"):
            path.unlink()
        for path in copy.iterdir():
            path.rename(tmp_path / path.name)
        copy.rmdir()
    else:
        store.close()
    assert files_with(tmp_path, SECRET), "the test looks for the wrong bytes"
    store = Store(tmp_path / "slipstream.db")
    store.finish_cleaning()
    assert files_with(tmp_path, SECRET) == []  # while it is open, in the log too
    assert len(store.conversations("word7")) == 2
    store.close()
    assert files_with(tmp_path, SECRET) == []


def test_an_old_title_is_in_no_byte_of_the_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    conversation = store.new_conversation(ConversationSettings(), OLD_TITLE)
    fill(store, 3)
    assert files_with(tmp_path, OLD_TITLE)
    store.rename(conversation.id, "another one")
    store.finish_cleaning()
    assert files_with(tmp_path, OLD_TITLE) == []
    assert [line.title for line in store.conversations("another")] == ["another one"]
    store.close()


def test_a_forgotten_text_is_in_no_byte_of_the_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    texts = MemoryTextStore(store)
    (added,) = texts.add([FileTexts(title="Notes", texts=(SECRET,))])
    assert files_with(tmp_path, SECRET)
    texts.remove([added.id])
    store.finish_cleaning()
    assert files_with(tmp_path, SECRET) == []
    store.close()


def test_a_cleaning_that_was_cut_short_goes_on_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "slipstream.db")
    fill(store)
    store.delete(write_secrets(store))
    store.close()
    monkeypatch.setattr("app.store.purge.Cleaner.start", lambda self: None)  # killed before it began
    Store(tmp_path / "slipstream.db").close()
    assert files_with(tmp_path, SECRET)
    monkeypatch.undo()
    store = Store(tmp_path / "slipstream.db")
    store.finish_cleaning()
    store.close()
    assert files_with(tmp_path, SECRET) == []


def test_a_cleaning_that_fails_is_logged_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed, cleaned = threading.Event(), threading.Event()

    def clean(cleaner: purge.Cleaner) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("no error of the store")
        cleaned.set()

    monkeypatch.setattr(purge.Cleaner, "clean", clean)
    store = Store(tmp_path / "slipstream.db")
    assert failed.wait(PATIENCE_S)
    store._cleaner.start()
    assert cleaned.wait(PATIENCE_S)
    store.close()
    assert "no error of the store" in caplog.text


def test_a_growing_answer_is_indexed_once_at_its_end(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    conversation = store.new_conversation(ConversationSettings(), "title")
    question = store.add_message(conversation.id, None, "user", "question")
    answer = store.add_message(conversation.id, question.id, "assistant", "", status="streaming")
    db: sqlite3.Connection = store._db.conn

    def rows_written(text: str, status: str) -> int:
        before = db.total_changes
        store.update_message(answer.id, text, range(len(text)), status)  # type: ignore[arg-type]
        return db.total_changes - before

    text = ""
    for number in range(40):
        text += f"words of a growing answer, number {number} and needle{number}. "
        assert rows_written(text, "streaming") == 1  # the message's own row
    assert [line.id for line in store.conversations("needle39")] == [conversation.id]  # found all the same
    assert store.conversations("needle39 absent") == []
    assert rows_written(text, "complete") > 1
    assert rows_written(text, "complete") == 1  # nothing has changed
    assert [line.id for line in store.conversations("needle39")] == [conversation.id]
    store.close()


def test_continuing_replaces_what_the_index_holds(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    conversation = store.new_conversation(ConversationSettings(), "title")
    answer = store.add_message(conversation.id, None, "assistant", "first half")
    store.update_message(answer.id, "first half", (), "streaming")
    store.update_message(answer.id, "first half, second", (), "streaming")
    assert len(store.conversations("half")) == 1
    store.update_message(answer.id, "other words", (), "complete")
    assert store.conversations("half") == []
    assert len(store.conversations("other words")) == 1
    store._db.execute("INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)")
    store.close()


def test_an_answer_of_a_killed_application_is_indexed_at_the_next_start(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    conversation = store.new_conversation(ConversationSettings(), "title")
    answer = store.add_message(conversation.id, None, "assistant", "", status="streaming")
    store.update_message(answer.id, "left by a killed process", (), "streaming")
    store.close()
    store = Store(tmp_path / "slipstream.db")
    assert [message.status for message in store.path(conversation.id)] == ["interrupted"]
    matched = store._db.execute("SELECT rowid FROM messages_fts WHERE messages_fts MATCH '\"killed process\"'")
    assert matched.fetchall() == [(answer.id,)]
    store._db.execute("INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)")
    store.close()


def test_titles_are_indexed_when_they_change_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    conversation = store.new_conversation(ConversationSettings(), "a title of many words")
    before = store._db.conn.total_changes
    store.pin(conversation.id, True)
    assert store._db.conn.total_changes - before == 1
    store.close()


class StoppedMidway(threading.Event):
    """The event of a cleaner that is stopped at its first pause."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def test_a_cleaning_that_was_stopped_midway_goes_on_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "slipstream.db")
    fill(store)
    store.delete(write_secrets(store))
    store.close()
    with monkeypatch.context() as patch:
        patch.setattr("app.store.purge.Cleaner.start", lambda self: None)
        patch.setattr("app.store.purge.STEP_PAGES", 1)
        store = Store(tmp_path / "slipstream.db")
        store._cleaner._stopping = StoppedMidway()
        store.finish_cleaning()
        store.close()
    assert files_with(tmp_path, SECRET)
    store = Store(tmp_path / "slipstream.db")
    store.finish_cleaning()
    assert files_with(tmp_path, SECRET) == []
    assert len(store.conversations("word7")) == 1
    store.close()


def test_what_is_taken_out_of_the_trash_is_in_no_byte_of_the_files_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    fill(store)
    kept, gone = store.new_conversation(ConversationSettings(), "also deleted").id, write_secrets(store)
    store.save_draft(gone, f"not sent: {SECRET}")
    for deleted in (kept, gone):
        store.delete(deleted)
    copy = tmp_path / "slipstream-before-0003_drafts.db"
    copy.write_bytes(SECRET.encode())
    store.empty_trash(gone)
    store.finish_cleaning()
    assert files_with(tmp_path, SECRET) == []
    assert [line.title for line in store.trash()] == ["also deleted"]
    store.empty_trash()
    assert store.trash() == []
    assert len(store.conversations()) == 1
    store.close()


def test_the_trash_is_emptied_whatever_the_clock_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "slipstream.db")
    conversation_id = store.new_conversation(ConversationSettings()).id
    with monkeypatch.context() as fast:
        fast.setattr("app.store.store.now", lambda: datetime.now(UTC) + timedelta(days=365))
        store.delete(conversation_id)
    store.empty_trash(conversation_id)
    assert store.trash() == []
    store.close()
