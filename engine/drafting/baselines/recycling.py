"""Token recycling (Luo et al., arXiv 2408.08696, section 3): yesterday's candidates are today's drafts.

For every token, the target's own eight likeliest tokens behind its last occurrence, wherever that was: in the prompt,
in the answer, or in a draft that came to nothing. The draft is one fixed tree over that matrix, from the last
token on; a path in the tree says which of its parent's candidates stands there. The matrix outlives the
conversation, as the paper's hot start has it; it holds at most eight ids for each token of the vocabulary.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from engine.drafting.drafter import ROOT, Draft, MinChance, NoDrafter

NUM_CANDIDATES = 8  # k, section 4

# How many candidates each node of the tree has, by the ranks that lead to it; none where it is not named. The tree
# of 80 nodes that the authors publish (github.com/Luowaterbi/TokenRecycling), six deep, broad where ranks are low.
_BREADTH: dict[tuple[int, ...], int] = {
    (): 8, (0,): 8, (1,): 4, (2,): 3, (3,): 2, (4,): 1, (5,): 1, (6,): 1, (7,): 1,
    (0, 0): 8, (0, 1): 3, (0, 2): 2, (0, 3): 1, (0, 4): 1, (0, 5): 1, (0, 6): 1, (0, 7): 1,
    (1, 0): 2, (1, 1): 1, (2, 0): 1, (3, 0): 1, (4, 0): 1, (5, 0): 1,
    (0, 0, 0): 5, (0, 0, 1): 2, (0, 0, 2): 1, (0, 0, 3): 1, (0, 0, 4): 1, (0, 1, 0): 1, (0, 2, 0): 1,
    (1, 0, 0): 1, (2, 0, 0): 1, (3, 0, 0): 1,
    (0, 0, 0, 0): 3, (0, 0, 0, 1): 1, (0, 0, 0, 2): 1, (0, 0, 1, 0): 1, (0, 1, 0, 0): 1, (1, 0, 0, 0): 1,
    (0, 0, 0, 0, 0): 2, (0, 0, 0, 1, 0): 1,
}  # fmt: skip


class RecycledLogits:
    """The target's likeliest tokens behind the last occurrence of each token; at most `NUM_CANDIDATES` ids a token.

    >>> recycled = RecycledLogits()
    >>> recycled.update(np.array([[4, 7]], np.int32), np.array([[9, 3]], np.int32))
    >>> recycled.behind(7), recycled.behind(8)
    ([9, 3], ())
    """

    def __init__(self) -> None:
        self._rows: dict[int, list[int]] = {}

    def update(self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32]) -> None:
        """Take up what came out at some nodes, as in `Drafter.recycle`; of one token's, the last counts."""
        self._rows.update(zip(contexts[:, 1].tolist(), top_ids.tolist(), strict=True))

    def behind(self, token_id: int) -> Sequence[int]:
        """Likeliest first; empty where the token was never seen."""
        return self._rows.get(token_id, ())


def tree_paths() -> tuple[tuple[int, ...], ...]:
    """The fixed tree's nodes as paths of ranks, so that the first n are a good tree of n nodes.

    The authors' tree comes in one size. Smaller ones leave out the nodes that the highest ranks lead to.

    >>> len(tree_paths()), tree_paths()[:4]
    (80, ((0,), (0, 0), (1,), (0, 0, 0)))
    """
    paths = [(*above, rank) for above, breadth in _BREADTH.items() for rank in range(breadth)]
    return tuple(sorted(paths, key=lambda path: (sum(path) + len(path), path)))


class TokenRecyclingDrafter(NoDrafter):
    """The fixed tree over the recycled candidates, from the last token on."""

    num_top = NUM_CANDIDATES
    source = "recycling"

    def __init__(self) -> None:
        self._recycled = RecycledLogits()
        self._last_id = 0
        self._paths = tree_paths()

    def begin(self, token_ids: Sequence[int], temperature: float = 0.0) -> None:
        self._last_id = token_ids[-1]

    def draft(self, max_size: int, *, chain: bool = False, min_chance: MinChance | None = None) -> Draft:
        paths = [path for path in self._paths[:max_size] if not (chain and any(path))]
        nodes = dict(self._fill(paths))
        indices = {path: index for index, path in enumerate(nodes)}
        parents = tuple(indices[path[:-1]] if len(path) > 1 else ROOT for path in nodes)
        return Draft(tuple(nodes.values()), parents, (), (self.source,) * len(nodes))

    def _fill(self, paths: Sequence[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], int]]:
        """The paths that have a token, and it; parents first."""
        filled: dict[tuple[int, ...], int] = {(): self._last_id}
        for path in paths:
            above = filled.get(path[:-1])
            candidates = () if above is None else self._recycled.behind(above)
            if path[-1] < len(candidates):
                filled[path] = candidates[path[-1]]
                yield path, filled[path]

    def commit(self, draft: Draft, token_ids: Sequence[int]) -> None:
        self._last_id = token_ids[-1]

    def recycle(
        self, contexts: npt.NDArray[np.int32], top_ids: npt.NDArray[np.int32], top_chances: npt.NDArray[np.float32]
    ) -> None:
        self._recycled.update(contexts, top_ids)
