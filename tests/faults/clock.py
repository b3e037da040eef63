"""A clock that a harness moves while a process runs: what time it is there stands in a file.

Only what the application dates by `time.time` and in its store is moved; files keep the system's times.
"""

import mmap
import struct
import time
from datetime import date, datetime, tzinfo
from pathlib import Path
from typing import Any

_OFFSET = struct.Struct("d")


def move(file: Path, seconds: float) -> None:
    """Say by how much the clock is wrong; processes that have installed it see so at once."""
    if not file.exists():
        file.write_bytes(_OFFSET.pack(seconds))
    else:
        with file.open("r+b") as there:  # the same file, since they have mapped it
            there.write(_OFFSET.pack(seconds))


def install(file: Path) -> None:
    """Let the modules of this process that date things live by that clock."""
    from app.store import backups, database, dates, records

    with file.open("rb") as there:
        offset = mmap.mmap(there.fileno(), 0, access=mmap.ACCESS_READ)
    real_time = time.time

    def moved() -> float:
        return real_time() + float(_OFFSET.unpack_from(offset)[0])

    class Datetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(moved(), tz)

    time.time = moved
    for module in (database, dates, records):
        assert module.datetime is datetime  # type: ignore[attr-defined]
        module.datetime = Datetime  # type: ignore[attr-defined]
    backups.Backups.__init__.__defaults__ = (lambda: date.fromtimestamp(moved()),)
