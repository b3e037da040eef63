"""A model with an adapter merged into its weights: nothing of the adapter is left to compute in an answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.config import SMOLLM2, ModelSpec
from engine.errors import BrokenModel, EngineError, UnsupportedModel
from engine.models import bundled
from engine.models.checkpoints.adapter import Adapter, LowRank
from engine.models.checkpoints.checkpoint import Checkpoint, DecodedWeight

_LARGEST = 60_000.0  # a weight beyond is infinite in float16, in which Q8_0 keeps its scales


def adapter_of(spec: ModelSpec, config: Any, checkpoint: Checkpoint) -> tuple[Adapter | None, tuple[str, ...]]:
    """The adapter that is asked for, or that comes with the model; it fits. A note where the latter cannot be used.

    Raises `ModelNotFound`, `BrokenModel` or `UnsupportedModel`.
    """
    if spec.adapter:
        return _fitting(Adapter.read(Path(spec.adapter)), spec, config, checkpoint), ()
    if spec.model != SMOLLM2 or spec.no_adapter:
        return None, ()
    try:
        return _fitting(Adapter.read(bundled.ADAPTER, bundled.ADAPTER_NAME), spec, config, checkpoint), ()
    except EngineError as exc:  # the model is worth having without
        return None, (f"{checkpoint.name} was loaded without {bundled.ADAPTER_NAME}: {exc}",)


def _fitting(adapter: Adapter, spec: ModelSpec, config: Any, checkpoint: Checkpoint) -> Adapter:
    if spec.quant not in ("auto", "none") and not checkpoint.decoded_weights():
        raise UnsupportedModel(
            f"The adapter {adapter.name} is merged into weights of 16 or 32 bits, and not into {spec.quant}. Load the "
            "model with quantisation none, or a GGUF file of it."
        )
    adapter.check_fits(_skeleton_shapes(config), checkpoint.name)
    return adapter


@dataclass(frozen=True, slots=True)
class AdaptedWeight:
    """A weight that its checkpoint decodes, with what an adapter adds to it."""

    weight: DecodedWeight
    adapter: Adapter
    part: LowRank

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight.shape

    def pieces(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """As `DecodedWeight` has it. Raises `BrokenModel` where the adapter holds numbers that are none."""
        a, b = _matrices(self.adapter, self.part)
        for rows, values in self.weight.pieces():
            merged = torch.from_numpy(values).addmm(b[torch.from_numpy(rows)], a, alpha=self.part.scale)
            yield rows, _finite(merged, self.adapter, self.part).numpy()


def adapted_weights(weights: Mapping[str, DecodedWeight], adapter: Adapter) -> dict[str, DecodedWeight]:
    """The weights of a checkpoint that decodes them itself; the adapter must fit."""
    parts = {part.weight: part for part in adapter.parts}
    return {
        name: AdaptedWeight(weight, adapter, parts[name]) if name in parts else weight
        for name, weight in weights.items()
    }


@torch.no_grad()
def merge(model: Any, adapter: Adapter) -> None:
    """Add the adapter to a loaded model's weights, which are rounded once to their own format. It must fit.

    Raises `BrokenModel` where the adapter holds numbers that are none.
    """
    parameters = dict(model.named_parameters())
    for part in adapter.parts:
        weight = parameters[part.weight]
        a, b = (matrix.to(weight.device) for matrix in _matrices(adapter, part))
        weight.copy_(_finite(weight.float().addmm_(b, a, alpha=part.scale), adapter, part))


def _matrices(adapter: Adapter, part: LowRank) -> tuple[torch.Tensor, torch.Tensor]:
    """A (rank, in) and B (out, rank)."""
    from safetensors import safe_open

    with safe_open(adapter.file, framework="pt") as tensors:
        return tensors.get_tensor(part.a).float(), tensors.get_tensor(part.b).float()


def _finite(merged: torch.Tensor, adapter: Adapter, part: LowRank) -> torch.Tensor:
    if not float(merged.abs().max()) < _LARGEST:  # NaN is not smaller either
        raise BrokenModel(f"The adapter {adapter.name} makes {part.weight} infinite. Download it again.")
    return merged


def _skeleton_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """The weights of the model that a configuration describes, by name; nothing is allocated."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    return {name: tuple(parameter.shape) for name, parameter in skeleton.named_parameters()}
