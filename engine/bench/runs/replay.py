"""`bench replay`: drafters over recorded greedy answers, without a model.

A greedy answer is fixed, so a drafter has exactly the tokens accepted here that it would have had live. At each round
its draft is compared with what follows; a round commits the accepted tokens and one more. An answer's first token
comes from the prefill and counts nowhere. Speed is predicted: tokens committed over the sum of T(width) of the
rounds, the drafter's own time left out and reported beside it. Recycled logits have no part in it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from tqdm import tqdm

from engine.bench.arms.contestants import make_contestant
from engine.bench.arms.oracle import oracle_rounds
from engine.bench.harness import machine
from engine.bench.inputs.curves import Curve
from engine.bench.inputs.transcripts import Transcript
from engine.bench.plans import ABLATIONS, ALL, Contestant, Memory, ReplayPlan
from engine.config import MEMORY_TOKENS
from engine.decoding.choose import Prices, choose_size
from engine.drafting.adaptive import warm_up
from engine.drafting.conversation_memory import ConversationMemory
from engine.drafting.drafter import ROOT, Draft, Drafter
from engine.metrics import ratio

Group = tuple[str, str]  # suite and category


@dataclass(slots=True)
class Tally:
    """What some rounds came to."""

    tokens: int = 0
    drafted: int = 0  # nodes verified
    accepted: int = 0
    widths: Counter[int] = field(default_factory=Counter)  # rounds by width
    draft_s: list[float] = field(default_factory=list)  # by round: the drafter's own time

    @property
    def rounds(self) -> int:
        return self.widths.total()

    def add(self, other: "Tally") -> None:
        self.tokens += other.tokens
        self.drafted += other.drafted
        self.accepted += other.accepted
        self.widths += other.widths
        self.draft_s += other.draft_s

    def to_json(self, curve: Curve) -> dict[str, Any]:
        cost = sum(curve(width) * count for width, count in self.widths.items())
        return {
            "tokens": self.tokens,
            "rounds": self.rounds,
            "drafted": self.drafted,
            "accepted": self.accepted,
            "width_histogram": {str(width): self.widths[width] for width in sorted(self.widths)},
            "tokens_per_round": ratio(self.tokens, self.rounds),
            "acceptance_rate": ratio(self.accepted, self.drafted),
            "speedup": ratio(self.tokens, cost),
            "draft_us": {"median": _microseconds(self.draft_s, 50), "p99": _microseconds(self.draft_s, 99)},
        }


def _microseconds(seconds: Sequence[float], percentile: float) -> float | None:
    return float(np.percentile(seconds, percentile)) * 1e6 if seconds else None


def agreement(draft: Draft, size: int, following: Sequence[int], start: int) -> int:
    """How many of `following[start:]` the first `size` nodes of a draft have in a row, from the root on.

    >>> agreement(Draft((5, 6, 7), (-1, 0, -1), (), ("", "", "")), 3, [1, 5, 6, 7], 1)
    2
    """
    nodes = {edge: node for node, edge in enumerate(zip(draft.parents[:size], draft.token_ids[:size], strict=True))}
    node, position = ROOT, start
    while position < len(following):
        child = nodes.get((node, following[position]))
        if child is None:
            break
        node = child
        position += 1
    return position - start


Results = dict[Group, Tally]


class Player:
    """Plays transcripts to one drafter, conversation by conversation; drafts of `max_nodes` tokens at most."""

    def __init__(self, drafter: Drafter, curve: Curve, max_nodes: int) -> None:
        self._drafter = drafter
        self._max_nodes = max_nodes
        self._prices = Prices(range(1, max_nodes + 2), curve)

    def play(self, transcript: Transcript) -> Tally:
        tally = Tally()
        token_ids: list[int] = []
        for turn in transcript.turns:
            answer = turn.answer_ids
            token_ids += (*turn.prompt_ids, answer[0])
            self._drafter.begin(tuple(token_ids))
            done = 1
            while done < len(answer):
                done += self._round(answer, done, tally)
            token_ids += answer[1:]
        return tally

    def _round(self, answer: Sequence[int], done: int, tally: Tally) -> int:
        """Play one round behind `answer[:done]`; returns how many tokens it committed."""
        started = time.perf_counter()
        draft = self._drafter.draft(self._max_nodes, min_chance=self._prices.min_chance)
        drafted = time.perf_counter()
        size, width = self._size(draft)
        accepted = agreement(draft, size, answer, done)
        committed = answer[done : done + accepted + 1]
        known = time.perf_counter()
        self._drafter.commit(draft, committed)
        tally.draft_s.append(drafted - started + time.perf_counter() - known)
        tally.tokens += len(committed)
        tally.drafted += size
        tally.accepted += accepted
        tally.widths[width] += 1
        return len(committed)

    def _size(self, draft: Draft) -> tuple[int, int]:
        """(nodes to verify, width); all of a draft that comes without chances."""
        if not draft.chances:
            return len(draft), len(draft) + 1
        return choose_size(draft.chances, self._prices, draft.parents)


@dataclass(frozen=True, slots=True)
class _Pass:
    """One drafter over all files."""

    drafter: Contestant
    curve: Curve
    memory: Memory


def _equal_pass(name: Contestant, curve: Curve, memory: Memory, plan: ReplayPlan) -> _Pass:
    """The pass whose rounds these are. A drafter that chooses no size drafts the same on every curve; it remembers
    nothing either."""
    return (
        _Pass(name, curve, memory)
        if name in ("adaptive", *ABLATIONS)
        else _Pass(name, plan.curves[0], plan.memories[0])
    )


def _passes(plan: ReplayPlan) -> list[_Pass]:
    every = product(plan.drafters, plan.memories, plan.curves)
    return list(dict.fromkeys(_equal_pass(name, curve, memory, plan) for name, memory, curve in every))


def _play(each: _Pass, files: Sequence[Sequence[Transcript]], max_nodes: int, tick: Callable[[], None]) -> Results:
    """One pass: of each file by a new drafter, which keeps its calibration from conversation to conversation."""
    results: Results = {}
    for transcripts in files:
        memory = ConversationMemory(MEMORY_TOKENS if each.memory == "warm" else 0)
        drafter = make_contestant(each.drafter, max_nodes, whole=each.curve.flat, memory=memory)
        player = Player(drafter, each.curve, max_nodes)
        for number, transcript in enumerate(transcripts):
            tally = player.play(transcript)
            memory.absorb(f"{number}", transcript.token_ids)
            for group in groups_of(transcript):
                results.setdefault(group, Tally()).add(tally)
            tick()
    return results


def groups_of(transcript: Transcript) -> tuple[Group, Group]:
    """The suite as a whole, and the category in it."""
    return (transcript.suite, ALL), (transcript.suite, transcript.category)


def _oracle(files: Sequence[Sequence[Transcript]], max_nodes: int, memory: Memory) -> dict[Group, float | None]:
    """The oracle's tokens per round by group."""
    sums: dict[Group, list[int]] = {}
    for transcripts in files:
        figures = oracle_rounds(transcripts, max_nodes, memory=memory == "warm")
        for transcript, (tokens, rounds) in zip(transcripts, figures, strict=True):
            for group in groups_of(transcript):
                total = sums.setdefault(group, [0, 0])
                total[0] += tokens
                total[1] += rounds
    return {group: ratio(*total) for group, total in sums.items()}


def _rows(
    plan: ReplayPlan, files: Sequence[Sequence[Transcript]], played: Mapping[_Pass, Results]
) -> Iterator[dict[str, Any]]:
    """One row for each suite and category, drafter, curve and memory that was played to its end."""
    conversations = Counter(group for transcripts in files for each in transcripts for group in groups_of(each))
    for memory in plan.memories:
        ceiling = _oracle(files, plan.max_nodes, memory)
        for curve in plan.curves:
            for group in sorted(conversations, key=lambda group: (group[0], group[1] != ALL, group[1])):
                for name in plan.drafters:
                    results = played.get(_equal_pass(name, curve, memory, plan))
                    if results is not None:
                        yield {
                            "suite": group[0],
                            "category": group[1],
                            "drafter": name,
                            "curve": curve.name,
                            "memory": memory,
                            "conversations": conversations[group],
                            **results[group].to_json(curve),
                            "oracle_tokens_per_round": ceiling[group],
                        }


def run(files: Sequence[Sequence[Transcript]], plan: ReplayPlan) -> dict[str, Any]:
    """The whole benchmark as JSON-able data. An interrupt ends it with the passes it has finished."""
    before = machine()
    warm_up()
    passes = _passes(plan)
    played: dict[_Pass, Results] = {}
    total = len(passes) * sum(map(len, files))
    with suppress(KeyboardInterrupt), tqdm(total=total, unit="conversation", disable=None) as bar:
        for each in passes:
            bar.set_postfix_str(f"{each.drafter}, {each.memory}, {each.curve.name}")
            played[each] = _play(each, files, plan.max_nodes, bar.update)
    complete = len(played) == len(passes)
    return {
        "benchmark": "replay",
        "complete": complete,
        "passed": complete,
        "machine": before,
        "plan": plan.to_json(),
        "results": list(_rows(plan, files, played)),
    }
