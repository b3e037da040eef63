"""A merged tree of fixed size, after RACER (arXiv 2604.14885, section 3): retrieved n-grams and recycled logits.

A trie of the conversation's n-grams counts how often each occurred. Every ending of the text of two tokens or more
stands at a state of it (where the paper's automaton would get by its failure links); what grows below these states,
most frequent first, is the retrieval tree. Whatever room it leaves goes to the logits tree: the target's likeliest
tokens behind the last occurrence of a token, with a breadth that halves from sibling to sibling and from parent to
child. The union is the draft, of one size whatever it costs.

Two things are otherwise: the trie holds one conversation, so no node of it need be evicted; and the verification is
the one of every other drafter here (the paper's sampling draws per path, which is not lossless).
"""

import heapq
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from engine.drafting.baselines.conversation import ConversationDrafter
from engine.drafting.baselines.recycling import NUM_CANDIDATES, RecycledLogits
from engine.drafting.drafter import ROOT, Draft, MinChance

NGRAM = 10  # tokens of the longest path in the trie
SHORTEST_MATCH = 2
CAPACITY = 64  # nodes of the draft
_TRIE_ROOT = 0


class NgramTrie:
    """All n-grams of a text up to a length, with counts, and the states of the text's own endings.

    >>> trie = NgramTrie(3)
    >>> for token_id in [1, 2, 3, 1, 2]: trie.append(token_id)
    >>> [trie.children(state) for state in trie.endings(2)]  # "1 2" was followed by 3 once, "3 1 2" by nothing
    [[(1, 3, 6)], []]
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._children: list[dict[int, int]] = [{}]
        self._counts = [0]
        self._endings: list[int] = []  # the state of the ending of one token, of two, ...

    def append(self, token_id: int) -> None:
        """Add the next token; O(longest)."""
        above = (_TRIE_ROOT, *self._endings[: self._longest - 1])
        self._endings = [self._child(state, token_id) for state in above]

    def endings(self, shortest: int) -> Sequence[int]:
        """The states of the text's endings of `shortest` tokens and more, the shortest first."""
        return self._endings[shortest - 1 :]

    def children(self, state: int) -> list[tuple[int, int, int]]:
        """(count, token, state) of what followed."""
        return [(self._counts[child], token_id, child) for token_id, child in self._children[state].items()]

    def _child(self, state: int, token_id: int) -> int:
        child = self._children[state].get(token_id)
        if child is None:
            child = self._children[state][token_id] = len(self._children)
            self._children.append({})
            self._counts.append(0)
        self._counts[child] += 1
        return child


class _Tree:
    """A draft in the making: paths are united, so that no parent has two children of one token."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node

    @property
    def room(self) -> int:
        return self._capacity - len(self._nodes)

    def add(self, parent: int, token_id: int) -> int | None:
        """The node, made where it was not there yet; None where there is no room for it."""
        node = self._nodes.get((parent, token_id))
        if node is None and self.room > 0:
            node = self._nodes[parent, token_id] = len(self._nodes)
        return node

    def draft(self, source: str) -> Draft:
        parents, token_ids = zip(*self._nodes, strict=True) if self._nodes else ((), ())
        return Draft(token_ids, parents, (), (source,) * len(token_ids))


class RacerDrafter(ConversationDrafter):
    """N-grams first, recycled logits in what room they leave."""

    num_top = NUM_CANDIDATES
    source = "racer"

    def __init__(self) -> None:
        super().__init__()
        self._trie = NgramTrie(NGRAM)
        self._recycled = RecycledLogits()

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        tree = _Tree(min(max_size, CAPACITY))
        self._retrieve(tree, 1 if chain else CAPACITY)
        if not chain or tree.room == min(max_size, CAPACITY):
            self._predict(tree, 1 if chain else NUM_CANDIDATES)
        return tree.draft(self.source)

    def _retrieve(self, tree: _Tree, breadth: int) -> None:
        """What followed the text's endings, the most frequent first; of equals what is nearest, then the longest match.

        A continuation is never more frequent than what stands above it, so a heap meets them in order.
        """
        order = 0
        heap: list[tuple[int, int, int, int, int, int]] = []  # (-count, depth, order, parent, token, state)

        def push(state: int, depth: int, parent: int) -> None:
            nonlocal order
            followers = sorted(self._trie.children(state), key=lambda follower: -follower[0])
            for count, token_id, child in followers[:breadth]:
                order += 1
                heapq.heappush(heap, (-count, depth, order, parent, token_id, child))

        endings = [state for state in self._trie.endings(SHORTEST_MATCH)[::-1] if self._trie.children(state)]
        for state in endings[:breadth]:
            push(state, 0, ROOT)
        while heap and tree.room > 0:
            _, depth, _, parent, token_id, state = heapq.heappop(heap)
            node = tree.add(parent, token_id)
            if node is not None:
                push(state, depth + 1, node)

    def _predict(self, tree: _Tree, breadth: int) -> None:
        """The logits tree (section 3.1, algorithm 1), breadth first."""
        queue = [(ROOT, self._token_ids[-1], breadth, breadth)]
        for parent, token_id, width, first in queue:
            for child_id, child_width in zip(self._recycled.behind(token_id)[:width], _halving(first), strict=False):
                node = tree.add(parent, child_id)
                if node is None:
                    return
                queue.append((node, child_id, child_width, child_width // 2))

    def recycle(
        self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32], top_chances: npt.NDArray[np.float32]
    ) -> None:
        self._recycled.update(contexts, top_ids)

    def _forget(self) -> None:
        self._trie = NgramTrie(NGRAM)

    def _learn(self, token_id: int) -> None:
        self._trie.append(token_id)


def _halving(breadth: int) -> Iterator[int]:
    """The breadths of one parent's children: halved from sibling to sibling, never under one."""
    while True:
        yield max(1, breadth)
        breadth //= 2
