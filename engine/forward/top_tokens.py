"""The target's most likely tokens behind tokens that it has read, for drafters that ask for them (`Drafter.num_top`).

A drafter learns those of every verified node of a round. Of a prompt it learns as many rows as cost little, since the
head's product over all rows may take longer than the rest of the prefill. The product is taken chunk by chunk, so
rows x vocabulary is never kept. Source of the idea: token recycling (Luo et al., arXiv 2408.08696).
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
    """The most likely tokens behind some others, in the form that a drafter takes them."""

    contexts: npt.NDArray[np.int32]
    top_ids: npt.NDArray[np.int32]
    top_chances: npt.NDArray[np.float32]


def read_top_tokens(logits: torch.Tensor, above: Sequence[int], token_ids: Sequence[int], num_top: int) -> TopTokens:
    """Read the most likely tokens from the logits (rows, vocab) behind `token_ids`, which follow the tokens `above`.

    Probabilities are the target's own, before temperature and penalties. Synchronises with the device once.
    """
    top_ids, top_chances = most_likely(logits, num_top)
    contexts = np.empty((len(token_ids), 2), np.int32)
    contexts[:, 0], contexts[:, 1] = above, token_ids
    return TopTokens(contexts, top_ids, top_chances)


def most_likely(logits: torch.Tensor, num_top: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return each row's most likely tokens and their probabilities to 4 %, (rows, num_top), in descending order."""
    if row_operations.applies(logits.dtype, logits.device):
        return row_operations.most_likely(logits, num_top)
    with torch.inference_mode():
        scores = logits.float()
        top = torch.topk(scores, num_top)
        chances = torch.exp(top.values - torch.logsumexp(scores, -1, keepdim=True))
        packed = torch.cat([top.indices.int(), chances.view(torch.int32)], -1).cpu().numpy()  # one copy
    return packed[:, :num_top], packed[:, num_top:].view(np.float32)


def rows_to_read(chunk_ids: Sequence[int], most: int) -> list[int]:
    """Return the rows of a prefill chunk to learn from, ascending: at most `most`, always with the last one.

    They are the latest ones, and each token's last one: a drafter searches for the last occurrence.

    >>> rows_to_read([5, 6, 7, 6, 5, 5], 2)
    [3, 5]
    """
    last = {token_id: row for row, token_id in enumerate(chunk_ids)}
    return sorted(last.values())[-most:]


def read_chunk(
    logits: torch.Tensor, token_ids: Sequence[int], start: int, rows: Sequence[int], num_top: int
) -> TopTokens:
    """Read the most likely tokens behind these rows of the chunk that starts at token `start` from their `logits`
    (len(rows), vocab)."""
    positions = [start + row for row in rows]
    above = [token_ids[position - 1] if position else -1 for position in positions]
    return read_top_tokens(logits, above, [token_ids[position] for position in positions], num_top)
