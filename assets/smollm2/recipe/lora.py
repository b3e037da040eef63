"""Low-rank adapters on a frozen model's linear layers (LoRA, arXiv 2106.09685, section 4.1), and PEFT's file format."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LowRank(nn.Module):
    """y = W x + (alpha / rank) B A x, with W frozen; B begins at zero, so that training begins at the base model."""

    def __init__(self, frozen: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.frozen = frozen
        self.scale = alpha / rank
        self.is_on = True
        device = frozen.weight.device
        self.a = nn.Parameter(torch.empty(rank, frozen.in_features, device=device))
        self.b = nn.Parameter(torch.zeros(frozen.out_features, rank, device=device))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.is_on:
            frozen: torch.Tensor = self.frozen(x)
            return frozen
        low = nn.functional.linear(nn.functional.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))
        return self.frozen(x) + self.scale * low


def add_adapters(model: Any, rank: int, alpha: float) -> dict[str, LowRank]:
    """Put a `LowRank` in place of every target layer; returns them by the name of the layer."""
    model.requires_grad_(False)
    added = {}
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in TARGETS:
            parent, _, last = name.rpartition(".")
            added[name] = LowRank(module, rank, alpha)
            setattr(model.get_submodule(parent), last, added[name])
    return added


@contextmanager
def without(adapters: dict[str, LowRank]) -> Iterator[None]:
    """Leave the adapters out of what is computed inside: the base model's own output."""
    for adapter in adapters.values():
        adapter.is_on = False
    try:
        yield
    finally:
        for adapter in adapters.values():
            adapter.is_on = True


def state_of(adapters: dict[str, LowRank]) -> dict[str, torch.Tensor]:
    """Return the weights by PEFT's names."""
    named = {}
    for name, adapter in adapters.items():
        named[f"base_model.model.{name}.lora_A.weight"] = adapter.a.detach()
        named[f"base_model.model.{name}.lora_B.weight"] = adapter.b.detach()
    return named


def load_state(adapters: dict[str, LowRank], state: dict[str, torch.Tensor]) -> None:
    """Set the weights from PEFT's names."""
    with torch.no_grad():
        for name, adapter in adapters.items():
            adapter.a.copy_(state[f"base_model.model.{name}.lora_A.weight"])
            adapter.b.copy_(state[f"base_model.model.{name}.lora_B.weight"])


def export(adapters: dict[str, LowRank], folder: Path, rank: int, alpha: float, base_name: str) -> None:
    """Write PEFT's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(TARGETS),
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {name: tensor.to("cpu", torch.bfloat16).contiguous() for name, tensor in state_of(adapters).items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
