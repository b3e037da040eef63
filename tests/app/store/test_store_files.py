"""What happens to the file: damage, a newer version, another program's file, a full disk, an older schema."""

import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database, Migrations

from app.store import database
from app.store.database import examine
from app.store.errors import CorruptDatabase, DiskFull, NewerDatabase, StoreError
from app.store.migrations import migrations, step_names
from app.store.records import ConversationSettings
from app.store.store import Store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "slipstream.db"


def fill(file: Path, messages: int = 20) -> int:
    store = Store(file)
    conversation = store.new_conversation(ConversationSettings(), "kept")
    for number in range(messages):
        store.add_message(conversation.id, None, "user", f"message {number} " + "words " * 200)
    store.close()
    return conversation.id


@pytest.mark.parametrize("damage", ["other", "page", "cut"])
def test_a_damaged_file_is_refused_and_stays_as_it_is(file: Path, damage: str) -> None:
    fill(file)
    data = bytearray(file.read_bytes())
    if damage == "other":
        data = bytearray(b"this is a text file\n" * 500)
    elif damage == "page":
        for start in range(4096, len(data), 8192):
            data[start : start + 512] = b"\xff" * 512
    else:
        data = data[: len(data) // 2]
    file.write_bytes(data)
    with pytest.raises(CorruptDatabase) as caught:
        Store(file)
    assert str(file) in str(caught.value)
    assert "is damaged" in str(caught.value)
    assert "move it away" in str(caught.value)
    assert file.read_bytes() == bytes(data)


def test_damage_that_shows_later_is_one_sentence_too(file: Path) -> None:
    conversation_id = fill(file, messages=200)
    store = Store(file)
    with store.transaction() as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as raw:
        raw.seek((root - 1) * size)
        raw.write(b"\xff" * size)
    store._db.execute("PRAGMA shrink_memory")  # forget the pages that are in memory
    with pytest.raises(CorruptDatabase, match="is damaged"):
        store.all_messages(conversation_id)
    store.close()


def test_a_newer_database_is_refused_and_stays_as_it_is(file: Path) -> None:
    fill(file)
    apply_one_more(file, "0999_later")
    before = file.read_bytes()
    with pytest.raises(NewerDatabase, match=r"newer version of Slipstream \(its step 0999_later"):
        Store(file)
    assert file.read_bytes() == before


def test_another_programs_database_is_refused(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE messages (id INTEGER)")
    db.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match="database of another program"):
        Store(file)
    assert file.read_bytes() == before


def test_an_empty_file_becomes_a_database(file: Path) -> None:
    file.touch()
    store = Store(file)
    assert store.conversations() == []
    store.close()
    examine(file)


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "file" / "slipstream.db")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StoreError, match="is a folder"):
        Store(tmp_path / "folder.db")


def test_a_full_disk_is_said_and_loses_nothing(file: Path) -> None:
    conversation_id = fill(file)
    store = Store(file)
    before = store.path(conversation_id)
    with store.transaction() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFull, match=r"is full .* everything before it is.* Free some space"):
        store.add_message(conversation_id, before[-1].id, "user", "long " * 100_000)
    assert store.path(conversation_id) == before
    store._db.execute("PRAGMA max_page_count = 100000")
    store.add_message(conversation_id, before[-1].id, "user", "long " * 100_000)
    store.close()
    examine(file)


def test_an_io_error_on_a_full_disk_is_a_full_disk(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    def fail() -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR | (3 << 8)  # SQLITE_IOERR_WRITE
        with database.translated(file):
            raise error

    monkeypatch.setattr(database, "_free_bytes", lambda path: 0)
    with pytest.raises(DiskFull):
        fail()
    monkeypatch.setattr(database, "_free_bytes", lambda path: 2**30)
    with pytest.raises(StoreError, match="reported an error"):
        fail()


def test_what_comes_after_the_end_is_refused(file: Path) -> None:
    store = Store(file)
    store.close()
    with pytest.raises(StoreError, match="has ended"), store.transaction():
        pass


def test_a_locked_database_is_said(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    store = Store(file)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="in use by another program"):
        store.set_setting("a", 1)
    other.execute("ROLLBACK")
    other.close()
    store.set_setting("a", 1)
    store.close()


class Later(Migrations):
    """The migrations with one more step, as the next version has them."""

    def __init__(self) -> None:
        super().__init__(migrations.name)
        for name in sorted(step_names(migrations)):
            self(name=name)(lambda db: None)  # applied already


def apply_one_more(file: Path, name: str) -> None:
    later, db = Migrations(migrations.name), Database(file)
    later(name=name)(lambda db: None)
    later.apply(db)
    db.close()


def add_colour(db: Database) -> None:
    db["conversations"].add_column("colour", str)


def test_the_file_is_copied_before_it_is_migrated(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation_id = fill(file)
    next_step = Later()
    monkeypatch.setattr(database, "migrations", next_step)
    next_step(name="0999_colours")(add_colour)
    store = Store(file)
    with store.transaction() as db:
        assert "colour" in db["conversations"].columns_dict
    assert len(store.all_messages(conversation_id)) == 20
    store.close()
    copy = file.with_name("slipstream-before-0999_colours.db")
    before = Database(copy)
    assert "colour" not in before["conversations"].columns_dict
    assert before["messages"].count == 20
    before.close()
    Store(file).close()
    assert not copy.exists()  # it would keep what is deleted from now on


def test_the_copy_holds_nothing_that_has_left_the_trash(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.dates.TRASH_DAYS", 0)
    fill(file)
    store = Store(file)
    secret = store.new_conversation(ConversationSettings(), "ꙮ⸎𝄞")
    store.add_message(secret.id, None, "user", "of ꙮ⸎𝄞")
    store.delete(secret.id)
    store.close()
    assert "⸎𝄞".encode() in file.read_bytes()
    next_step = Later()
    monkeypatch.setattr(database, "migrations", next_step)
    next_step(name="0999_colours")(add_colour)
    store = Store(file)
    assert len(list(file.parent.glob("*-before-*"))) == 1
    for path in file.parent.iterdir():
        assert "⸎𝄞".encode() not in path.read_bytes(), path.name
    store.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation_id = fill(file)
    next_step = Later()

    @next_step(name="0999_broken")
    def broken(db: Database) -> None:
        db["conversations"].add_column("colour", str)
        raise RuntimeError("half way")

    with monkeypatch.context() as patch:
        patch.setattr(database, "migrations", next_step)
        with pytest.raises(RuntimeError):
            Store(file)
    store = Store(file)
    with store.transaction() as db:
        assert "colour" not in db["conversations"].columns_dict
    assert len(store.all_messages(conversation_id)) == 20
    store.close()


def test_a_person_s_own_copy_stays(file: Path) -> None:
    Store(file).close()
    own = file.with_name("slipstream-before-upgrade.db")
    own.write_bytes(file.read_bytes())
    Store(file).close()
    assert own.exists()


def test_a_folder_in_the_place_of_the_copy_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(file)
    next_step = Later()
    monkeypatch.setattr(database, "migrations", next_step)
    next_step(name="0999_colours")(add_colour)
    copy = file.with_name("slipstream-before-0999_colours.db")
    copy.mkdir()
    with pytest.raises(StoreError, match=r"before-0999_colours\.db .*[Mm]ove it away"):
        Store(file)
    copy.rmdir()
    Store(file).close()


def test_a_new_file_is_not_copied(file: Path) -> None:
    Store(file).close()
    assert [path.name for path in file.parent.iterdir()] == ["slipstream.db"]


def test_a_file_of_the_first_version_is_migrated(file: Path) -> None:
    """With an answer that a killed process left growing: the steps after the first must index it once."""
    db = Database(file)
    db.enable_wal()
    migrations.apply(db, stop_before="0002_index_at_the_end")
    when = "2026-01-31T09:30:00+00:00"
    db["conversations"].insert({"title": "kept", "created": when, "updated": when, "settings": "{}", "pinned": 0})
    row = {"conversation_id": 1, "role": "assistant", "token_ids": "[]", "created": when}
    db["messages"].insert_all(
        [row | {"text": f"text {n}", "status": s} for n, s in enumerate(("complete", "streaming"))]
    )
    db.close()
    store = Store(file)
    store.finish_cleaning()
    assert [message.status for message in store.all_messages(1)] == ["complete", "interrupted"]
    assert len(store.conversations("text")) == 1
    for index in ("messages_fts", "conversations_fts"):
        with store.transaction() as db:
            db.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)")
    store.close()
