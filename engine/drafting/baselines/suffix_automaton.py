"""A suffix automaton that grows with its text (Blumer et al. 1985): every stretch of the text is a path from its root.

It answers two questions in time that does not grow with the text: how long an ending of the text has occurred
before, and where; and how far other tokens can be followed through the text.
"""

from collections.abc import Iterable, Sequence

_ROOT = 0
_NONE = -1


class SuffixAutomaton:
    """All stretches of `token_ids`. Adding a token is O(1) amortised; at most two states a token.

    >>> automaton = SuffixAutomaton()
    >>> automaton.extend([1, 2, 3, 9, 1, 2, 3])
    >>> automaton.longest_repeat()  # "1 2 3" has been there before, and was over at position 3
    (3, 3)
    >>> automaton.longest_prefix([2, 3, 9, 9], start=0)
    3
    """

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self._next: list[dict[int, int]] = [{}]  # by state: token -> state
        self._link = [_NONE]  # the state of the longest ending that occurs in more positions
        self._length = [0]  # of the state's longest stretch
        self._end = [0]  # where its first occurrence is over
        self._last = _ROOT

    def extend(self, token_ids: Iterable[int]) -> None:
        for token_id in token_ids:
            self._append(token_id)

    def longest_repeat(self) -> tuple[int, int]:
        """(length, end) of the longest ending of the text that also occurs earlier, `end` of its first occurrence."""
        state = self._link[self._last]
        return (0, 0) if state == _NONE else (self._length[state], self._end[state])

    def longest_prefix(self, token_ids: Sequence[int], start: int, limit: int | None = None) -> int:
        """How many of `token_ids[start:]`, `limit` at most, stand somewhere in the text in a row."""
        state, position = _ROOT, start
        end = len(token_ids) if limit is None else min(len(token_ids), start + limit)
        while position < end:
            following = self._next[state].get(token_ids[position])
            if following is None:
                break
            state = following
            position += 1
        return position - start

    def _append(self, token_id: int) -> None:
        self.token_ids.append(token_id)
        new = self._state({}, len(self.token_ids), len(self.token_ids))
        state = self._last
        while state != _NONE and token_id not in self._next[state]:
            self._next[state][token_id] = new
            state = self._link[state]
        if state == _NONE:
            self._link[new] = _ROOT
        else:
            self._link[new] = self._shortened(self._next[state][token_id], state, token_id)
        self._last = new

    def _shortened(self, state: int, before: int, token_id: int) -> int:
        """The state of the stretch of `before` and this token; split off `state` where that stands for longer ones."""
        length = self._length[before] + 1
        if self._length[state] == length:
            return state
        clone = self._state(dict(self._next[state]), length, self._end[state])
        self._link[clone] = self._link[state]
        self._link[state] = clone
        while before != _NONE and self._next[before].get(token_id) == state:
            self._next[before][token_id] = clone
            before = self._link[before]
        return clone

    def _state(self, following: dict[int, int], length: int, end: int) -> int:
        self._next.append(following)
        self._link.append(_NONE)
        self._length.append(length)
        self._end.append(end)
        return len(self._next) - 1
