"""The replies to one command, among all that a child sends; a child that does not stop when asked to is ended."""

import time
from collections.abc import Iterator
from contextlib import suppress

from engine.process.child import Child, ChildEnded
from engine.process.task import Task
from engine.process.wire import Reply

POLL_S = 0.25  # how soon a death behind an inherited pipe, or a cancel while waiting for a reload, is noticed


def replies(child: Child, id: int, task: Task | None, stop_timeout_s: float) -> Iterator[Reply]:
    """The replies to command `id`, its end last. Raises the error among them, and `ChildEnded`."""
    silent_since: float | None = None  # since when a child that was asked to stop has sent nothing
    while True:
        reply = child.receive(POLL_S)
        if reply is None:
            stopping = child.abandoned or (task is not None and task.cancelled.is_set())
            if stopping and silent_since is None:
                silent_since = time.monotonic()
            elif stopping and silent_since is not None and time.monotonic() - silent_since > stop_timeout_s:
                child.kill(f"did not stop within {stop_timeout_s:g} s and was ended")
            continue
        silent_since = None
        if reply.id not in (id, None):
            if reply.kind in ("end", "error"):
                child.abandoned = False
            continue  # of an answer that was closed early
        if reply.error is not None:
            if reply.fatal:
                _await_end(child)
            raise reply.error
        yield reply
        if reply.kind == "end":
            return


def _await_end(child: Child) -> None:
    """End a child that has announced its end, and wait for it, so that it is not used again."""
    child.kill("gave up after a fault")
    with suppress(ChildEnded):
        while True:
            child.receive(POLL_S)
