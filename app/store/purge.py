"""Deleted text leaves the files for good: its rows, its entries in the full-text indexes, its traces in the log.

SQLite overwrites what a deleted row held (`secure_delete`), but an index only marks the entries of a deleted text:
they go when the segments that hold them are merged into one. That takes about a second for 10,000 messages of 1,250
characters, so it is done in steps, in the background. A mark in the database is set in the transaction that deletes
the text and removed when its index is clean, so that a cleaning which was cut short is finished at the next start.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlite_utils import Database

from app.store.errors import StoreError

log = logging.getLogger(__name__)

TITLES, TEXTS, ATTACHED = "conversations_fts", "messages_fts", "attachments_fts"
INDEXES = (TITLES, TEXTS, ATTACHED)
COPIES = "copies"  # marked as they are: they hold what has left the trash
STEP_PAGES = 200  # written in one step: some 50 ms in which the store's other callers wait
PAUSE_S = 0.02  # between two steps, so that they get their turn


def purge_rows(db: Database, until: str, conversation_id: int | None = None) -> bool:
    """Delete what belongs to conversations that were deleted until then, or to this one of them; returns whether there
    were any. Inside a transaction.

    It must work before every migration that may be pending: it names what the first one made, and of others what is
    there.
    """
    this = "" if conversation_id is None else f" AND id = {int(conversation_id)}"
    which = f"deleted IS NOT NULL AND deleted <= :until{this}"
    gone = f"SELECT id FROM conversations WHERE {which}"
    messages = f"SELECT id FROM messages WHERE conversation_id IN ({gone})"
    given = {"until": until}
    if db["attachments"].exists():
        removed = db.execute(f"DELETE FROM attachments WHERE conversation_id IN ({gone})", given).rowcount
        if removed and db[ATTACHED].exists():
            mark(db, ATTACHED)
    db.execute(f"DELETE FROM runs WHERE message_id IN ({messages})", given)
    db.execute(f"DELETE FROM messages WHERE conversation_id IN ({gone})", given)
    if not db.execute(f"DELETE FROM conversations WHERE {which}", given).rowcount:
        return False
    mark(db, TITLES)
    mark(db, TEXTS)
    mark(db, COPIES)
    return True


def mark(db: Database, index: str) -> None:
    """Note that an index holds deleted text; inside the transaction that deletes it."""
    db.execute(
        "INSERT INTO settings (key, value) VALUES (?, '1') ON CONFLICT (key) DO UPDATE SET value = value + 1",
        [_key(index)],
    )


def marks(db: Database, index: str) -> str | None:
    """How often the index was marked since it was clean; None where it is clean."""
    row = db.execute("SELECT value FROM settings WHERE key = ?", [_key(index)]).fetchone()
    return None if row is None else str(row[0])


def _key(index: str) -> str:
    return f"clean {index}"


def purge_at_once(db: Database, until: str) -> None:
    """Remove all text that was deleted until then; for a moment when nobody waits for the database."""
    with db.atomic():
        purge_rows(db, until)
    for index in INDEXES:
        if marks(db, index) is not None:
            with db.atomic():
                db.execute(f"INSERT INTO {index} ({index}) VALUES ('optimize')")
                db.execute("DELETE FROM settings WHERE key = ?", [_key(index)])
    truncate_log(db)


def truncate_log(db: Database) -> None:
    """Empty the write-ahead log, which holds pages as they were; outside a transaction."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class Cleaner:
    """Cleans marked indexes in a thread; `connection` gives the database while nobody else uses it.

    `renew_copies` makes copies of the database hold nothing that has left the trash.
    """

    def __init__(
        self, connection: Callable[[], AbstractContextManager[Database]], renew_copies: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._renew_copies = renew_copies
        self._stopping = threading.Event()
        self._working = threading.Lock()  # held while the indexes are cleaned
        self._guard = threading.Lock()  # of the two below
        self._asked = False  # since the thread last looked
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Clean what is marked, in the background."""
        with self._guard:
            self._asked = True
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="cleaner", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End after the present step; the marks stay for the next start."""
        self._stopping.set()
        with self._guard:
            thread = self._thread
        if thread is not None:
            thread.join()

    def clean(self) -> None:
        """Clean what is marked and return when it is done; raises `StoreError`."""
        with self._working:
            cleaned = [index for index in INDEXES if self._clean(index)]
            copies = self._clean_copies()
            if cleaned or copies:
                with self._connection() as db:
                    truncate_log(db)

    def _run(self) -> None:
        while True:
            with self._guard:
                if not self._asked or self._stopping.is_set():
                    self._thread = None
                    return
                self._asked = False
            try:
                self.clean()
            except StoreError as exc:
                log.warning("Deleted text stays in the search index until the next start: %s", exc)
            except Exception:  # the thread must live: `start` relies on it
                log.exception("Deleted text stays in the search index until the next start.")

    def _clean(self, index: str) -> bool:
        """Merge an index until it has no marks; returns whether it had any and has none now."""
        cleaned = False
        while not self._stopping.is_set():
            with self._connection() as db:
                count = marks(db, index)
            if count is None:
                return cleaned
            if self._merge(index):
                with self._connection() as db, db.atomic():  # a mark that came meanwhile has changed the count
                    db.execute("DELETE FROM settings WHERE key = ? AND value = ?", [_key(index), count])
                cleaned = True
        return False

    def _clean_copies(self) -> bool:
        """Renew the copies where they are marked; returns whether they were."""
        with self._connection() as db:
            count = marks(db, COPIES)
        if count is not None:
            self._renew_copies()
            with self._connection() as db, db.atomic():
                db.execute("DELETE FROM settings WHERE key = ? AND value = ?", [_key(COPIES), count])
        return count is not None

    def _merge(self, index: str) -> bool:
        """Merge all segments into one, step by step; False where it was stopped before."""
        pages = -STEP_PAGES  # negative: begin with all segments; positive: go on
        while not self._stopping.is_set():
            with self._connection() as db, db.atomic():
                before = db.conn.total_changes
                db.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', ?)", [pages])
                if db.conn.total_changes - before < 2:  # FTS5's own sign that nothing is left to merge
                    return True
            pages = STEP_PAGES
            self._stopping.wait(PAUSE_S)
        return False
