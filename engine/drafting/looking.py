"""Trained sources, which look ahead of a text in every round: whether they may, and what it cost and brought."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from engine.drafting.allowance import Allowance
from engine.drafting.sources.chimera import Chimera
from engine.drafting.sources.heads import Heads


class Trained(Protocol):
    """What was trained for one model, as far as it has that."""

    @property
    def heads(self) -> Heads | None: ...

    @property
    def chimera(self) -> Chimera | None: ...


class Look:
    """One such source's turns: it looks while that pays, by an allowance of its own (None: always)."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.allowance: Allowance | None = Allowance()
        self.seconds = 0.0
        """Of the last look, until it is charged."""

    @property
    def due(self) -> bool:
        """Whether it may look now."""
        return self.allowance is None or self.allowance.drafts

    def take(self, look: Callable[[], None]) -> None:
        """Look, and note how long that takes."""
        started = perf_counter()
        look()
        self.seconds = perf_counter() - started

    def charge(self, *, plain_s: float, extra: float, sources: Sequence[str], accepted: int) -> float:
        """See `Drafter.charge`."""
        if self.allowance is None:
            return 0.0
        own = [source == self.source for source in sources]
        rows = extra * sum(own) / max(1, len(own))
        looked = self.seconds / plain_s
        self.allowance.note(spent=looked, gained=sum(own[:accepted]) - rows)
        self.seconds = 0.0
        return looked
