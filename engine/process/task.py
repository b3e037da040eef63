"""What is said to one request while it is worked on: to end, to draft or not. Knows nothing of what is requested."""

import threading
from collections.abc import Callable
from typing import Protocol


class Told(Protocol):
    """What can be told so."""

    def cancel(self) -> None: ...

    def draft(self, on: bool) -> None: ...


class Task:
    """What `cancel` and `draft` set, from any thread, also before the request's work has begun."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._action: Callable[[], None] | None = None
        self._switch: Callable[[bool], None] | None = None
        self._drafting: bool | None = None  # as was said last

    def cancel(self) -> None:
        with self._lock:
            self.cancelled.set()
            if self._action is not None:
                self._action()

    def draft(self, on: bool) -> None:
        with self._lock:
            self._drafting = on
            if self._switch is not None:
                self._switch(on)

    def when_cancelled(self, action: Callable[[], None] | None) -> None:
        """Do `action` when cancelled, at once if that has happened; the one before will not be done after this."""
        with self._lock:
            self._action = action
            if action is not None and self.cancelled.is_set():
                action()

    def tell(self, told: Told | None) -> None:
        """Pass on what is said from now on, and what was said last; whoever was told before is told nothing more."""
        with self._lock:
            self._action = told.cancel if told is not None else None
            self._switch = told.draft if told is not None else None
            if told is not None and self.cancelled.is_set():
                told.cancel()
            if told is not None and self._drafting is not None:
                told.draft(self._drafting)
