"""Notices, from token ids alone, an answer that goes in circles: one word, one line or one paragraph again and again.

A token is *worn* where it stands in an N-gram that the answer had `EARLIER` times before: so one repetition, such as a
refrain or a function and its corrected copy, wears nothing. A worn token raises the score by 1, any other lowers it by
`FRESH` down to 0. Where the score reaches `ALARM`, the answer goes in circles since the score left 0; where it falls
back to 0, it no longer does. This is a one-sided CUSUM test (Page 1954): steps of constant time, no window.

The limits are chosen on one half of 609 answers of real models and tried on the other: see BENCHMARKS.md.
"""

from collections import deque
from collections.abc import Iterable

from engine.metrics import Loop

N = 6
EARLIER = 2
FRESH = 2
ALARM = 128
TOP = 2 * ALARM  # the score grows no further, so that an answer that has left its loop is soon free of it


class LoopDetector:
    """Takes an answer's tokens as they come; `loop` says whether it goes in circles now.

    >>> detector = LoopDetector()
    >>> detector.extend([1, 2, 3])
    >>> detector.extend([7, 8, 9, 8] * 40)
    >>> detector.loop
    Loop(start=7, period=4)
    >>> detector.extend(range(100, 200))
    >>> print(detector.loop)
    None
    """

    def __init__(self) -> None:
        self._num_tokens = 0
        self._last = deque[int](maxlen=N)
        self._seen: dict[tuple[int, ...], tuple[int, int]] = {}  # N-gram: how often, where it last ended
        self._worn_to = 0  # tokens before this one are worn, or are counted as fresh
        self._score = 0
        self._since = Loop(start=0, period=1)  # holds while the score is above 0
        self.loop: Loop | None = None

    def extend(self, token_ids: Iterable[int]) -> None:
        """Take the answer's next tokens."""
        for token_id in token_ids:
            self._push(token_id)

    def _push(self, token_id: int) -> None:
        self._last.append(token_id)
        self._num_tokens += 1
        if self._num_tokens < N:
            return
        end, gram = self._num_tokens, tuple(self._last)
        times, last_end = self._seen.get(gram, (0, 0))
        self._seen[gram] = times + 1, end
        if times >= EARLIER:
            self._wear(max(self._worn_to, end - N), end, end - last_end)
        elif self._worn_to <= end - N:  # no later N-gram can wear the token that stands N back
            self._score = max(0, self._score - FRESH)
            if not self._score:
                self.loop = None

    def _wear(self, begin: int, end: int, period: int) -> None:
        if not self._score:
            self._since = Loop(start=max(0, begin - period), period=period)
        self._score = min(TOP, self._score + end - begin)
        self._worn_to = end
        if self._score >= ALARM and self.loop is None:
            self.loop = self._since
