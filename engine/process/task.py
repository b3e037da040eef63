"""The cancelling of one request. Knows nothing of what is requested."""

import threading
from collections.abc import Callable


class Task:
    """What `cancel` sets, from any thread, also before the request's work has begun."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._action: Callable[[], None] | None = None

    def cancel(self) -> None:
        with self._lock:
            self.cancelled.set()
            if self._action is not None:
                self._action()

    def when_cancelled(self, action: Callable[[], None] | None) -> None:
        """Do `action` when cancelled, at once if that has happened; the one before will not be done after this."""
        with self._lock:
            self._action = action
            if action is not None and self.cancelled.is_set():
                action()
