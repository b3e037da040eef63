"""Runs `app.documents.child` on a file, and ends it where it takes too long or too much memory.

A PDF or Word file is a program of sorts: a crafted one makes its reader loop or allocate without an end.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import psutil

from app.documents.limits import MEMORY_LIMIT, TIME_LIMIT_S, Unreadable

LOOK_S = 0.05  # between two looks at the process's memory
WHAT = {"pdf": "PDF", "docx": "Word file"}

_ROOT = Path(__file__).resolve().parents[2]


def extract(
    kind: Literal["pdf", "docx"],
    name: str,
    data: bytes,
    *,
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit: int = MEMORY_LIMIT,
) -> str:
    """The text of a file; raises `Unreadable`."""
    process = subprocess.Popen(
        command(kind),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    answer: list[bytes] = []
    talk = threading.Thread(target=_talk, args=(process, data, answer), daemon=True)
    talk.start()
    ended = _watch(process, talk, time_limit_s, memory_limit)
    if ended is not None:
        raise Unreadable(f"“{name}” takes {ended} to read: it may be damaged. Copy the text that you need out of it.")
    try:
        said = json.loads(answer[0])
    except (IndexError, ValueError):
        said = {}
    if isinstance(text := said.get("text"), str):
        return text
    why = said.get("why") or f"cannot be read as a {WHAT[kind]}: it is damaged or of an unusual kind"
    raise Unreadable(f"“{name}” {why}.")


def command(kind: str) -> list[str]:
    """How the program is started; it is told whom it must not outlive."""
    return [sys.executable, "-P", "-m", "app.documents.child", kind, str(os.getpid())]


def environment() -> dict[str, str]:
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}


def _talk(process: "subprocess.Popen[bytes]", data: bytes, answer: list[bytes]) -> None:
    """Hand the file over and take the answer; a process that dies gives none."""
    try:
        answer.append(process.communicate(data)[0])
    except (OSError, ValueError):
        return


def _watch(
    process: "subprocess.Popen[bytes]", talk: threading.Thread, time_limit_s: float, memory_limit: int
) -> str | None:
    """Wait for the answer; where the process had to be ended: what was too much."""
    deadline = time.monotonic() + time_limit_s
    ended = None
    while talk.is_alive():
        talk.join(LOOK_S)
        if time.monotonic() > deadline:
            ended = "too long"
        elif _memory(process.pid) > memory_limit:
            ended = "too much memory"
        if ended is not None and talk.is_alive():
            process.kill()
            talk.join()
            return ended
    return None


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0
