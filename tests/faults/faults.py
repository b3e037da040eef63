"""The faults of processes, disk and database: each happens while an answer is written, says what must hold, and leaves
the application running. Those of what is around it are in `surroundings`."""

import os
import random
import resource
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import psutil

from tests.faults.outcome import Outcome, ended, midway
from tests.faults.running import Broken, Sent, Slipstream, until
from tests.faults.surroundings import (
    clock_backwards,
    clock_forwards,
    network_pulled,
    not_a_number,
    older_database,
)

_NEWER = "9999_later"


def kill_engine(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen, engine = midway(sent, rng), slipstream.engine()
    engine.kill()
    until(lambda: slipstream.engine().pid != engine.pid, "another engine is started")
    return ended(sent, seen, "interrupted", "error")


def kill_server(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen, engine = midway(sent, rng), slipstream.engine()
    slipstream.server().kill()
    assert slipstream.process is not None
    slipstream.process.wait(20)
    until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, "the engine ends, too", 60)
    slipstream.start()
    return ended(sent, seen, "interrupted")


def kill_both(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen = midway(sent, rng)
    slipstream.end()
    slipstream.start()
    return ended(sent, seen, "interrupted")


def terminate(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen = midway(sent, rng)
    if (code := slipstream.stop()) != 0:
        raise Broken(f"SIGTERM ended it with {code}")
    slipstream.start()
    return ended(sent, seen, "interrupted", "stopped")


def kill_at_start(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen = midway(sent, rng)
    for _ in range(rng.randint(1, 2)):
        slipstream.end()
        slipstream.launch()
        time.sleep(rng.uniform(0, 4))
    slipstream.end()
    slipstream.start()
    return ended(sent, seen, "interrupted")


def hold_engine(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    return _held(slipstream.engine(), sent, rng)


def hold_server(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    return _held(slipstream.server(), sent, rng)


def _held(process: psutil.Process, sent: Sent, rng: random.Random) -> Outcome:
    seen = midway(sent, rng, 0)  # nothing ends, so nothing may be missing
    process.suspend()
    time.sleep(rng.uniform(0.5, 4))
    process.resume()
    return ended(sent, seen)


def close_tab(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    seen = midway(sent, rng, 0)
    sent.leave()
    return ended(sent, seen)


def busy_database(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    """Another program holds the database for longer than anybody waits for it."""
    seen = midway(sent, rng)
    with closing(sqlite3.connect(slipstream.database, timeout=30)) as db:
        db.execute("BEGIN IMMEDIATE")
        time.sleep(rng.uniform(1, 9))
        db.rollback()
    return ended(sent, seen, "interrupted", "error")


def full_disk(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    """No file of the server may grow for some seconds, which is what a full disk does to it."""
    seen = midway(sent, rng)
    server = slipstream.server()
    _, hard = server.rlimit(psutil.RLIMIT_FSIZE)
    server.rlimit(psutil.RLIMIT_FSIZE, (0, hard))
    time.sleep(rng.uniform(1, 5))
    server.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    return ended(sent, seen, "interrupted", "error")


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
    seen = midway(sent, rng)
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
    return ended(sent, seen, "interrupted")


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
    older_database,
    clock_forwards,
    clock_backwards,
    not_a_number,
    network_pulled,
)
