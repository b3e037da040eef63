"""Work that is done while nobody asks for anything, step by step, and gives way at once. Knows nothing of the work."""

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any


class Background:
    """Takes `steps` on a thread of its own, never while `paused`. What they raise is theirs to handle."""

    def __init__(self, steps: Generator[Any, None, None]) -> None:
        self._steps = steps
        self._changed = threading.Condition()
        self._pauses = 0
        self._stepping = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take no step inside the block; waits for the end of the present one."""
        with self._changed:
            self._pauses += 1
            self._changed.wait_for(lambda: not self._stepping)
        try:
            yield
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify_all()

    def stop(self) -> None:
        """Take no further step, and close the steps; waits for that."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        else:
            self._steps.close()

    def _run(self) -> None:
        try:
            while self._may_step():
                try:
                    next(self._steps)
                except StopIteration:
                    return
                finally:
                    with self._changed:
                        self._stepping = False
                        self._changed.notify_all()
        finally:
            self._steps.close()

    def _may_step(self) -> bool:
        """Wait until nothing pauses; returns False when stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._pauses)
            self._stepping = not self._stopped
            return self._stepping
