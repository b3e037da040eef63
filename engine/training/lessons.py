"""What each part of a pack learns from, and the loss over some of it.

Heads and the rescoring model learn from single examples, Chimera from whole answers: it reads what came before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from engine.trained.block_heads import BlockHeads
from engine.trained.chimera import Chimera, unrolled
from engine.trained.rescorer import TOKENS, Rescorer
from engine.training.examples import NO_TOKEN
from engine.training.plan import EXAMPLES

_DECAY = 0.8  # of a position's weight to the one before it
_ALONE = 0.5  # weight of the loss without the Markov term
_STATES = 0.2  # weight of the distance of Chimera's states from the true ones, as a share of these
_OUTSIDE = -100  # what cross_entropy leaves out


class Lesson(Protocol):
    """Something to learn from, in `count` pieces, so many of them in a step."""

    @property
    def count(self) -> int: ...

    @property
    def per_step(self) -> int: ...

    def loss(self, chosen: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
        """The loss over the pieces of these numbers."""


@dataclass(frozen=True, slots=True)
class HeadLesson:
    """`numbers` (examples, 1 + heads): tokens in the draft vocabulary, its size for those that are not in it, NO_TOKEN
    beyond an answer's end. `rows` (examples,): where their states stand."""

    heads: BlockHeads
    states: torch.Tensor  # (rows, hidden)
    rows: npt.NDArray[np.int64]
    numbers: torch.Tensor
    examples: npt.NDArray[np.int64]  # to learn from
    per_step: int = EXAMPLES

    @property
    def count(self) -> int:
        return len(self.examples)

    def loss(self, chosen: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
        examples = self.examples[chosen]
        states = self.states[torch.from_numpy(self.rows[examples])].to(device, torch.float32)
        return loss_of(self.heads, states, self.numbers[torch.from_numpy(examples)].to(device))


def loss_of(heads: BlockHeads, states: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of what came, of head j (from 0) by 0.8^j: with the Markov term of the token that stood before,
    as the tree scores a path, and by half without it, so that the lattice holds likely tokens by itself."""
    last, following = numbers[:, 0], numbers[:, 1:]
    outside = (following == NO_TOKEN) | (following == heads.sizes.draft_vocab)
    wanted = following.masked_fill(outside, _OUTSIDE)
    before = torch.cat((last[:, None], following[:, :-1]), 1)
    before = before.masked_fill(before == NO_TOKEN, heads.sizes.draft_vocab)
    scores = heads(states, last)
    refined = scores + heads.markov(before)
    total: torch.Tensor = scores.new_zeros(())
    for head in range(heads.sizes.num_heads):
        if bool((wanted[:, head] != _OUTSIDE).any()):
            loss = F.cross_entropy(refined[:, head], wanted[:, head], ignore_index=_OUTSIDE)
            alone = F.cross_entropy(scores[:, head], wanted[:, head], ignore_index=_OUTSIDE)
            total = total + _DECAY**head * (loss + _ALONE * alone)
    return total


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt's end and its answer as `numbers` (tokens,) in the draft vocabulary. The state behind the token at i
    stands in row `start + i`, for all but the last; the answer begins at `first`."""

    start: int
    first: int
    numbers: torch.Tensor


@dataclass(frozen=True, slots=True)
class ChimeraLesson:
    chimera: Chimera
    states: torch.Tensor  # (rows, hidden)
    texts: Sequence[Text]
    per_step: int

    @property
    def count(self) -> int:
        return len(self.texts)

    def loss(self, chosen: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
        texts = [self.texts[int(number)] for number in chosen]
        losses = [text_loss(self.chimera, self.states, text, device) for text in texts]
        weights = [len(text.numbers) - 1 - text.first for text in texts]
        total = sum(loss * weight for loss, weight in zip(losses, weights, strict=True))
        assert isinstance(total, torch.Tensor)
        return total / sum(weights)


def text_loss(chimera: Chimera, states: torch.Tensor, text: Text, device: torch.device) -> torch.Tensor:
    """Along the true tokens: the cross-entropy of what came, and the distance from the true state, at each depth."""
    count, first = len(text.numbers), text.first
    true = states[text.start : text.start + count - 1].to(device, torch.float32)
    numbers = text.numbers.to(device)
    depth = min(chimera.sizes.depth, count - 1 - first)
    total: torch.Tensor = true.new_zeros(())
    steps = unrolled(chimera, true, numbers, first - 1, depth)
    for step, (following, scores) in enumerate(steps):
        rows = count - 1 - first - step  # behind the others the answer is over
        wanted = numbers[first + step + 1 :]
        wanted = wanted.masked_fill(wanted == chimera.sizes.draft_vocab, _OUTSIDE)
        if bool((wanted != _OUTSIDE).any()):
            total = total + _DECAY**step * F.cross_entropy(scores[:rows], wanted, ignore_index=_OUTSIDE)
        aim = true[first + step :]
        distance = (following[: len(aim)] - aim).square().mean() / aim.square().mean()
        total = total + _STATES * _DECAY**step * distance
    return total


@dataclass(frozen=True, slots=True)
class RescorerLesson:
    """`before` (examples, TOKENS) and `wanted` (examples,) as numbers; in `wanted` the draft vocabulary's size counts
    for nothing."""

    rescorer: Rescorer
    before: torch.Tensor
    wanted: torch.Tensor
    per_step: int = EXAMPLES

    @property
    def count(self) -> int:
        return len(self.wanted)

    def loss(self, chosen: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
        rows = torch.from_numpy(chosen)
        wanted = self.wanted[rows].to(device)
        wanted = wanted.masked_fill(wanted == self.rescorer.sizes.draft_vocab, _OUTSIDE)
        scores = self.rescorer(self.before[rows].to(device))
        return F.cross_entropy(scores, wanted, ignore_index=_OUTSIDE, reduction="sum") / max(1, len(chosen))


def rescorer_lesson(rescorer: Rescorer, answers: Sequence[Sequence[int]]) -> RescorerLesson:
    """Every token of some answers, as numbers, behind the three before it."""
    outside = rescorer.sizes.draft_vocab
    windows: list[Any] = [
        np.lib.stride_tricks.sliding_window_view(np.array([*[outside] * TOKENS, *answer]), TOKENS + 1)
        for answer in answers
        if len(answer)
    ]
    rows = torch.from_numpy(np.concatenate(windows).astype(np.int64))
    return RescorerLesson(rescorer, rows[:, :TOKENS], rows[:, TOKENS])
