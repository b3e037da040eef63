"""Trained sources, which look ahead of a text in every round: whether they may, and what it cost and brought."""

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from engine.drafting.allowance import Allowance
from engine.drafting.sources.chimera import Chimera
from engine.drafting.sources.heads import Heads

_FIRST = 1.0  # rounds without a draft that it may spend before its chances are learned
_COPYING = 8  # accepted tokens; SmolLM2's heads gained 0.2 to 0.5 of a round behind fewer, and nothing behind as many
_SAME = 4  # looks: other programs can only make one longer


class Trained(Protocol):
    """What was trained for one model, as far as it has that."""

    @property
    def heads(self) -> Heads | None: ...

    @property
    def chimera(self) -> Chimera | None: ...


class Look:
    """One such source's turns: it looks while that pays, by allowances of its own (None: always).

    There is one for where a text is being copied, so that the last round accepted much, and one for elsewhere: other
    sources alone copy as well. What a look takes is the least that any of the last ones took.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._allowances: list[Allowance | None] = [Allowance(first=_FIRST), Allowance(first=_FIRST)]
        self._copying = False
        self._taken: deque[float] = deque(maxlen=_SAME)  # seconds
        self.seconds = 0.0
        """Of the last look, until it is charged."""

    @property
    def allowance(self) -> Allowance | None:
        """That of the present place in the text; set, it is that of all."""
        return self._allowances[self._copying]

    @allowance.setter
    def allowance(self, allowance: Allowance | None) -> None:
        self._allowances = [allowance] * len(self._allowances)

    @property
    def due(self) -> bool:
        """Whether it may look now."""
        return self.allowance is None or self.allowance.drafts

    def take(self, look: Callable[[], None]) -> None:
        """Look, and note how long that takes."""
        started = perf_counter()
        look()
        self.seconds = perf_counter() - started
        self._taken.append(self.seconds)

    def charge(self, *, plain_s: float, extra: float, sources: Sequence[str], accepted: int) -> float:
        """See `Drafter.charge`."""
        allowance, looked = self.allowance, self.seconds
        self._copying, self.seconds = accepted >= _COPYING, 0.0
        if allowance is None:
            return 0.0
        own = [source == self.source for source in sources]
        rows = extra * sum(own) / max(1, len(own))
        spent = min(self._taken) / plain_s if looked else 0.0
        allowance.note(spent=spent, gained=sum(own[:accepted]) - rows)
        return looked / plain_s
