"""How fast a page draws what it is sent. Where it is slow the next update waits: an update costs the page a new
rendering of the whole answer, on the processor that may be the model's, and one that falls behind never catches up.
"""

import threading
import time

from fastapi import APIRouter, Request, Response

from app.web.bodies import small_body

LEAST_S = 0.08  # between two updates: twelve a second are smooth enough to read
MOST_S = 2.0
# The time between two updates, in times of what one took: a page works a quarter of the time at most, and a twelfth
# where the model runs on a processor, which it then shares.
APART, SHARED = 4, 12
PATIENCE_S = 1.0  # for a page that does not say what it has drawn
LOOK_S = 0.1  # how often a wait looks whether it is still needed


class Pace:
    """The updates of one event of a page, each named by the event's ticket and its number."""

    def __init__(self, pacer: "Pacer", ticket: int, times: int) -> None:
        self._pacer, self._ticket, self._times = pacer, ticket, times
        self._number, self._sent = 0, 0.0

    def next(self) -> list[int]:
        """Name the update that is sent now."""
        self._number, self._sent = self._number + 1, time.monotonic()
        return [self._ticket, self._number]

    def drawn(self) -> bool:
        """Wait a little for the page; returns whether it has drawn the update, or there is no more patience."""
        return self._pacer.wait(self._ticket, self._number, LOOK_S) or time.monotonic() - self._sent > PATIENCE_S

    def rest_s(self) -> float:
        """How long the next update should wait still, once this one is drawn."""
        took = min(self._pacer.when(self._ticket) or time.monotonic(), self._sent + PATIENCE_S) - self._sent
        return max(0.0, self._sent + min(max(LEAST_S, self._times * took), MOST_S) - time.monotonic())


class Pacer:
    """What pages have drawn."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._drawn: dict[int, tuple[int, float]] = {}  # ticket -> (number of the last update drawn, when)

    def begin(self, ticket: int, *, shared: bool = False) -> Pace:
        """Begin an event; `shared` says that the model runs on the processor, where pages are drawn, too."""
        with self._changed:
            self._drawn[ticket] = (0, 0.0)
        return Pace(self, ticket, SHARED if shared else APART)

    def end(self, ticket: int) -> None:
        with self._changed:
            self._drawn.pop(ticket, None)

    def note(self, ticket: int, number: int) -> None:
        """The page has drawn this update; one that nobody waits for is forgotten."""
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


def pace_routes(pacer: Pacer) -> APIRouter:
    """`/drawn`, where a page names the update it has drawn: two whole numbers."""
    router = APIRouter()

    @router.post("/drawn")
    async def drawn(request: Request) -> Response:
        numbers = (await small_body(request)).split()
        if len(numbers) != 2 or not all(n.isascii() and n.isdecimal() and len(n) < 16 for n in numbers):
            return Response("The page names an update with two whole numbers: load it again.", 400)
        pacer.note(int(numbers[0]), int(numbers[1]))
        return Response(status_code=204)

    return router
