"""What a prefill chunk makes, by formula and by counting what is allocated; of rounds see test_kernels_workspace."""

from typing import Any

import pytest
import torch

from engine.forward import workspace
from engine.forward.attention import Visibility, attend_packed
from engine.forward.workspace import prefill_bytes, round_bytes
from tests.allocated import Allocated

CPU = torch.device("cpu")
CONFIG: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 384,
}


@pytest.mark.parametrize("windows", [(None,), (None, 32)])
def test_a_prefill_s_masks_are_what_the_formula_says(windows: tuple[int | None, ...]) -> None:
    slots, rows = 4096, 256
    kinds = {None: "full_attention", 32: "sliding_attention"}
    config = CONFIG | {"layer_types": [kinds[window] for window in windows]}
    with Allocated() as allocated:
        visibility = Visibility(slots - rows, range(-1, rows - 1), range(rows), rows, slots, torch.float32, CPU)
        for window in windows:
            visibility.mask(window, 2)
    planned = prefill_bytes(config, 4, slots, "cpu")
    assert 0.95 * planned < allocated.peak < 1.01 * planned  # the slots' positions are not in the formula


def test_scores_that_a_softcap_needs_whole_are_counted() -> None:
    slots, rows = 1024, 256
    queries, keys = torch.zeros(1, 2, 2 * rows, 16), torch.zeros(1, 2, slots, 16)
    with Allocated() as allocated:
        visibility = Visibility(slots - rows, range(-1, rows - 1), range(rows), rows, slots, torch.float32, CPU)
        attend_packed(queries, keys, keys, 4, rows, visibility=visibility, scaling=1.0, window=None, softcap=50.0)
    planned = prefill_bytes(CONFIG | {"attn_logit_softcapping": 50.0}, 4, slots, "cpu")
    assert planned > 2 * prefill_bytes(CONFIG, 4, slots, "cpu")
    assert 0.6 * planned < allocated.peak < 1.01 * planned


def test_without_triton_no_round_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace.importlib.util, "find_spec", lambda name: None)
    assert round_bytes(CONFIG, 2, 4096, (1, 64)) == 0
