"""How fast a page draws what it is sent. Imports no Gradio.

Where a page is slow the next update waits: each one costs the page a new rendering of the whole answer, perhaps on the
processor that runs the model, and a page that falls behind never catches up.
"""

import threading
import time

LEAST_S = 0.08  # between two updates: twelve a second are smooth enough to read
MOST_S = 2.0
# The time between two updates, as a multiple of what one took: a page works a quarter of the time at most, and a
# twelfth where it shares the processor with the model.
APART, SHARED = 4, 12
PATIENCE_S = 1.0  # for a page that does not say what it has drawn
CHECK_S = 0.1  # how often a wait checks whether it is still needed


class Pace:
    """The updates of one event of a page, each known by the event's ticket and its own number."""

    def __init__(self, pacer: "Pacer", ticket: int, times: int) -> None:
        self._pacer, self._ticket, self._times = pacer, ticket, times
        self._number, self._sent = 0, 0.0

    def next(self) -> list[int]:
        """The ticket and the number of the update that is sent now."""
        self._number, self._sent = self._number + 1, time.monotonic()
        return [self._ticket, self._number]

    def drawn(self) -> bool:
        """Wait a little for the page; returns whether it has drawn the update, or has been given up on."""
        return self._pacer.wait(self._ticket, self._number, CHECK_S) or time.monotonic() - self._sent > PATIENCE_S

    def rest_s(self) -> float:
        """How much longer the next update should wait, once this one is drawn."""
        took = min(self._pacer.when(self._ticket) or time.monotonic(), self._sent + PATIENCE_S) - self._sent
        return max(0.0, self._sent + min(max(LEAST_S, self._times * took), MOST_S) - time.monotonic())


class Pacer:
    """Knows which update each page has drawn."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._drawn: dict[int, tuple[int, float]] = {}  # ticket -> (number of the last update drawn, when)

    def begin(self, ticket: int, *, shared: bool = False) -> Pace:
        """Begin an event; `shared` says that the model runs on the processor that also draws the page."""
        with self._changed:
            self._drawn[ticket] = (0, 0.0)
        return Pace(self, ticket, SHARED if shared else APART)

    def end(self, ticket: int) -> None:
        with self._changed:
            self._drawn.pop(ticket, None)

    def note(self, ticket: int, number: int) -> None:
        """Take down that the page has drawn this update, if anybody waits for it."""
        with self._changed:
            if ticket in self._drawn:
                self._drawn[ticket] = (number, time.monotonic())
                self._changed.notify_all()

    def wait(self, ticket: int, number: int, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._drawn.get(ticket, (number, 0.0))[0] >= number, timeout)

    def when(self, ticket: int) -> float | None:
        with self._changed:
            return self._drawn.get(ticket, (0, 0.0))[1] or None
