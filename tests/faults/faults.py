"""The faults: each happens while an answer is written, says what must hold, and leaves the application running."""

import os
import random
import resource
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import psutil

from tests.faults.running import Broken, Sent, Slipstream, until

LOST_S = 2.0  # of the running answer may be missing
_NEWER = "9999_later"


@dataclass
class Outcome:
    """What a fault did to the answer that was being written."""

    seen: str  # by the page, `LOST_S` before the fault
    stored: str
    status: str

    @property
    def lost(self) -> int:
        """Characters that should be there and are not."""
        same = 0
        for shown, kept in zip(self.seen, self.stored, strict=False):
            if shown != kept:
                break
            same += 1
        return len(self.seen) - same


def _midway(sent: Sent, rng: random.Random) -> str:
    """Let the answer be written for a while; what the page had been shown `LOST_S` before."""
    until(lambda: sent.growing() or sent.stored()[1] != "streaming", "the answer has words")
    time.sleep(rng.uniform(0, 1.5))
    seen = sent.growing()
    time.sleep(LOST_S)
    return seen


def _outcome(sent: Sent, seen: str, *statuses: str) -> Outcome:
    text, status, error = sent.wait_until_stored()
    if status not in (*statuses, "complete"):
        raise Broken(f"the answer is {status}, expected {statuses}: {error}")
    if error and ("Traceback" in error or ".py" in error):
        raise Broken(f"the failure is no sentence: {error}")
    return Outcome(seen, text, status)


def kill_engine(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen = _midway(sent, rng)
    slipstream.engine().kill()
    return _outcome(sent, seen, "interrupted", "error")


def kill_server(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen, engine = _midway(sent, rng), slipstream.engine()
    slipstream.server().kill()
    assert slipstream.process is not None
    slipstream.process.wait(20)
    until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, "the engine ends, too", 60)
    slipstream.start()
    return _outcome(sent, seen, "interrupted")


def kill_both(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen = _midway(sent, rng)
    slipstream.end()
    slipstream.start()
    return _outcome(sent, seen, "interrupted")


def terminate(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen = _midway(sent, rng)
    if (code := slipstream.stop()) != 0:
        raise Broken(f"SIGTERM ended it with {code}")
    slipstream.start()
    return _outcome(sent, seen, "interrupted", "stopped")


def kill_at_start(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen = _midway(sent, rng)
    for _ in range(3):
        slipstream.end()
        slipstream.launch()
        time.sleep(rng.uniform(0, 4))
    slipstream.end()
    slipstream.start()
    return _outcome(sent, seen, "interrupted")


def hold_engine(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    return _held(slipstream.engine(), sent, rng)


def hold_server(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    return _held(slipstream.server(), sent, rng)


def _held(process: psutil.Process, sent: Sent, rng: random.Random) -> Outcome:
    seen = _midway(sent, rng)
    process.suspend()
    time.sleep(rng.uniform(0.5, 4))
    process.resume()
    return _outcome(sent, seen)


def close_tab(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen = _midway(sent, rng)
    sent.leave()
    return _outcome(sent, seen)


def busy_database(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    """Another program holds the database for longer than anybody waits for it."""
    seen = _midway(sent, rng)
    with closing(sqlite3.connect(slipstream.database, timeout=30)) as db:
        db.execute("BEGIN IMMEDIATE")
        time.sleep(rng.uniform(1, 9))
        db.rollback()
    return _outcome(sent, seen, "interrupted", "error")


def full_disk(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    """No file of the server may grow for some seconds, which is what a full disk does to it."""
    seen = _midway(sent, rng)
    server = slipstream.server()
    _, hard = server.rlimit(psutil.RLIMIT_FSIZE)
    server.rlimit(psutil.RLIMIT_FSIZE, (0, hard))
    time.sleep(rng.uniform(1, 5))
    server.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    return _outcome(sent, seen, "interrupted", "error")


def damaged_database(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    """The disk loses part of the file. The copy of the day, made after the answer, is put back."""
    sent.wait_until_stored()
    if slipstream.stop() != 0:
        raise Broken("the server did not end well")
    _copy_of_today(slipstream)
    whole = slipstream.database.read_bytes()
    at = rng.randrange(4096, len(whole) - 2048)
    cut = whole[:at] if rng.random() < 0.5 else whole[:at] + os.urandom(2048) + whole[at + 2048 :]
    slipstream.database.write_bytes(cut)
    with closing(sqlite3.connect(slipstream.database)) as db:
        try:
            sound = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        except sqlite3.DatabaseError:
            sound = False
    if sound:  # what was hit was not used
        slipstream.database.write_bytes(whole)
        slipstream.start()
    else:
        said = slipstream.refusal()
        if "--restore-backup" not in said or "Nothing was changed" not in said:
            raise Broken(f"a damaged database is not said well: {said}")
        slipstream.start("--restore-backup")
    text, status, _ = sent.stored()
    return Outcome("", text, status)


def _copy_of_today(slipstream: Slipstream) -> None:
    from app.store.backups import Backups

    copies = Backups(slipstream.database)
    for copy in copies.found():
        copy.path.unlink()
    copies.keep_up()


def newer_database(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    """A later version was here, and has gone."""
    seen = _midway(sent, rng)
    slipstream.end()
    with closing(sqlite3.connect(slipstream.database)) as db:
        db.execute("INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('slipstream', ?)", [_NEWER])
        db.commit()
    said = slipstream.refusal()
    if _NEWER not in said or "Nothing was changed" not in said:
        raise Broken(f"a newer database is not said well: {said}")
    with closing(sqlite3.connect(slipstream.database)) as db:
        db.execute("DELETE FROM _sqlite_migrations WHERE name = ?", [_NEWER])
        db.commit()
    slipstream.start()
    return _outcome(sent, seen, "interrupted")


Fault = Callable[[Slipstream, Sent, random.Random], Outcome]
FAULTS: tuple[Fault, ...] = (
    kill_engine,
    kill_server,
    kill_both,
    terminate,
    kill_at_start,
    hold_engine,
    hold_server,
    close_tab,
    busy_database,
    full_disk,
    damaged_database,
    newer_database,
)
