"""How often a drafter is asked, and what it learns of the rounds in which it was not."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, ModelSpec
from engine.decoding import loop
from engine.drafting.adaptive import AdaptiveDrafter
from engine.drafting.allowance import Allowance
from engine.drafting.drafter import EMPTY_DRAFT, Draft
from engine.events import Finished, Round


def drafting(rounds: Iterable[object], spent: float, gained: Callable[[int], float]) -> list[int]:
    """The rounds that drafted, where drafting takes this many plain rounds and gains what `gained` says."""
    allowance = Allowance()
    drafted = []
    for number, _ in enumerate(rounds):
        if allowance.drafts:
            drafted.append(number)
            allowance.note(spent=spent, gained=gained(number))
        else:
            allowance.note(spent=0.0, gained=0.0)
    return drafted


def test_a_slow_model_always_drafts() -> None:
    assert drafting(range(500), 0.004, lambda _: 0.0) == list(range(500))


def test_drafting_in_vain_costs_a_fast_model_little() -> None:
    drafted = drafting(range(1000), 0.15, lambda _: 0.0)
    assert len(drafted) * 0.15 < 0.02 * 1000
    assert max(later - earlier for earlier, later in pairwise(drafted)) <= 18


def test_what_was_gained_lets_a_fast_model_draft() -> None:
    assert drafting(range(500), 0.15, lambda number: 3.0 * (number % 8 == 0)) == list(range(500))


def test_drafts_that_lose_become_rare() -> None:
    drafted = drafting(range(1000), 0.001, lambda number: 2.0 if number % 50 == 0 else -0.5)
    assert len(drafted) < 100


def test_what_was_gained_long_ago_counts_little() -> None:
    drafted = drafting(range(2000), 0.15, lambda number: 5.0 * (number < 1000))
    assert drafted[:1000] == list(range(1000))
    assert len(drafted) < 1000 + 150


class Resting(Allowance):
    """Two rounds of three rest."""

    def __init__(self) -> None:
        super().__init__()
        self._round = 0

    @property
    def drafts(self) -> bool:
        return self._round % 3 == 0

    def note(self, *, spent: float, gained: float) -> None:
        self._round += 1


class Silent(AdaptiveDrafter):
    """Drafts nothing, and notes how long the text was whenever it was asked."""

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        super().begin(token_ids, temperature)
        self.asked: list[int] = []

    def draft(self, max_size: int, **_: Any) -> Draft:
        self.asked.append(int(self._parts.sources.history.size[0]))
        return EMPTY_DRAFT


def test_rounds_rest_and_the_drafter_learns_what_they_committed(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = InstrumentedEngine()
    for _ in engine.load(ModelSpec(model=str(tiny_model("llama")), dtype="float32")):
        pass
    request = GenerationRequest(messages=(Message.of("user", "one two three " * 20),), max_tokens=60, ignore_eos=True)
    *_, plain = engine.generate(replace(request, mode="plain"))
    drafter = AdaptiveDrafter()
    drafter.allowance = Resting()
    learned: list[int] = []
    learn = drafter.commit

    def commit(draft: Draft, token_ids: Sequence[int]) -> None:
        learned.extend(token_ids)
        learn(draft, token_ids)

    drafter.commit = commit  # type: ignore[method-assign]
    *rounds, end = [event for event in engine.generate(request, drafter=drafter) if isinstance(event, Round | Finished)]
    assert end.token_ids == plain.token_ids
    assert all(not each.draft_size for each in rounds if each.index % 3)
    assert tuple(learned) == end.token_ids[1 : 1 + len(learned)]
    assert len(learned) >= 57  # but for what the last rounds, which rested, committed
    for dear, steps in ((0.0, [1, 1, 2, 2, 2]), (math.inf, [1, 1, 1, 1, 1])):
        monkeypatch.setattr(loop, "_DEAR", dear)
        silent = Silent()
        silent.allowance.note(spent=0.0, gained=1e6)  # type: ignore[union-attr]
        *_, end = engine.generate(replace(request, max_tokens=16), drafter=silent)
        assert end.token_ids == plain.token_ids[:16]
        assert [later - earlier for earlier, later in pairwise(silent.asked)][:5] == steps


class Recorded(AdaptiveDrafter):
    """Notes for every round whether its first node was learned before what the model found likely behind it."""

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        super().begin(token_ids, temperature)
        self.text = list(token_ids)
        self.begun = len(token_ids)
        self.behind_text: list[bool] = []

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        super().commit(draft, token_ids)
        self.text.extend(token_ids)

    def recycle(self, contexts: Any, top_ids: Any, top_chances: Any) -> None:
        super().recycle(contexts, top_ids, top_chances)
        if len(self.text) > self.begun:
            known = set(pairwise(self.text[:-1]))
            self.behind_text.append((int(contexts[0, 0]), int(contexts[0, 1])) in known)


def test_a_drafter_learns_a_token_before_it_learns_that_the_model_found_it_likely(
    tiny_model: Callable[..., Path],
) -> None:
    """The other way round, calibration would take the model's own tokens for an oracle's."""
    engine = InstrumentedEngine()
    for _ in engine.load(ModelSpec(model=str(tiny_model("llama")), dtype="float32")):
        pass
    request = GenerationRequest(messages=(Message.of("user", "one two three"),), max_tokens=40, ignore_eos=True)
    drafter = Recorded()
    drafter.allowance = None
    *_, end = engine.generate(request, drafter=drafter)
    assert isinstance(end, Finished)
    assert len(drafter.behind_text) == end.stats.rounds
    assert all(drafter.behind_text)
