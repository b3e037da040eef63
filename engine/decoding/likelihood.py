"""How likely the target found the tokens that it picked. Reads logits, and has no part in picking."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Scored:
    """A picked token's logprob, and the likeliest tokens in its place with theirs, most likely first."""

    token_id: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


def scored(logits: torch.Tensor, token_ids: Sequence[int], num_likeliest: int) -> tuple[Scored, ...]:
    """Score the token that was picked from each row of `logits` (tokens, vocab). Synchronises with the device.

    >>> (only,) = scored(torch.tensor([[0.0, 1.0, 1.0]]).log(), [2], 1)
    >>> only.token_id, round(only.logprob, 3), [token_id in (1, 2) for token_id, _ in only.likeliest]
    (2, -0.693, [True])
    """
    scores = torch.log_softmax(logits.float(), dim=-1)
    picked = torch.tensor(list(token_ids), device=scores.device)[:, None]
    logprobs = scores.gather(-1, picked)[:, 0].tolist()
    top = torch.topk(scores, min(num_likeliest, scores.shape[-1]), dim=-1)
    tops = [tuple(zip(*row, strict=True)) for row in zip(top.indices.tolist(), top.values.tolist(), strict=True)]
    return tuple(Scored(*each) for each in zip(token_ids, logprobs, tops, strict=True))
