"""Weights that a checkpoint decodes itself, as transformers can take them: one tensor at a time, in the model's dtype.

A whole decoded model never stands beside the one that is built: each tensor becomes the model's own.
"""

from collections.abc import Mapping
from typing import Any

import torch

from engine.errors import BrokenModel
from engine.models.checkpoints.checkpoint import Checkpoint, DecodedWeight


class LazyTensor:
    """Stands for a tensor in transformers' `state_dict`, which reads it with `[...]` as it does a safetensors slice."""

    def __init__(self, weight: DecodedWeight, dtype: torch.dtype) -> None:
        self._weight = weight
        self._dtype = dtype

    def __getitem__(self, index: object) -> torch.Tensor:
        assert index is Ellipsis, "a weight is read whole"
        whole = torch.empty(self._weight.shape, dtype=self._dtype)
        for rows, values in self._weight.pieces():
            whole[torch.from_numpy(rows)] = torch.from_numpy(values).to(self._dtype)
        return whole


def state_dict(weights: Mapping[str, DecodedWeight], dtype: torch.dtype) -> dict[str, Any]:
    return {name: LazyTensor(weight, dtype) for name, weight in weights.items()}


def model_class(checkpoint: Checkpoint, config: Any) -> Any:
    """The class that takes the weights, all of which are there and of the shape that the configuration says.

    What is not is refused before any is read: transformers makes up missing ones, whatever their size. Raises
    `BrokenModel`.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    wanted = {name: tuple(parameter.shape) for name, parameter in skeleton.named_parameters()}
    stored = {name: weight.shape for name, weight in checkpoint.decoded_weights().items()}
    if missing := sorted(wanted.keys() - stored.keys()):
        raise missing_weights(checkpoint, missing)
    if wrong := sorted(name for name in wanted if wanted[name] != stored[name]):
        raise wrong_shapes(checkpoint, [(name, stored[name], wanted[name]) for name in wrong])
    return type(skeleton)


def missing_weights(checkpoint: Checkpoint, names: list[str]) -> BrokenModel:
    return BrokenModel(
        f"{checkpoint.name}: {len(names)} weights are in none of its files, the first is {names[0]}. Download the "
        "model again."
    )


def wrong_shapes(checkpoint: Checkpoint, found: list[tuple[str, tuple[int, ...], tuple[int, ...]]]) -> BrokenModel:
    """`found`: name, stored shape, wanted shape of each."""
    name, stored, wanted = found[0]
    return BrokenModel(
        f"{checkpoint.name}: {len(found)} weights do not fit {checkpoint.config_place}, the first is {name}: {stored} "
        f"instead of {wanted}. Download the model again."
    )
