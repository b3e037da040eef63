"""Whose turn it is at the engine: pages, other programs and loads wait here in one line. Knows no engine.

Everybody has a place, sees how many come before it, and may leave. The line is fair between askers: whoever waits
with several requests lets others pass between two of them. At most `STRIDE` others, so that nobody waits for ever.
Askers of one address share its turns, fairly again: a program that gives itself many names gains nothing over other
machines, nor over people.

>>> queue = Queue()
>>> first, second, third = (queue.join(Asker(kind="api", name="a")) for _ in range(3))
>>> other = queue.join(Asker(kind="page", name="b"))
>>> first.ahead, second.ahead, third.ahead, other.ahead
(0, 2, 3, 1)
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from statistics import fmean
from types import TracebackType
from typing import Literal, Self

STRIDE = 1000  # so many later ones may pass a request for each earlier one that its asker waits with
SHOWN_S = 2.0  # so long at least stands what pages say of other programs
REMEMBERED = 8  # turns, whose mean length says when there will be room

Kind = Literal[
    "page", "api", "model", "idle"
]  # a conversation's answer, another program's, a load, work that gives way


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who waits. Requests of equal askers do not pass each other. `address`: of the machine that asks, where told."""

    kind: Kind
    name: str
    address: str = ""

    @property
    def party(self) -> "Asker":
        """All who share an address, towards others."""
        return replace(self, name="") if self.address else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How a request waits: how many come before it, and what has its turn now."""

    ahead: int
    serving: Kind


class QueueFull(Exception):
    """As many wait as may, or as many of one asker's; `retry_after_s` is when there will probably be room."""

    def __init__(self, num_waiting: int, retry_after_s: int, *, of_one: bool = False) -> None:
        self.retry_after_s = retry_after_s
        whose = "requests from your address" if of_one else "requests"
        super().__init__(f"{num_waiting} {whose} are waiting already: try again in {retry_after_s} s.")


class NoThread(Exception):
    """The system lets no further thread begin."""

    def __init__(self) -> None:
        super().__init__("The system has no room for another answer: try again in a moment, or end other programs.")


class Place:
    """A place in the line, to be used as a context: it ends with it, and so does its turn."""

    def __init__(self, queue: "Queue", asker: Asker, rank: int, own_rank: int) -> None:
        self.asker = asker
        self.rank = rank
        self.own_rank = own_rank  # among those of its address
        self._queue = queue

    @property
    def ahead(self) -> int | None:
        """How many come before this one: 0 when it is its turn, None when it has left."""
        return self._queue.ahead(self)

    @property
    def waiting(self) -> Waiting | None:
        """How it waits; None where it does not."""
        return self._queue.waiting(self)

    def wait(self, report: Callable[[Waiting], None] = lambda _: None, every_s: float | None = None) -> bool:
        """Wait for the turn, and `report` how: at first, after every change, and `every_s` seconds.

        False where the place was given up.
        """
        return self._queue.wait(self, report, every_s)

    def start(self, *threads: threading.Thread) -> None:
        """Start what is to use the place. Where that cannot be, it ends, and so does its turn; raises `NoThread`."""
        try:
            for thread in threads:
                thread.start()
        except RuntimeError as exc:
            self._queue.remove(self)
            raise NoThread from exc

    def give_up(self) -> None:
        """Leave the line, from any thread. Does nothing once the turn has come: what has it must end first."""
        self._queue.remove(self, only_waiting=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._queue.remove(self)


class Queue:
    """The line before one engine. Every method may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()  # guards everything below
        self._serving: Place | None = None
        self._since_s = 0.0
        self._waiting: list[Place] = []  # in the order of their turns
        self._num_joined = 0
        self._lengths_s: deque[float] = deque(maxlen=REMEMBERED)
        self._stirred = False  # somebody has been served since it was at rest
        self.on_busy: Callable[[bool], None] = lambda _: None  # told whether anybody has a turn; it must not wait
        self._give_way: Callable[[], None] = lambda: None  # of what has its turn in idle time

    @property
    def serving(self) -> Asker | None:
        """Whose turn it is."""
        place = self._serving
        return place.asker if place is not None else None

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def join(self, asker: Asker, *, most: int | None = None, most_of_one: int | None = None) -> Place:
        """Take a place; raises `QueueFull` where `most` wait already, or `most_of_one` of the asker's address."""
        with self._changed:
            party = [place for place in self._waiting if place.asker.party == asker.party]
            if most is not None and len(self._waiting) >= most:
                raise QueueFull(len(self._waiting), self._room_after_s())
            if most_of_one is not None and len(party) >= most_of_one:
                raise QueueFull(len(party), self._room_after_s(), of_one=True)
            self._num_joined += 1
            place = Place(self, asker, self._rank(asker), self._own_rank(asker))
            party.append(place)
            ranks = sorted(each.rank for each in party)
            for each, rank in zip(sorted(party, key=lambda each: each.own_rank), ranks, strict=True):
                each.rank = rank  # the party keeps its turns; who of it has which of them is its own matter
            self._waiting.append(place)
            self._waiting.sort(key=lambda each: each.rank)  # stable: equal ranks stay in the order they came
            self._serve_next()
            self._changed.notify_all()
            idle = self._serving is not None and self._serving.asker.kind == "idle"
        if idle:
            self._give_way()
        return place

    def join_idle(self, give_way: Callable[[], None]) -> Place | None:
        """Take the turn where nobody has it or waits, else None; `give_way` is called when somebody comes."""
        with self._changed:
            if self._serving is not None or self._waiting:
                return None
            self._num_joined += 1
            self._give_way = give_way
            self._serving = Place(self, Asker(kind="idle", name=""), self._num_joined, self._num_joined)
            self._since_s = self._clock()
            self.on_busy(True)
            return self._serving

    def wait_for_rest(self, rest_s: float, over: Callable[[], bool], due: Callable[[], bool] = lambda: False) -> bool:
        """Wait until somebody has been served, or it is `due`, and then nobody for so long; False as soon as it is
        `over`.

        Whoever changes what these say calls `wake`. A turn counts also where it is over before this looks.
        """
        with self._changed:
            self._changed.wait_for(lambda: over() or due() or self._stirred)
            while not over():
                self._changed.wait_for(lambda: over() or (self._serving is None and not self._waiting))
                self._stirred = False
                if not self._changed.wait_for(lambda: over() or self._stirred, rest_s):
                    return True
            return False

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def ahead(self, place: Place) -> int | None:
        with self._changed:
            return self._ahead(place)

    def waiting(self, place: Place) -> Waiting | None:
        with self._changed:
            return self._how(place)

    def wait(self, place: Place, report: Callable[[Waiting], None], every_s: float | None) -> bool:
        """See `Place.wait`. Nothing is held while `report` runs."""
        seen: Waiting | None = None
        while True:
            with self._changed:
                if seen is not None:
                    self._changed.wait_for(partial(self._has_changed, place, seen), every_s)
                now = self._how(place)
                if now is None:
                    return place is self._serving
            seen = now
            report(now)

    def remove(self, place: Place, *, only_waiting: bool = False) -> None:
        with self._changed:
            if place in self._waiting:
                self._waiting.remove(place)
            elif place is self._serving and not only_waiting:
                if self._serving.asker.kind != "idle":
                    self._lengths_s.append(self._clock() - self._since_s)
                self._serving = None
            else:
                return
            self._serve_next()
            self._changed.notify_all()

    # The lock is held

    def _rank(self, asker: Asker) -> int:
        return self._behind(place.rank for place in self._places() if place.asker.party == asker.party)

    def _own_rank(self, asker: Asker) -> int:
        return self._behind(place.own_rank for place in self._places() if place.asker == asker)

    def _behind(self, earlier: Iterable[int]) -> int:
        return max(self._num_joined, max(earlier, default=-STRIDE) + STRIDE)

    def _places(self) -> Iterable[Place]:
        return chain([] if self._serving is None else [self._serving], self._waiting)

    def _serve_next(self) -> None:
        if self._serving is None and self._waiting:
            self._serving = self._waiting.pop(0)
            self._since_s = self._clock()
            self._stirred = True
        self.on_busy(self._serving is not None)

    def _ahead(self, place: Place) -> int | None:
        if place is self._serving:
            return 0
        return 1 + self._waiting.index(place) if place in self._waiting else None

    def _how(self, place: Place) -> Waiting | None:
        """How the place waits; None where it does not."""
        ahead = self._ahead(place)
        if not ahead:
            return None
        assert self._serving is not None  # whoever waits, waits for somebody
        return Waiting(ahead=ahead, serving=self._serving.asker.kind)

    def _has_changed(self, place: Place, before: Waiting) -> bool:
        return self._how(place) != before

    def _room_after_s(self) -> int:
        """Whole seconds until a turn has probably ended, by the mean of the latest ones."""
        mean_s = fmean(self._lengths_s) if self._lengths_s else self._clock() - self._since_s
        return min(max(1, round(mean_s)), 600)


class OtherPrograms:
    """Whether other programs are being answered, as pages show it: that changes seldom, whatever the programs do."""

    def __init__(self, queue: Queue, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._clock = clock
        self._changed_s = -SHOWN_S
        self.busy = False
        self._num_changes = 0

    def look(self) -> int:
        """See whether `busy` has changed; returns how often it has."""
        serving, now_s = self._queue.serving, self._clock()
        busy = serving is not None and serving.kind == "api"
        if busy != self.busy and now_s - self._changed_s >= SHOWN_S:
            self.busy, self._changed_s = busy, now_s
            self._num_changes += 1
        return self._num_changes
