"""Training a part of a pack, the base frozen; interrupted at any step it goes on to the same bits.

Products are of bfloat16 where the device has instructions for that; weights, losses and the optimiser are of float32.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from engine.models.hardware import has_bfloat16
from engine.training.lessons import Lesson

_RATE = 1e-3
_WARM_UP = 0.05  # of all steps
_SEED = 5
_TOLD = "slipstream"  # what a checkpoint says beside its tensors


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16, which are several times as fast."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and has_bfloat16()


class Fit:
    """A module in training. `steps` are taken so far, of `num_steps`."""

    def __init__(self, module: nn.Module, lesson: Lesson, epochs: int, device: torch.device) -> None:
        """`module` is on the device, and what the lesson's loss is of."""
        self._module = module
        self._lesson = lesson
        self._device = device
        self._short = multiplies_bfloat16(device)
        self._optimizer = torch.optim.AdamW(
            [each for each in module.parameters() if each.requires_grad], lr=_RATE, weight_decay=0.01
        )
        self._per_epoch = -(-lesson.count // lesson.per_step)
        self.num_steps = self._per_epoch * epochs
        self.steps = 0
        self._key = ""

    def step(self) -> float:
        """Take the next step; returns its loss."""
        epoch, at = divmod(self.steps, self._per_epoch)
        order = torch.randperm(self._lesson.count, generator=torch.Generator().manual_seed(_SEED + epoch)).numpy()
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate()
        per_step = self._lesson.per_step
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._short):
            loss = self._lesson.loss(order[at * per_step : (at + 1) * per_step], self._device)
        self._optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._module.parameters(), 1.0)
            self._optimizer.step()
        self.steps += 1
        return float(loss.detach())

    def _rate(self) -> float:
        """Rising, then falling as a cosine to nothing."""
        share = self.steps / max(1, self.num_steps)
        warm = min(1.0, (self.steps + 1) / max(1.0, _WARM_UP * self.num_steps))
        return _RATE * warm * 0.5 * float(1 + np.cos(np.pi * share))

    def save(self, file: Path) -> None:
        """Write a checkpoint, all of it or nothing: tensors as safetensors, the few numbers beside them as its text."""
        draft = file.with_suffix(".new")
        optimizer = self._optimizer.state_dict()
        tensors = {f"module.{name}": tensor for name, tensor in self._module.state_dict().items()}
        for at, state in optimizer["state"].items():
            tensors |= {f"optimizer.{at}.{name}": tensor for name, tensor in state.items()}
        told = {"key": self._key, "steps": self.steps, "groups": optimizer["param_groups"]}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, {_TOLD: json.dumps(told)})
        os.replace(draft, file)

    def resume(self, file: Path) -> None:
        """Go on from a checkpoint, where there is one of the same training."""
        try:
            with safe_open(file, "pt", str(self._device)) as stored:
                told = json.loads((stored.metadata() or {}).get(_TOLD, "{}"))
                if told.get("key") != self._key:
                    return
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError):  # none, or one that an earlier version wrote
            return
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name in [name for name in tensors if name.startswith("optimizer.")]:
            _, at, inner = name.split(".", 2)
            state.setdefault(int(at), {})[inner] = tensors.pop(name)
        self.steps = told["steps"]
        self._module.load_state_dict({name.removeprefix("module."): tensor for name, tensor in tensors.items()})
        self._optimizer.load_state_dict({"state": state, "param_groups": told["groups"]})

    def run(self, checkpoint: Path, data: str, every: int = 50) -> Iterator[int]:
        """Take all steps, with a checkpoint every so many and where it is closed; yields how many were taken. `data`
        names what is learned from: a checkpoint of other data, or other sizes, is not gone on from."""
        self._key = f"{data}, {self.num_steps} steps, {getattr(self._module, 'sizes', None)}"
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
