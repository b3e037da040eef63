"""The draft vocabulary: which tokens can be drafted, and their numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from engine.training.answers import Answer
from engine.training.examples import NO_TOKEN, Examples, part_of

_SIZES = (4096, 8192, 16384)
_COVERED = 0.98  # of the answers' tokens


def draft_vocabulary(answers: Sequence[Answer], vocab_size: int) -> torch.Tensor:
    """The ids of tokens that can be drafted, ascending: the most frequent ones in the answers, then the lowest.

    As few as cover most of what was said.
    """
    counts = np.zeros(vocab_size, np.int64)
    for answer in answers:
        if part_of(answer.number) == "train":
            np.add.at(counts, np.array(answer.answer_ids, np.int64), 1)
    order = np.argsort(-counts, kind="stable")
    covered = np.cumsum(counts[order]) / max(1, counts.sum())
    size = next((each for each in _SIZES if covered[min(each, vocab_size) - 1] >= _COVERED), _SIZES[-1])
    return torch.from_numpy(np.sort(order[: min(size, vocab_size)]))


def numbers_of(examples: Examples, draft_ids: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """The examples' tokens as numbers in the draft vocabulary; its size for others, NO_TOKEN where there is none."""
    table = _number_table(draft_ids, vocab_size)
    return torch.from_numpy(np.where(examples.tokens == NO_TOKEN, NO_TOKEN, table[examples.tokens]))


def as_numbers(texts: Sequence[Sequence[int]], draft_ids: torch.Tensor, vocab_size: int) -> list[list[int]]:
    """Token ids as numbers in the draft vocabulary."""
    table = _number_table(draft_ids, vocab_size)
    return [table[np.array(token_ids, np.int64)].tolist() for token_ids in texts]


def _number_table(draft_ids: torch.Tensor, vocab_size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    table = np.full(vocab_size, len(draft_ids), np.int64)
    table[draft_ids.numpy()] = np.arange(len(draft_ids))
    return table
