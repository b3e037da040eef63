"""Pack encoded documents into rows, and draw a phase's batches from the three sources.

A row holds whole documents one after another, as a long chat would. Knows nothing of models.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from conversations import USER_WEIGHT, ConversationSource, encode
from copying import CopyCurriculum
from tasks import make_task
from tokenizers import Tokenizer

Document = tuple[list[int], list[float]]
DEPARTURE_WEIGHT = 4.0
CHAT_WEIGHT = 0.3  # what cannot be foreseen must not drown what can
BUFFER = 24  # documents from which the next that fits is chosen


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of the schedule.

    The shares are of rows; what copying and tasks leave is conversation. `max_size` bounds a task's sentences,
    items or lines.
    One batch in `long_every` has rows four times as long, a quarter as many, and tasks up to three times as large.
    """

    name: str
    num_tokens: int
    seq_len: int
    num_rows: int
    copy_share: float
    task_share: float
    max_size: int
    long_every: int = 0


def pack(draw: Callable[[], Document], num_rows: int, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and weights, both (num_rows, seq_len + 1), filled with whole documents and then padding.

    A document longer than a row is cut at the row's end, and gives its first part.
    """
    ids = np.zeros((num_rows, seq_len + 1), dtype=np.int64)
    weights = np.zeros((num_rows, seq_len + 1), dtype=np.float32)
    buffer = [draw() for _ in range(BUFFER)]
    for row in range(num_rows):
        position = 0
        while True:
            room = seq_len + 1 - position
            chosen = next((i for i, document in enumerate(buffer) if len(document[0]) <= room), None)
            if chosen is None and position:
                break
            document_ids, document_weights = buffer[chosen or 0]
            buffer[chosen or 0] = draw()
            stop = position + min(room, len(document_ids))
            ids[row, position:stop] = document_ids[: stop - position]
            weights[row, position:stop] = document_weights[: stop - position]
            position = stop
            if position > seq_len:
                break
    return ids, weights


def stress_departures(ids: list[int], weights: list[float]) -> list[float]:
    """Return the weights, raised where an answer departs from copying what was said before.

    Most tokens of a task follow from the copy circuit alone; what is changed, and where, is in the few pairs of
    tokens that stood nowhere before.

    >>> stress_departures([5, 6, 7, 5, 6, 8], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    [0.0, 0.0, 0.0, 4.0, 1.0, 4.0]
    """
    seen: set[tuple[int, int]] = set()
    stressed = list(weights)
    for position, pair in enumerate(itertools.pairwise(ids), 1):
        if weights[position] and pair not in seen:
            stressed[position] = weights[position] * DEPARTURE_WEIGHT
        seen.add(pair)
    return stressed


@dataclass(slots=True)
class Batches:
    """Draws batches; the sources are given, the randomness comes with each call."""

    curriculum: CopyCurriculum
    tokenizer: Tokenizer | None = None
    conversations: ConversationSource | None = None
    sentences: tuple[str, ...] = ()

    def draw(self, phase: Phase, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        """Return ids and weights (num_rows, seq_len + 1), and how many of the first rows are copying."""
        num_rows, seq_len, max_size = phase.num_rows, phase.seq_len, phase.max_size
        if phase.long_every and rng.integers(phase.long_every) == 0:
            num_rows, seq_len, max_size = max(1, num_rows // 4), seq_len * 4, max_size * 3
        counts = rng.multinomial(
            num_rows, [phase.copy_share, phase.task_share, 1 - phase.copy_share - phase.task_share]
        )
        text_rng = random.Random(int(rng.integers(2**62)))
        parts = [self.curriculum.rows(rng, int(counts[0]), seq_len)]
        if counts[1]:
            parts.append(pack(lambda: self.task(text_rng, max_size), int(counts[1]), seq_len))
        if counts[2]:
            parts.append(pack(lambda: self.conversation(text_rng), int(counts[2]), seq_len))
        ids, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return ids, weights, int(counts[0])

    def task(self, rng: random.Random, max_size: int) -> Document:
        """Return one encoded task; small ones are the more frequent."""
        size = 1 + int(max_size * rng.random() ** 1.5)
        task = make_task(rng, size=size, sentences=self.sentences)
        ids, weights = encode(self.tokenizer, task.messages, 0.0)
        return ids, stress_departures(ids, weights)

    def conversation(self, rng: random.Random) -> Document:
        """Return one encoded conversation."""
        messages, is_about = self.conversations.draw(rng)
        ids, weights = encode(self.tokenizer, messages, USER_WEIGHT)
        return ids, weights if is_about else [CHAT_WEIGHT * weight for weight in weights]
