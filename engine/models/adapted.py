"""A model with an adapter merged into its weights: nothing of the adapter is left to compute in an answer."""

from typing import Any

import torch

from engine.errors import BrokenModel
from engine.models.checkpoints.adapter import Adapter


def skeleton_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """The weights of the model that a configuration describes, by name; nothing is allocated."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    return {name: tuple(parameter.shape) for name, parameter in skeleton.named_parameters()}


@torch.no_grad()
def merge(model: Any, adapter: Adapter) -> None:
    """Add the adapter to a loaded model's weights, which are rounded once to their own format. It must fit.

    Raises `BrokenModel` where the adapter holds numbers that are none.
    """
    from safetensors import safe_open

    parameters = dict(model.named_parameters())
    with safe_open(adapter.file, framework="pt") as tensors:
        for part in adapter.parts:
            weight = parameters[part.weight]
            a, b = (tensors.get_tensor(name).to(weight.device, torch.float32) for name in (part.a, part.b))
            merged = weight.float().addmm_(b, a, alpha=part.scale)
            if not bool(torch.isfinite(merged).all()):
                raise BrokenModel(f"The adapter {adapter.name} makes {part.weight} infinite. Download it again.")
            weight.copy_(merged)
