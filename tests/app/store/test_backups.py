"""Daily copies: whole, without what was deleted, and put back where the database is damaged."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from app.store import backups
from app.store.attachments import Attachments
from app.store.backups import KEPT, Backups
from app.store.database import restore_backup, soundness
from app.store.errors import StoreError
from app.store.records import ConversationSettings
from app.store.settings import AppSettings
from app.store.store import Store

SECRET = "ꙮ⸎𝄞"
DAY = date(2031, 3, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slipstream.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def talk(store: Store, text: str = "What is a river?") -> int:
    conversation = store.new_conversation(ConversationSettings(system=text), f"About {text}")
    asked = store.add_message(conversation.id, None, "user", text)
    store.add_message(conversation.id, asked.id, "assistant", f"You asked: {text}")
    return conversation.id


def holding(folder: Path, secret: str) -> list[str]:
    end = secret[1:].encode()
    return sorted(file.name for file in folder.rglob("*") if file.is_file() and end in file.read_bytes())


def test_one_a_day_is_kept_for_a_week(store: Store, path: Path) -> None:
    talk(store)
    for number in range(10):
        copies = Backups(path, lambda number=number: DAY + timedelta(number))  # type: ignore[misc]
        copies.keep_up()
        copies.keep_up()
    found = copies.found()
    assert [copy.day for copy in found] == [DAY + timedelta(number) for number in range(9, 9 - KEPT, -1)]
    if os.name == "posix":
        assert {path.stat().st_mode & 0o077 for path in (copies.folder, *(copy.path for copy in found))} == {0}


def test_a_copy_is_whole_while_the_store_is_written(store: Store, path: Path) -> None:
    with store.transaction() as db:
        db.execute("UPDATE settings SET value = value")
        Backups(path).keep_up()  # what is not committed is not in it, and nobody waits
    ids = {talk(store, f"river {number}") for number in range(30)}
    copies = Backups(path, lambda: DAY)
    copies.keep_up()
    with closing(sqlite3.connect(copies.found()[0].path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert {row[0] for row in db.execute("SELECT id FROM conversations")} == ids


def test_what_is_not_sent_or_has_left_the_trash_is_in_no_copy(store: Store, path: Path, tmp_path: Path) -> None:
    kept, deleted = talk(store), talk(store, SECRET)
    store.save_draft(kept, SECRET)
    AppSettings(store).set_draft(SECRET)
    for waiting in (kept, None):
        Attachments(store).add(waiting, "a.txt", "text", 9, SECRET)
    for number in range(3):
        Backups(path, lambda number=number: DAY + timedelta(number)).keep_up()  # type: ignore[misc]
    store.delete(deleted)
    assert len(holding(store.backups.folder, SECRET)) == 3  # it can still be brought back
    store.empty_trash()
    store.finish_cleaning()
    assert holding(store.backups.folder, SECRET) == []
    assert len(store.backups.found()) == 1
    store.save_draft(kept, "")
    AppSettings(store).set_draft("")
    for waiting in (kept, None):
        for each in Attachments(store).waiting(waiting):
            Attachments(store).remove(each.id)
    store.close()
    assert holding(tmp_path, SECRET) == []


def test_deleting_holds_where_no_new_copy_can_be_made(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deleted = talk(store, SECRET)
    Backups(path, lambda: DAY).keep_up()

    def full(copy: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(backups, "_strip", full)
    store.delete(deleted)
    store.empty_trash()
    store.finish_cleaning()
    assert list(store.backups.folder.iterdir()) == []
    assert "there is no new one: database or disk is full" in caplog.text


def test_a_copy_that_was_cut_short_is_none(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    talk(store)
    copies = Backups(path)
    copies.folder.mkdir()
    (copies.folder / "slipstream-2031-03-01.partial").write_bytes(b"killed")
    (copies.folder / "slipstream-2031-03-99.db").write_bytes(b"no day")
    assert copies.found() == []
    copies.keep_up()
    assert [copy.day for copy in copies.found()] == [date.today()]
    assert list(copies.folder.glob("*.partial*")) == []


def test_a_damaged_database_is_put_back_from_the_newest_sound_copy(store: Store, path: Path) -> None:
    talk(store, "What is a river?")
    streaming = store.add_message(talk(store), None, "assistant", "half a", status="streaming")
    Backups(path, lambda: DAY).keep_up()
    Backups(path, lambda: DAY + timedelta(1)).keep_up()
    store.close()
    newest = Backups(path).found()[0]
    newest.path.write_bytes(newest.path.read_bytes()[:9000] + b"\0" * 2000)
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(StoreError, match=r"--restore-backup` puts back the copy of 2031-03-02"):
        Store(path)
    assert "2 conversations are there again as of 2031-03-01" in restore_backup(path)
    with closing(Store(path)) as again:
        assert len(again.conversations("river")) == 2  # the index is built again
        assert again.message(streaming.id).status == "interrupted"
        again.update_message(streaming.id, "a whole sentence", [1], "complete")
        assert len(again.conversations("whole sentence")) == 1
        assert again.conversations("half a") == []
        replaced = list(path.parent.glob("slipstream-until-*.db"))
        assert [file.read_bytes()[-4:] for file in replaced] == [b"xxxx"]
        again.delete(again.conversations()[0].id)
        again.empty_trash()
        again.finish_cleaning()
        assert not replaced[0].exists()  # it may hold what has left the trash


def test_without_a_sound_copy_nothing_is_changed(path: Path) -> None:
    path.write_bytes(b"damaged" * 1000)
    copies = Backups(path)
    copies.folder.mkdir()
    (copies.folder / "slipstream-2031-03-01.db").write_bytes(b"damaged, too" * 1000)
    with pytest.raises(StoreError, match="no sound copy"):
        restore_backup(path)
    assert path.read_bytes() == b"damaged" * 1000


def test_check_says_whether_all_is_sound(path: Path) -> None:
    assert soundness(path) == "conversations: none yet"
    with closing(Store(path)) as store:
        talk(store)
        store.delete(talk(store))
        assert soundness(path) == f"conversations: 1 in {path}, which is sound; no daily copy yet"
        store.backups.keep_up()
        assert soundness(path).endswith(f"; the last of 1 daily copies is of {date.today()}")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StoreError, match="is damaged"):
        soundness(path)


def test_copies_of_days_that_have_not_come_are_the_first_to_go(store: Store, path: Path) -> None:
    """A clock that was wrong for some days, as after its battery was changed, must not cost the copies from then on."""
    talk(store)
    for number in range(KEPT):
        Backups(path, lambda number=number: DAY + timedelta(400 + number)).keep_up()  # type: ignore[misc]
    for number in range(3):
        copies = Backups(path, lambda number=number: DAY + timedelta(number))  # type: ignore[misc]
        copies.keep_up()
        assert copies.found()[0].day == DAY + timedelta(number)
        assert len(copies.found()) == KEPT
    assert [copy.day for copy in copies.found()[:3]] == [DAY + timedelta(number) for number in (2, 1, 0)]


def test_what_an_earlier_version_left_of_a_copy_takes_no_place(store: Store, path: Path) -> None:
    """It called its draft so; deleting for good removes that, too."""
    path.with_suffix(".restored").write_bytes(path.read_bytes()[:5000])
    path.with_suffix(".restoring").write_bytes(b"killed")
    chat = talk(store)
    store.close()
    with closing(Store(path)) as again:
        assert [line.id for line in again.conversations()] == [chat]
        again.delete(chat)
        again.empty_trash()
        again.finish_cleaning()
    assert list(path.parent.glob("*.restor*")) == []


def test_a_damaged_copy_never_takes_the_place_of_the_database(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chat = talk(store)
    store.close()
    ready = path.with_suffix(".put-back")
    ready.write_bytes(path.read_bytes()[:5000])
    with closing(Store(path)) as again:
        assert [line.id for line in again.conversations()] == [chat]
    assert not ready.exists()
    assert f"{path} stays as it is" in caplog.text
    assert list(path.parent.glob("slipstream-until-*")) == []
    ready.write_bytes(path.read_bytes()[:5000])
    aside = path.rename(path.with_name("slipstream-until-2031-03-01-120000.db"))  # a start that was killed came so far
    with pytest.raises(StoreError, match="put-back is damaged"):
        Store(path)
    assert ready.exists()
    assert aside.exists()
    assert not path.exists()


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("after", range(6))
def test_a_start_that_was_killed_while_it_put_a_copy_back_is_finished_by_the_next(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Between any two of its renames: never an empty database, and never one without its log."""
    talk(store)
    store.backups.keep_up()
    talk(store, "Later words")
    for ending in ("", "-wal"):  # as a killed process leaves it
        kept = path.with_name(path.name + ending).read_bytes()
        path.with_name(f"killed{ending}").write_bytes(kept)
    store.close()
    for ending in ("", "-wal"):
        path.with_name(f"killed{ending}").replace(path.with_name(path.name + ending))
    left = after

    def counted(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def moved(source: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return move(source, target)

        return moved

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr(Path, "replace", counted(Path.replace))
        with contextlib.suppress(Killed):
            restore_backup(path)
    with closing(Store(path)) as again:
        titles = {line.title for line in again.conversations()}
    whole = {"About What is a river?", "About Later words"}
    assert titles == (whole if after == 0 else whole - {"About Later words"})
    assert bool(list(path.parent.glob("slipstream-until-*.db"))) == (after > 0)
