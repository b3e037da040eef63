"""The database's file: opened, checked, migrated, and every SQLite error turned into a `StoreError`.

It knows nothing of conversations. A file that cannot be used is never changed: it is examined read-only first.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from app.store import purge
from app.store.backups import Backup, Backups, rebuild_index
from app.store.dates import trash_end
from app.store.errors import CorruptDatabase, DiskFull, NewerDatabase, StoreError
from app.store.migrations import APPLICATION_ID, migrations, step_names

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 5.0
OLDEST_SQLITE = (3, 34, 0)  # the first with the trigram tokeniser


def open_database(path: Path) -> Database:
    """Open the database in WAL mode, creating or migrating it; raises `StoreError` and then leaves it as it was."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(f"This Python has SQLite {sqlite3.sqlite_version}; 3.34 or later is needed. Update Python.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        finish_putting_back(path)  # where a start with --restore-backup was killed
        exists = path.exists() and path.stat().st_size > 0
    except OSError as exc:
        raise StoreError(f"The folder {path.parent} cannot be used ({exc.strerror}): choose another one.") from exc
    if path.is_dir():
        raise StoreError(f"{path} is a folder and should be a database: move it away and start again.")
    with translated(path):
        if exists:
            examine(path)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            return _prepare(Database(connection, execute_plugins=False), path)
        except BaseException:
            connection.close()
            raise


def open_in_memory() -> Database:
    """An empty database in main memory, which writes no file, not even a temporary one."""
    db = Database(sqlite3.connect(":memory:", check_same_thread=False), execute_plugins=False)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA temp_store = MEMORY")
    migrations.apply(db)
    return db


def _prepare(db: Database, path: Path) -> Database:
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA secure_delete = ON")  # what a person deletes is overwritten, not left in free pages
    pending = migrations.pending(db)
    if not pending:
        remove_copies(path)  # this start has found the migrated file sound
    elif migrations.applied(db):
        purge.purge_at_once(db, trash_end())  # so that the copy holds nothing that has left the trash
        keep_copy(db, path, pending[0].name)
    db.enable_wal()
    migrations.apply(db)
    return db


def examine(path: Path) -> None:
    """Raise `CorruptDatabase` or `NewerDatabase` unless the file is sound and ours; changes nothing."""
    # A rollback journal left by a killed process must be played back, which a read-only connection cannot do.
    mode = "rw" if path.with_name(path.name + "-journal").exists() else "ro"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        db = Database(connection, execute_plugins=False, recursive_triggers=False)
        found = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise CorruptDatabase(damaged(path, str(found[0])))
        known = step_names(migrations)
        newer = [step.name for step in migrations.applied(db) if step.name not in known]
        if newer:
            raise NewerDatabase(
                f"The database {path} was written by a newer version of Slipstream (its step {newer[-1]} is unknown "
                "here). Nothing was changed. Start that version, or choose another folder with --home."
            )
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        if db.table_names() and application_id != APPLICATION_ID:
            raise StoreError(
                f"{path} is a database of another program. Nothing was changed. Move it away or choose another "
                "folder with --home."
            )
    finally:
        connection.close()


def keep_copy(db: Database, path: Path, step: str) -> Path:
    """Copy the database beside itself before the step changes it; the copy stays until the next start."""
    copy = _copy_path(path, step)
    try:
        copy.unlink(missing_ok=True)
    except OSError as exc:
        raise StoreError(
            f"{copy} is in the way of a copy of the database ({exc.strerror}). Move it away and start again."
        ) from exc
    target = sqlite3.connect(copy)
    try:
        db.conn.backup(target)
    except sqlite3.Error:
        target.close()
        with contextlib.suppress(OSError):
            copy.unlink()
        raise
    target.close()
    log.info("Copied %s to %s before step %s.", path, copy, step)
    return copy


def remove_copies(path: Path) -> None:
    """Remove the copies of earlier steps: they would keep what is deleted from now on."""
    for step in step_names(migrations):
        copy = _copy_path(path, step)
        try:
            copy.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("%s cannot be removed (%s); it holds conversations as they were.", copy, exc.strerror)


def _copy_path(path: Path, step: str) -> Path:
    return path.with_name(f"{path.stem}-before-{step}{path.suffix}")


def damaged(path: Path, detail: str) -> str:
    detail = " ".join(detail.split())[:200]
    return (
        f"The database {path} is damaged ({detail}). Nothing was changed. {_way_back(path)} move it "
        f"away, together with {path.name}-wal and {path.name}-shm where they exist, and start again with an empty one."
    )


def _way_back(path: Path) -> str:
    copies = Backups(path).found()
    if not copies:
        return "Put a copy back in its place, or"
    return f"`python launcher.py --restore-backup` puts back the copy of {copies[0].day} and keeps the damaged file. Or"


def restore_backup(path: Path) -> str:
    """Put the newest sound copy in the database's place, which is kept beside it; returns what was done.

    Raises `StoreError` where there is none, and then leaves everything as it was.
    """
    for copy in Backups(path).found():
        try:
            examine(copy.path)
        except (StoreError, sqlite3.DatabaseError) as exc:
            log.warning("The copy %s cannot be used: %s", copy.path, exc)
            continue
        return _put_back(copy, path)
    raise StoreError(f"There is no sound copy of {path} to put back: start without --restore-backup.")


def _put_back(copy: Backup, path: Path) -> str:
    """Make the copy ready beside the database, then let it take its place; a start that is killed is finished by the
    next."""
    draft, ready = path.with_suffix(".restoring"), _ready_copy(path)
    try:
        shutil.copyfile(copy.path, draft)
        with contextlib.closing(sqlite3.connect(draft)) as db:
            rebuild_index(db)
            (count,) = db.execute("SELECT count(*) FROM conversations WHERE deleted IS NULL").fetchone()
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(ready)
    except (OSError, sqlite3.Error) as exc:
        raise StoreError(f"The copy {copy.path} cannot be put back ({exc}): make room, and try again.") from exc
    aside = finish_putting_back(path)
    if aside is None:
        raise StoreError(f"The copy {copy.path} was damaged on its way ({ready}). Check the disk, and try again.")
    conversations = "1 conversation is" if count == 1 else f"{count:,} conversations are"
    return (
        f"{conversations} there again as of {copy.day}. What was in its place is kept as {aside}, until something "
        "leaves the trash."
    )


def finish_putting_back(path: Path) -> Path | None:
    """Let a copy that is ready take the database's place; returns where that is now, or None where there is no sound
    copy. Raises `StoreError`."""
    ready = _ready_copy(path)
    try:
        made = datetime.fromtimestamp(ready.stat().st_mtime)
    except FileNotFoundError:
        return None
    if not _is_sound(ready, path):
        return None
    aside = path.with_name(f"{path.stem}-until-{made:%Y-%m-%d-%H%M%S}{path.suffix}")
    try:
        for ending in ("-wal", "-shm", "-journal", ""):
            was = path.with_name(path.name + ending)
            if was.exists():
                was.rename(aside.with_name(aside.name + ending))
        ready.replace(path)
    except OSError as exc:
        raise StoreError(
            f"{ready} cannot take the place of {path} ({exc.strerror}): make room, and try again."
        ) from exc
    log.warning("The copy of %s that was to be put back is in the place of %s; that is now %s.", made, path, aside)
    return aside


def _is_sound(ready: Path, path: Path) -> bool:
    """Whether the copy may take the database's place; a damaged one is removed while there still is a database."""
    try:
        with translated(ready):
            examine(ready)
    except CorruptDatabase as exc:
        if not path.exists():
            raise
        log.warning("A copy that was to be put back is removed, and %s stays as it is: %s", path, exc)
        ready.unlink()
        return False
    return True


def _ready_copy(path: Path) -> Path:
    return path.with_suffix(".put-back")


def soundness(path: Path) -> str:
    """What `--check` says of a database that is sound; raises `StoreError` otherwise."""
    if not path.exists():
        return "conversations: none yet"
    with translated(path):
        examine(path)
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            (count,) = db.execute("SELECT count(*) FROM conversations WHERE deleted IS NULL").fetchone()
    copies = Backups(path).found()
    kept = f"the last of {len(copies)} daily copies is of {copies[0].day}" if copies else "no daily copy yet"
    return f"conversations: {count:,} in {path}, which is sound; {kept}"


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as `StoreError`s; a misuse of SQLite (`ProgrammingError` and its kin) passes through."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        error = _translation(exc, path)
        if error is None:
            raise
        raise error from exc


def _translation(exc: sqlite3.DatabaseError, path: Path) -> StoreError | None:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # the low byte is the class, the rest a detail
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptDatabase(damaged(path, str(exc)))
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _free_bytes(path) < 2**20):
        return DiskFull(
            f"The disk with {path} is full ({_free_bytes(path) / 1e6:.1f} MB free): the last change was not saved, "
            "everything before it is. Free some space and try again."
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(f"The disk with {path} reported an error ({exc}). Check the disk, then start again.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(f"The database {path} cannot be written ({exc}): check the rights of its folder.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"The database {path} is in use by another program: close that one and try again.")
    return None


def _free_bytes(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 0
