"""Compiles what a round runs beside the model: drafting and the choice of rows. Knows no model.

Compiled for the first time it takes numba up to a minute, in which an answer in this process would hardly get the
interpreter. So another process compiles, into numba's cache on disk, and this one loads that.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

from engine.decoding import choose
from engine.drafting import adaptive

_POLL_S = 0.05
_done = threading.Event()  # in this process


def warm_up(*, elsewhere: bool, also: Callable[[], object] = lambda: None) -> Generator[None, None, None]:
    """Compile everything, or load it from the cache on disk; a step waits at most 50 ms for that.

    With `elsewhere` another process does what the cache lacks, and this one only loads it. Closing ends that process.
    `also` is called on the thread that compiles here, for what only this process can compile.
    """
    if elsewhere and not _done.is_set():
        yield from _by_another_process()
    failures: list[Exception] = []
    thread = threading.Thread(target=_compile, args=(failures, also), name="compile", daemon=True)
    thread.start()
    while thread.is_alive():
        yield
        thread.join(_POLL_S)
    if failures:
        raise failures[0]


def _compile(failures: list[Exception], also: Callable[[], object] = lambda: None) -> None:
    try:
        if not _done.is_set():
            adaptive.warm_up()
            choose.warm_up()
            _done.set()
        also()
    except Exception as exc:
        failures.append(exc)


def _by_another_process() -> Generator[None, None, None]:
    """What fails there fails again in this process, which says so."""
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    process = None
    with suppress(OSError):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,  # its end is this process's end
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    if process is None:
        return
    try:
        while process.poll() is None:
            yield
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(5)  # an answer may be running
    _compile([])
    os._exit(0)
