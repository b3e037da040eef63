"""Turns a call that reports its progress into a generator that yields it."""

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import TypeVar

from engine.errors import DownloadCancelled
from engine.events import LoadProgress

T = TypeVar("T")
Report = Callable[[LoadProgress], None]


def with_progress(call: Callable[[Report], T], stop: threading.Event) -> Generator[LoadProgress, None, T]:
    """Run `call(report)` in a thread, yield what it reports, return what it returns, raise what it raises.

    Closing the generator sets `stop`, which the call polls, and waits until the call has ended. Where the call returns
    although `stop` is set, its result is dropped: raises `DownloadCancelled`.
    """
    reports: SimpleQueue[LoadProgress | None] = SimpleQueue()
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call(reports.put))
        except BaseException as exc:
            failures.append(exc)
        finally:
            reports.put(None)

    thread = threading.Thread(target=run, name="load", daemon=True)
    thread.start()
    try:
        while (report := reports.get()) is not None:
            yield report
    except BaseException:  # nobody waits for the rest: closed, or interrupted from the keyboard
        stop.set()
        raise
    finally:
        thread.join()
    if failures:
        raise failures[0]
    if stop.is_set():
        results.clear()  # the traceback keeps this frame, and the frame would keep what was loaded
        raise DownloadCancelled("Loading the model was cancelled. Load it again to continue.")
    return results[0]
