"""Draft trees on tiny random models: whichever branch is right, the answer is plain decoding's to the last bit."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, ModelSpec, Sampling
from engine.drafting.drafter import ROOT, Draft, NoDrafter
from engine.events import Finished, Round
from engine.forward.slots import slots_for

PROMPT = "The quick brown fox jumps over the lazy dog; the quick brown fox sleeps. " * 6
HIGHEST = 250
TOKENS = 110


class Trees(NoDrafter):
    """Knows the plain answer and proposes trees around it: the right path changes branches at random.

    `right`: the chance that a tree goes on along the right path; at 0 nothing right is proposed.
    """

    def __init__(self, answer: Sequence[int], seed: int, *, right: float = 0.9, chances: bool = True) -> None:
        self._answer = list(answer)
        self._random = random.Random(seed)
        self._right, self._chances = right, chances
        self._position = 1
        self.side_paths = 0  # rounds that committed a path with a side branch in it

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        self._position = 1

    def draft(self, max_size: int, *, chain: bool = False, min_chance: object = None) -> Draft:
        size = self._random.randint(0, max_size)
        token_ids: list[int] = []
        parents: list[int] = []
        taken: dict[int, set[int]] = {}
        tip, depth = ROOT, 0  # of the right path
        while len(token_ids) < size:
            on = chain or self._random.random() < 0.5
            parent = tip if on else self._random.randint(ROOT, len(token_ids) - 1)
            position = self._position + depth
            wanted = self._answer[position] if position < len(self._answer) else 7
            is_right = parent == tip and on and self._random.random() < self._right
            token_id = wanted if is_right else self._random.randint(3, HIGHEST)
            if token_id in taken.setdefault(parent, set()) or (not is_right and parent == tip and token_id == wanted):
                if chain:
                    break
                continue
            if chain and token_ids and parent != len(token_ids) - 1:
                break
            taken[parent].add(token_id)
            token_ids.append(token_id)
            parents.append(parent)
            if is_right:
                tip, depth = len(token_ids) - 1, depth + 1
        chances = tuple(0.999 ** (1 + i) for i in range(len(token_ids))) if self._chances else ()
        return Draft(tuple(token_ids), tuple(parents), chances, tuple(f"node-{i}" for i in range(len(token_ids))))

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        node, first = ROOT, True
        for token_id in token_ids:
            below = [i for i, parent in enumerate(draft.parents) if parent == node]
            match = next((i for i in below if draft.token_ids[i] == token_id), None)
            if match is None:
                break
            if match != below[0] and first:
                self.side_paths += 1
                first = False
            node = match
        self._position += len(token_ids)


def load(folder: Path, **options: object) -> InstrumentedEngine:
    engine = InstrumentedEngine()
    for _ in engine.load(ModelSpec(**{"model": str(folder), **options})):
        pass
    engine.draft_every_round()  # a load forgets it
    return engine


def ask(
    engine: InstrumentedEngine, text: str = PROMPT, *, drafter: NoDrafter | None = None, **options: object
) -> Finished:
    options = {"max_tokens": TOKENS, "ignore_eos": True, **options}
    *_, last = engine.generate(GenerationRequest(messages=(Message.of("user", text),), **options), drafter=drafter)
    assert isinstance(last, Finished)
    return last


SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.8, seed=3, top_p=0.95),
    Sampling(temperature=1.0, seed=4, repetition_penalty=1.2),
    Sampling(repetition_penalty=1.3),
)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("llama", "fp32"),
        ("llama", "bf16"),
        ("qwen3", "bf16"),
        ("gemma", "fp32"),
        ("gemma2", "bf16"),
        ("mistral", "fp32"),
    ],
)
def test_trees_give_the_plain_answer(tiny_model: Callable[..., Path], family: str, dtype: str) -> None:
    """Greedy and sampled, over the end of a block of slots, and a second turn on the cache that trees left."""
    engine = load(tiny_model(family), dtype=dtype)
    assert engine.info is not None
    assert engine.info.exact.trees or family == "gemma2"  # softcap: other kernels, which go by other slots
    side_paths = 0
    for number, sampling in enumerate(SAMPLINGS):
        for part, text in enumerate((PROMPT, PROMPT + "And then?")):
            engine.reset_cache()
            plain = ask(engine, text, mode="plain", sampling=sampling)
            length = plain.stats.num_prompt_tokens
            assert part or slots_for(length) < slots_for(length + TOKENS)
            for right in (0.9, 0.0):
                drafter = Trees(plain.token_ids, number, right=right, chances=part == 0)
                engine.reset_cache()
                answer = ask(engine, text, sampling=sampling, drafter=drafter)
                assert answer.token_ids == plain.token_ids
                side_paths += drafter.side_paths
                if right and part == 0:
                    assert answer.stats.tokens_per_round > 1.3
        again = ask(engine, PROMPT + "And then?", sampling=sampling)  # the drafter of every day, on that cache
        assert again.token_ids == plain.token_ids
    assert side_paths > 20 or not engine.info.exact.trees


class Told(Trees):
    """Asks for the likeliest tokens, and keeps what it gets."""

    num_top = 4

    def __init__(self, answer: Sequence[int], seed: int) -> None:
        super().__init__(answer, seed)
        self.rows: list[tuple[list[list[int]], list[list[int]], list[list[float]]]] = []

    def recycle(
        self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32], top_chances: npt.NDArray[np.float32]
    ) -> None:
        assert contexts.dtype == top_ids.dtype == np.int32
        assert top_chances.dtype == np.float32
        assert contexts.shape == (len(top_ids), 2)
        assert top_ids.shape == top_chances.shape == (len(contexts), 4)
        self.rows.append((contexts.tolist(), top_ids.tolist(), top_chances.tolist()))


def test_a_drafter_learns_the_likeliest_tokens_of_every_node(tiny_model: Callable[..., Path]) -> None:
    engine = load(tiny_model("llama"), dtype="fp32")
    plain = ask(engine, mode="plain")
    for exactness in ("exact", "fast"):
        engine.reset_cache()
        drafter = Told(plain.token_ids, 1)
        request = GenerationRequest(
            messages=(Message.of("user", PROMPT),), max_tokens=TOKENS, ignore_eos=True, exactness=exactness
        )
        *events, last = engine.generate(request, drafter=drafter)
        assert isinstance(last, Finished)
        rounds = [event for event in events if isinstance(event, Round)]
        prefilled, verified = drafter.rows[: -len(rounds)], drafter.rows[-len(rounds) :]
        assert 1 <= sum(len(contexts) for contexts, _, _ in prefilled) < last.stats.num_prompt_tokens
        assert prefilled[-1][1][-1][0] == last.token_ids[0]  # greedy: the likeliest behind the prompt
        assert [len(contexts) for contexts, _, _ in verified] == [event.draft_size + 1 for event in rounds]
        assert any(event.draft_size > event.accepted > 0 for event in rounds)
        position = 1  # of the next round's first token in the answer
        for event, (contexts, top_ids, chances) in zip(rounds, verified, strict=True):
            assert contexts[0][1] == last.token_ids[position - 1]
            if position > 1:
                assert contexts[0][0] == last.token_ids[position - 2]
            path = [last.token_ids[position - 1], *event.token_ids]
            for context, following in zip(pairwise(path), path[2:], strict=False):
                behind = [top[0] for known, top in zip(contexts, top_ids, strict=True) if tuple(known) == context]
                assert following in behind
            assert all(row == sorted(row, reverse=True) and 0 < sum(row) <= 1 for row in chances)
            position += len(event.token_ids)


def test_the_first_sources_of_a_round_are_those_of_what_was_accepted(tiny_model: Callable[..., Path]) -> None:
    engine = load(tiny_model("llama"), dtype="fp32")
    plain = ask(engine, mode="plain")

    class Named(Trees):
        def draft(self, max_size: int, *, chain: bool = False, min_chance: object = None) -> Draft:
            draft = super().draft(max_size, chain=chain)
            return replace(draft, sources=tuple(str(token_id) for token_id in draft.token_ids))

    request = GenerationRequest(messages=(Message.of("user", PROMPT),), max_tokens=TOKENS, ignore_eos=True)
    rounds = [
        event for event in engine.generate(request, drafter=Named(plain.token_ids, 2)) if isinstance(event, Round)
    ]
    assert sum(event.accepted for event in rounds) > 10
    for event in rounds:
        assert len(event.sources) == event.draft_size
        assert event.sources[: event.accepted] == tuple(str(i) for i in event.token_ids[: event.accepted])
