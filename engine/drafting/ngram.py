"""The adaptive multi-level N-gram module (ANPD, arXiv 2404.08698, section 3.2).

For every context of 1 to `levels` tokens it counts which token followed. It is built from the prompt and updated
with every committed token; a lookup takes the highest level that has seen the present context and answers its most
frequent successor, the most recent of equals. It knows token ids alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Successor:
    """The answer to one lookup: `count` of `total` times `token_id` followed the context of `level` tokens."""

    token_id: int
    level: int
    count: int
    total: int


class _Followers:
    """What followed one context. `counts` is made only once a second, different token follows."""

    __slots__ = ("best", "best_count", "counts", "total")

    def __init__(self, token_id: int) -> None:
        self.best = token_id
        self.best_count = 1
        self.total = 1
        self.counts: dict[int, int] | None = None

    def add(self, token_id: int) -> None:
        self.total += 1
        if self.counts is None:
            if token_id == self.best:
                self.best_count += 1
                return
            self.counts = {self.best: self.best_count}
        count = self.counts.get(token_id, 0) + 1
        self.counts[token_id] = count
        if count >= self.best_count:  # of equals the most recent
            self.best, self.best_count = token_id, count


class NgramIndex:
    """Successor counts for contexts of 1 to `levels` tokens. Time per added token and per lookup: O(levels).

    >>> index = NgramIndex(levels=3)
    >>> index.extend([5, 6, 7, 5, 6, 8, 5, 6])
    >>> index.successor([9, 5, 6])  # "5 6" was followed by 7 and by 8; 8 is the more recent
    Successor(token_id=8, level=2, count=1, total=2)
    >>> index.successor([7, 5, 6])
    Successor(token_id=8, level=3, count=1, total=1)
    >>> index.successor([1]) is None
    True
    """

    def __init__(self, levels: int) -> None:
        if levels < 1:
            raise ValueError(f"An N-gram index needs at least one level; got {levels}.")
        self.levels = levels
        self.token_ids: list[int] = []
        self._contexts: dict[tuple[int, ...], _Followers] = {}

    def clear(self) -> None:
        self.token_ids.clear()
        self._contexts.clear()

    def extend(self, token_ids: Iterable[int]) -> None:
        """Append committed tokens."""
        history, contexts = self.token_ids, self._contexts
        for token_id in token_ids:
            context = tuple(history[-self.levels :])
            for start in range(len(context)):
                key = context[start:]
                followers = contexts.get(key)
                if followers is None:
                    contexts[key] = _Followers(token_id)
                else:
                    followers.add(token_id)
            history.append(token_id)

    def successor(self, context: Sequence[int]) -> Successor | None:
        """What most often followed the longest known end of `context`; None where not even its last token is known.

        A context that was never seen cannot begin a longer one that was, so the search goes up from level 1.
        """
        found: _Followers | None = None
        level = 0
        for length in range(1, min(self.levels, len(context)) + 1):
            followers = self._contexts.get(tuple(context[-length:]))
            if followers is None:
                break
            found, level = followers, length
        if found is None:
            return None
        return Successor(found.best, level, found.best_count, found.total)
