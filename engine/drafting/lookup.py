"""Looking into what is remembered: where a phrase stands, and what would be drafted behind it. Token ids alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.drafting.conversation_memory import ConversationMemory
from engine.drafting.drafter import NO_PLACE, ROOT, Draft

AROUND = 12  # tokens of a match's surroundings, on either side
MOST_CHAINS = 8
_LONGEST_CHAIN = 8


@dataclass(frozen=True, slots=True)
class Found:
    """A phrase in one conversation; `around`: the latest of its places with what stands there."""

    key: str
    times: int
    around: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """The likeliest continuation that begins with one of the proposed tokens."""

    token_ids: tuple[int, ...]
    chance: float  # of the first
    source: str
    place: int | str


def find_phrase(memory: ConversationMemory, token_ids: Sequence[int]) -> list[Found]:
    """Where these tokens stand, by conversation, the oldest first.

    >>> memory = ConversationMemory(100)
    >>> memory.absorb("a", [1, 2, 3, 1, 2, 4])
    >>> find_phrase(memory, [1, 2])
    [Found(key='a', times=2, around=(1, 2, 3, 1, 2, 4))]
    """
    size = int(memory.history.size[0])
    tokens = memory.history.tokens[:size]
    if not 0 < len(token_ids) <= size:
        return []
    at = np.flatnonzero(tokens[: size - len(token_ids) + 1] == token_ids[0])
    for offset, token_id in enumerate(token_ids):
        at = at[tokens[at + offset] == token_id]
    by_key: dict[str, list[int]] = {}
    for position in at.tolist():
        by_key.setdefault(memory.key_at(position), []).append(position)
    found = []
    for key, positions in by_key.items():
        start, end = memory.span(key)
        first, last = max(start, positions[-1] - AROUND), min(end, positions[-1] + len(token_ids) + AROUND)
        found.append(Found(key, len(positions), tuple(tokens[first:last].tolist())))
    return found


def chains(draft: Draft) -> list[Chain]:
    """What a draft proposes first, each with its likeliest continuation, the likeliest first.

    >>> draft = Draft((5, 6, 7), (-1, 0, -1), (0.9, 0.8, 0.1), ("ngram-3", "ngram-4", "recycled"), (4, 5, -1))
    >>> [(chain.token_ids, chain.chance, chain.place) for chain in chains(draft)]
    [((5, 6), 0.9, 4), ((7,), 0.1, -1)]
    """
    found: list[Chain] = []
    for first, parent in enumerate(draft.parents):
        if parent != ROOT or len(found) == MOST_CHAINS:
            continue
        path, behind = [first], first
        for node in range(first + 1, len(draft)):
            if draft.parents[node] == behind and len(path) < _LONGEST_CHAIN:
                path.append(node)
                behind = node
        place = draft.places[first] if draft.places else NO_PLACE
        chance = draft.chances[first] if draft.chances else 0.0
        found.append(Chain(tuple(draft.token_ids[n] for n in path), chance, draft.sources[first], place))
    return found
