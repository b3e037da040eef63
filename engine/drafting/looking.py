"""Trained sources, which look ahead of a text in every round: whether they may, and what it cost and brought."""

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from engine.drafting.allowance import Allowance
from engine.drafting.sources.chimera import Chimera
from engine.drafting.sources.heads import Heads

_FIRST = 1.0  # rounds without a draft that it may spend before its chances are learned
_COPYING = 8  # accepted tokens of other sources in a round, behind which SmolLM2's heads gained nothing
_SAME = 4  # looks: other programs can only make one longer


class Trained(Protocol):
    """What was trained for one model, as far as it has that."""

    @property
    def heads(self) -> Heads | None: ...

    @property
    def chimera(self) -> Chimera | None: ...


class Look:
    """One such source's turns: it looks while that pays, by an allowance of its own (None: always), and not where other
    sources are copying a text. What a look takes is the least that any of the last ones took.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.allowance: Allowance | None = Allowance(first=_FIRST)
        self._copying = False
        self._taken: deque[float] = deque(maxlen=_SAME)  # seconds
        self.seconds = 0.0
        """Of the last look, until it is charged."""

    @property
    def due(self) -> bool:
        """Whether it may look now."""
        return self.allowance is None or (self.allowance.drafts and not self._copying)

    def begin(self) -> None:
        """Another answer begins: what the last one copied says nothing of it."""
        self._copying = False

    def take(self, look: Callable[[], None]) -> None:
        """Look, and note how long that takes."""
        started = perf_counter()
        look()
        self.seconds = perf_counter() - started
        self._taken.append(self.seconds)

    def charge(self, *, plain_s: float, extra: float, sources: Sequence[str], accepted: int) -> float:
        """See `Drafter.charge`."""
        if self.allowance is None:
            return 0.0
        own = [source == self.source for source in sources]
        self._copying = accepted - sum(own[:accepted]) >= _COPYING
        rows = extra * sum(own) / max(1, len(own))
        looked, self.seconds = self.seconds, 0.0
        spent = min(self._taken) / plain_s if looked else 0.0
        self.allowance.note(spent=spent, gained=sum(own[:accepted]) - rows)
        return looked / plain_s
