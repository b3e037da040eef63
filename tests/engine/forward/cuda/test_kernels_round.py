"""Whole rounds through the kernels, on tiny models: equal to torch's up to rounding, to each other to the bit.

Under Triton's interpreter, see test_kernels: the step over its fixed buffers, as a graph would play it.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.config import ModelSpec
from engine.forward import transformers_target
from engine.forward.cuda import kernels
from engine.forward.kv_cache import KVCache
from engine.forward.transformers_target import TransformersTarget
from engine.models.loader import load_model

START = 130  # beyond the first border, and beyond the sliding windows of these models
TOKENS = [(i * 7919) % 250 + 3 for i in range(START + 8)]


@pytest.fixture(autouse=True)
def short_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_target, "_TRIED_WIDTHS", (16,))


def made(tiny_model: Callable[..., Path], family: str, **options: Any) -> tuple[Any, TransformersTarget]:
    loaded = load_model(ModelSpec(model=str(tiny_model(family, **options)), dtype="fp32"), lambda _: None)
    with torch.inference_mode():
        expected = loaded.model(torch.tensor([TOKENS])).logits[0]
    return expected, TransformersTarget(loaded.model, loaded.device, loaded.dtype, context_length=256)


def run(target: TransformersTarget, cache: KVCache, cuts: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Logits from START on, by rounds of so many tokens and rows."""
    cache.crop(START)
    rows = []
    for count, width in cuts:
        rows.append(target.forward(cache, TOKENS[cache.length : cache.length + count], width=width))
        cache.crop(cache.length + count)
    return torch.cat(rows)


SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("qwen3", {}),
        ("gemma2", {"num_hidden_layers": 2}),  # a window in one layer of two, softcaps, norms on what is added
        ("phi3", {"partial_rotary_factor": 0.5}),
    ],
)
def test_rounds_equal_the_model_and_each_other(
    tiny_model: Callable[..., Path], family: str, options: dict[str, Any]
) -> None:
    expected, target = made(tiny_model, family, **SMALL | options)
    assert target.runs_kernels
    cache = target.new_cache()
    list(target.prefill(cache, TOKENS[:START]))
    narrow = run(target, cache, [(1, 1), (1, 3), (2, 2)])
    torch.testing.assert_close(narrow, expected[START : START + 4], atol=2e-4, rtol=1e-3)
    wide = run(target, cache, [(4, 4)])
    assert torch.equal(narrow, wide)


def test_a_round_hands_over_its_states_where_they_are_wanted(tiny_model: Callable[..., Path]) -> None:
    loaded = load_model(ModelSpec(model=str(tiny_model("llama", **SMALL)), dtype="fp32"), lambda _: None)
    with torch.inference_mode():
        expected = loaded.model.model(torch.tensor([TOKENS])).last_hidden_state[0]
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, context_length=256)
    cache = target.new_cache()
    list(target.prefill(cache, TOKENS[:START]))
    wanted = run(target, cache, [(3, 4)])
    assert target.states is None
    target.hand_states(True)
    assert torch.equal(run(target, cache, [(3, 4)]), wanted)
    assert target.states is not None
    torch.testing.assert_close(target.states, expected[START : START + 3], atol=2e-4, rtol=1e-3)


def test_a_tree_has_the_bits_of_a_chain_and_is_committed_in_one_piece(tiny_model: Callable[..., Path]) -> None:
    _, target = made(tiny_model, "llama", **SMALL)
    cache = target.new_cache()
    list(target.prefill(cache, TOKENS[:START]))
    wanted = run(target, cache, [(1, 1), (1, 1), (1, 1), (1, 1)])
    cache.crop(START)
    token_ids = [TOKENS[START], 9, TOKENS[START + 1], 8, TOKENS[START + 2]]
    logits = target.forward(cache, token_ids, parents=(-1, 0, 0, 1, 2), offsets=(0, 1, 17, 2, 18), width=6)
    assert torch.equal(logits[[0, 2, 4]], wanted[:3])
    cache.commit([0, 17, 18])
    assert cache.length == START + 3
    assert torch.equal(target.forward(cache, [TOKENS[START + 3]], width=2), wanted[3:])
    twin = cache.copy(cache.capacity)
    assert torch.equal(target.forward(twin, [TOKENS[START + 3]], width=1), wanted[3:])
    with pytest.raises(ValueError, match="holds 256 tokens; 512 were asked for"):
        target.forward(target.new_cache(100), [5] * 64, offsets=range(200, 264))
    cache.clear()
    assert torch.equal(target.forward(cache, [5, 6], width=2), target.forward(target.new_cache(), [5, 6], width=4))


def test_kernels_that_answer_otherwise_are_not_used(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.forward.cuda import kernel_round

    monkeypatch.setattr(kernel_round, "ACTIVATIONS", {"SiLUActivation": "gelu_tanh"})
    monkeypatch.setattr(transformers_target, "agrees", lambda ours, theirs: torch.allclose(ours, theirs, atol=1e-4))
    expected, target = made(tiny_model, "llama", **SMALL)
    assert not target.runs_kernels
    assert target.runs_body
    torch.testing.assert_close(target.forward(target.new_cache(), TOKENS, width=None), expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("failure", "said"),
    [(kernels.CannotRun("No such layers."), "No such layers."), (ZeroDivisionError("no driver"), "no driver")],
)
def test_a_kernel_that_fails_leaves_torch_and_a_reason(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, failure: Exception, said: str
) -> None:
    from engine.forward.cuda import kernel_round

    def fails(*_: object) -> None:
        raise failure

    monkeypatch.setattr(kernel_round, "add_norm", fails)
    _, target = made(tiny_model, "llama", **SMALL)
    assert not target.runs_kernels
    assert target.notes == ()  # on a processor nothing is missed
    target.device = torch.device("cuda")
    assert said in target.notes[0]


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, graph: Callable[..., Any]) -> list[str]:
    """Let a target on a processor record its rounds through `graph`; returns what was played."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    played: list[str] = []
    for name, stand_in in {
        "Stream": lambda device: stream,
        "current_stream": lambda device: stream,
        "stream": lambda other: nullcontext(),
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: played.append("played")),
        "graph": graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return played


def test_each_width_is_recorded_once_over_each_cache(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a graph holds a device must show; here, when one is made, played, and forgotten."""
    _, target = made(tiny_model, "llama", **SMALL)
    played = pretend_cuda(monkeypatch, lambda *_, **__: nullcontext())
    assert target._rounds is not None
    target._rounds.note = None
    cache = target.new_cache()
    target.prepare(cache, (1, 2))
    assert (sorted(target._rounds.recorded(cache)), played) == ([1, 2], [])
    first = target._rounds.recorded(cache)[2]
    for token_ids in ([5, 6], [7], [8, 9]):
        target.forward(cache, token_ids, width=2)
    assert target._rounds.recorded(cache)[2] is first
    assert len(played) == 3
    target.forward(cache, [5, 6, 7], width=3)
    assert sorted(target._rounds.recorded(cache)) == [1, 2, 3]
    cache.clear()  # its memory goes, and with it what was recorded there
    assert not target._rounds.recorded(cache)


def test_a_round_that_cannot_be_recorded_runs_all_the_same_and_says_so(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nSee the manual")

    _, target = made(tiny_model, "llama", **SMALL)
    cache = target.new_cache()
    wanted = target.forward(cache, [5, 6], width=2)
    pretend_cuda(monkeypatch, fails)
    assert target._rounds is not None
    target._rounds.note = None
    assert torch.equal(target.forward(cache, [5, 6], width=2), wanted)
    assert target._rounds.note is not None
    assert "A round of 2 rows could not be recorded (CUDA out of memory.)" in target._rounds.note
    assert not target._rounds.recorded(cache)
    target.device = torch.device("cuda")
    assert target.notes == (target._rounds.note,)
