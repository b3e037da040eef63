"""What a round through the kernels makes, by formula and by counting. Under Triton's interpreter, see test_kernels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import ModelSpec
from engine.forward import transformers_target, workspace
from engine.forward.transformers_target import TransformersTarget
from engine.forward.workspace import round_bytes
from engine.models.loader import load_model
from tests.allocated import Allocated

SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}


def test_a_round_takes_no_more_than_the_formula_says(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round of four rows over 33 parts of a cache, as if four were the most."""
    monkeypatch.setattr(workspace, "MAX_WIDTH", 4)
    monkeypatch.setattr(workspace, "_CUT_COLUMNS", 0)  # sums this short are not cut
    monkeypatch.setattr(transformers_target, "_TRIED_WIDTHS", (16,))
    loaded = load_model(ModelSpec(model=str(tiny_model("llama", **SMALL)), dtype="fp32"), lambda _: None)
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, context_length=256)
    assert target.runs_kernels, target._no_kernels
    cache = target.new_cache(8000)
    with Allocated() as allocated:
        logits = target.forward(cache, [5, 6, 7, 8])
    planned = round_bytes(loaded.model.config.to_dict(), 4, cache.capacity, (4,))
    assert round_bytes(loaded.model.config.to_dict(), 4, 256, (4,)) < planned / 2
    assert planned / 5 < allocated.peak - logits.nbytes <= planned / 2, "recorded once, and once before"
