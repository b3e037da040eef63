"""Training block heads on examples, the base frozen; interrupted at any step it goes on to the same bits.

The loss is the cross-entropy of what came, of head j (from 0) by 0.8^j: with the Markov term of the token that stood
before, as the tree scores a path, and by half without it, so that the lattice holds likely tokens by itself.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from engine.trained.block_heads import BlockHeads, HeadSizes
from engine.training.examples import NO_TOKEN
from engine.training.plan import EXAMPLES

_RATE = 1e-3
_WARM_UP = 0.05  # of all steps
_DECAY = 0.8  # of a head's weight to the one before it
_ALONE = 0.5  # weight of the loss without the Markov term
_SEED = 5
_OUTSIDE = -100  # what cross_entropy leaves out


@dataclass(frozen=True, slots=True)
class Fitting:
    """What is learned from: `numbers` (examples, 1 + heads) of tokens in the draft vocabulary, its size for those that
    are not in it, NO_TOKEN beyond an answer's end."""

    states: torch.Tensor  # (all examples, hidden)
    numbers: torch.Tensor
    chosen: npt.NDArray[np.int64]  # the examples to learn from


def loss_of(heads: BlockHeads, states: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The loss over some examples."""
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


class Fit:
    """Heads in training. `steps` are taken so far, of `num_steps`."""

    def __init__(
        self, sizes: HeadSizes, head: torch.Tensor, fitting: Fitting, epochs: int, device: torch.device
    ) -> None:
        """`head`: the rows of the target's own head for the draft vocabulary."""
        self.heads = BlockHeads(sizes, torch.Generator().manual_seed(_SEED)).to(device)
        self.heads.head.data.copy_(head)
        self._fitting = fitting
        self._device = device
        self._optimizer = torch.optim.AdamW(
            [each for each in self.heads.parameters() if each.requires_grad], lr=_RATE, weight_decay=0.01
        )
        self._per_epoch = -(-len(fitting.chosen) // EXAMPLES)
        self.num_steps = self._per_epoch * epochs
        self.steps = 0
        self._key = ""

    def step(self) -> float:
        """Take the next step; returns its loss."""
        epoch, at = divmod(self.steps, self._per_epoch)
        order = torch.randperm(len(self._fitting.chosen), generator=torch.Generator().manual_seed(_SEED + epoch))
        chosen = torch.from_numpy(self._fitting.chosen)[order[at * EXAMPLES : (at + 1) * EXAMPLES]]
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate()
        loss = loss_of(
            self.heads,
            self._fitting.states[chosen].to(self._device, torch.float32),
            self._fitting.numbers[chosen].to(self._device),
        )
        self._optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.heads.parameters(), 1.0)
            self._optimizer.step()
        self.steps += 1
        return float(loss.detach())

    def _rate(self) -> float:
        """Rising, then falling as a cosine to nothing."""
        share = self.steps / max(1, self.num_steps)
        warm = min(1.0, (self.steps + 1) / max(1.0, _WARM_UP * self.num_steps))
        return _RATE * warm * 0.5 * float(1 + np.cos(np.pi * share))

    def save(self, file: Path) -> None:
        """Write a checkpoint, all of it or nothing."""
        draft = file.with_suffix(".new")
        state = {
            "key": self._key,
            "steps": self.steps,
            "heads": self.heads.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, draft)
        os.replace(draft, file)

    def resume(self, file: Path) -> None:
        """Go on from a checkpoint, where there is one of the same training."""
        if not file.exists():
            return
        state: dict[str, Any] = torch.load(file, map_location=self._device, weights_only=True)
        if state["key"] != self._key:
            return
        self.steps = state["steps"]
        self.heads.load_state_dict(state["heads"])
        self._optimizer.load_state_dict(state["optimizer"])

    def run(self, checkpoint: Path, data: str, every: int = 50) -> Iterator[int]:
        """Take all steps, with a checkpoint every so many and where it is closed; yields how many were taken. `data`
        names what is learned from: a checkpoint of other data, or other heads, is not gone on from."""
        self._key = f"{data}, {self.num_steps} steps, {self.heads.sizes}"
        self.resume(checkpoint)
        yield self.steps
        try:
            while self.steps < self.num_steps:
                self.step()
                if self.steps % every == 0:
                    self.save(checkpoint)
                yield self.steps
        except GeneratorExit:  # what fails within a step leaves the checkpoint before it
            self.save(checkpoint)
            raise
        self.save(checkpoint)
