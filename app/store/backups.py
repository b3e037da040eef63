"""Copies of the database: one a day, kept a week, offered where the database cannot be opened.

A copy is one moment of the database, without what was deleted for good, half-written messages and the search index,
which is built again when it is put back. What leaves the trash leaves the copies at once: the day's one is made anew
and the others go. What was renamed or edited since stays in them until they go.
"""

import contextlib
import logging
import os
import re
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from app.store.purge import INDEXES

log = logging.getLogger(__name__)

KEPT = 7  # copies
FIRST_LOOK_S = 30.0  # after a start, which has more to do
LOOK_S = 3600.0  # between two looks whether a new day has begun


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy, and the day that it was made on."""

    day: date
    path: Path


class Backups:
    """The copies of the database at a path. Every method may be called from any thread."""

    def __init__(self, database: Path, today: Callable[[], date] = date.today) -> None:
        self.database = database
        self.folder = database.with_name("backups")
        self._today = today
        self._working = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def found(self) -> list[Backup]:
        """All copies, the newest first. A day that has not come was named by a clock that was wrong: it comes last."""
        found = []
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                name = re.fullmatch(rf"{re.escape(self.database.stem)}-(\d{{4}}-\d\d-\d\d)\.db", path.name)
                with contextlib.suppress(ValueError):
                    if name is not None:
                        found.append(Backup(date.fromisoformat(name[1]), path))
        today = self._today()
        return sorted(found, key=lambda copy: (copy.day <= today, copy.day), reverse=True)

    def keep_up(self) -> None:
        """Make the day's copy where there is none, and remove those that are too many. Logs what fails."""
        with self._working:
            try:
                if not any(copy.day == self._today() for copy in self.found()):
                    self._make()
            except (OSError, sqlite3.Error) as exc:
                log.warning("There is no copy of %s of today: %s", self.database, exc)
                return
            for copy in self.found()[KEPT:]:
                _remove(copy.path)

    def renew(self) -> None:
        """Something has left the trash: copies that may hold it go, whether or not a new one can be made."""
        with self._working:
            for left in ("-until-*", ".restor*"):  # of a copy that was put back: what it replaced, a draft of it
                for path in self.database.parent.glob(f"{self.database.stem}{left}"):
                    _remove(path)
            older = self.found()
            if not older:
                return
            try:
                kept = self._make()
            except (OSError, sqlite3.Error) as exc:
                log.warning("The copies of what was deleted are removed, and there is no new one: %s", exc)
                kept = None
            for copy in older:
                if copy.path != kept:
                    _remove(copy.path)

    def start(self) -> None:
        """Keep up in the background, from now on."""
        self._thread = threading.Thread(target=self._run, name="backups", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the present copy."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        wait_s = FIRST_LOOK_S
        while not self._stopping.wait(wait_s):
            self.keep_up()
            wait_s = LOOK_S

    def _make(self) -> Path:
        """Write the day's copy beside its place, then move it in; returns where it is. Raises `OSError` and SQLite's
        errors."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        path = self.folder / f"{self.database.stem}-{self._today().isoformat()}.db"
        draft = path.with_suffix(".partial")
        for left in self.folder.glob("*.partial*"):  # of one that was killed
            left.unlink()
        try:
            with contextlib.closing(sqlite3.connect(draft)) as copy:
                source = sqlite3.connect(f"{self.database.absolute().as_uri()}?mode=ro", uri=True)
                with contextlib.closing(source):
                    source.backup(copy)
                _strip(copy)
                (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    raise sqlite3.DatabaseError(f"the copy is damaged ({found})")
            draft.chmod(0o600)
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            _remove(draft)
            raise
        log.info("Copied %s to %s.", self.database, path)
        return path


def _strip(copy: sqlite3.Connection) -> None:
    """Take out of a copy what it must not hold."""
    copy.execute("PRAGMA journal_mode = DELETE")
    copy.execute("PRAGMA secure_delete = ON")
    copy.execute("UPDATE messages SET status = 'interrupted' WHERE status = 'streaming'")
    columns = {row[1] for row in copy.execute("PRAGMA table_info(conversations)")}
    if "draft" in columns:
        copy.execute("UPDATE conversations SET draft = ''")
    copy.execute("DELETE FROM settings WHERE key = 'draft'")
    if copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'attachments'").fetchone():
        copy.execute("DELETE FROM attachments WHERE message_id IS NULL")  # of messages that were not sent
    for index in _indexes(copy):
        copy.execute(f"INSERT INTO {index} ({index}) VALUES ('delete-all')")
    copy.commit()
    copy.execute("VACUUM")


def rebuild_index(db: sqlite3.Connection) -> None:
    """Fill the search index of a copy that is the database now."""
    for index in _indexes(db):
        db.execute(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")
    db.commit()


def _indexes(db: sqlite3.Connection) -> list[str]:
    """Those that this database has: an older one has fewer."""
    there = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    return [index for index in INDEXES if index in there]


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        log.warning("%s cannot be removed (%s); it holds conversations as they were.", path, exc.strerror)
