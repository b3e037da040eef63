"""What the target thought likely behind tokens that it has read, for drafters that ask for it (`Drafter.recycle`).

Every verified node of a round is told; of a prompt only as many rows as cost little, for the head's product over all
of them may take longer than the rest of the prefill. The product is taken chunk by chunk, so rows x vocabulary is
never kept. Source of the idea: token recycling (Luo et al., arXiv 2408.08696).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from engine.forward.cpu import row_operations

USUAL_TOP = 8  # tokens a row, for timing; their number hardly matters for it


@dataclass(frozen=True, slots=True)
class TopTokens:
    """The likeliest tokens behind some others, as `Drafter.recycle` takes them."""

    contexts: npt.NDArray[np.int32]
    top_ids: npt.NDArray[np.int32]
    top_chances: npt.NDArray[np.float32]


def read_top_tokens(logits: torch.Tensor, above: Sequence[int], token_ids: Sequence[int], num_top: int) -> TopTokens:
    """The likeliest tokens of these rows of logits (rows, vocab), which follow `token_ids`; those follow `above`.

    Probabilities are the target's own, before any row_operations. Synchronises with the device once.
    """
    top_ids, top_chances = most_likely(logits, num_top)
    contexts = np.empty((len(token_ids), 2), np.int32)
    contexts[:, 0], contexts[:, 1] = above, token_ids
    return TopTokens(contexts, top_ids, top_chances)


def most_likely(logits: torch.Tensor, num_top: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The likeliest tokens of each row and their probabilities to 4 %, (rows, num_top), likeliest first."""
    if row_operations.applies(logits.dtype, logits.device):
        return row_operations.most_likely(logits, num_top)
    with torch.inference_mode():
        scores = logits.float()
        top = torch.topk(scores, num_top)
        chances = torch.exp(top.values - torch.logsumexp(scores, -1, keepdim=True))
        packed = torch.cat([top.indices.int(), chances.view(torch.int32)], -1).cpu().numpy()  # one copy
    return packed[:, :num_top], packed[:, num_top:].view(np.float32)


def rows_to_read(chunk_ids: Sequence[int], most: int) -> list[int]:
    """Which rows of a prefill chunk to learn from, ascending: at most `most`, the last one always among them.

    The latest ones, each token once: a drafter looks for the last occurrence.

    >>> rows_to_read([5, 6, 7, 6, 5, 5], 2)
    [3, 5]
    """
    last = {token_id: row for row, token_id in enumerate(chunk_ids)}
    return sorted(last.values())[-most:]


def read_chunk(
    logits: torch.Tensor, token_ids: Sequence[int], start: int, rows: Sequence[int], num_top: int
) -> TopTokens:
    """What `logits` (len(rows), vocab) say behind these rows of the chunk that starts at token `start`."""
    positions = [start + row for row in rows]
    above = [token_ids[position - 1] if position else -1 for position in positions]
    return read_top_tokens(logits, above, [token_ids[position] for position in positions], num_top)
