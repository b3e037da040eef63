"""The forward pass in our seams: equal to transformers' own, cropped and copied without a trace, certified."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from engine.config import ModelSpec
from engine.decoding.choose import Prices
from engine.forward import body
from engine.forward.kv_cache import KVCache
from engine.forward.slots import slots_for
from engine.forward.transformers_target import TransformersTarget
from engine.forward.widths import WIDTHS
from engine.models.loader import load_model
from engine.probe.cost import measure
from engine.probe.exactness import _tree, certify
from tests.asking import steps_to

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "phi", "phi3", "smollm3")


@pytest.fixture(params=FAMILIES)
def target(request: pytest.FixtureRequest, tiny_model: Callable[..., Path]) -> TransformersTarget:
    loaded = load_model(ModelSpec(model=str(tiny_model(request.param)), dtype="fp32"), lambda _: None)
    return TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_and_rounds_equal_one_stock_forward(family: str, tiny_model: Callable[..., Path]) -> None:
    """Longer than a block of slots and than the sliding windows, cut into prefill and rounds."""
    token_ids = [(i * 7919) % 250 + 3 for i in range(330)]
    loaded = load_model(ModelSpec(model=str(tiny_model(family)), dtype="fp32"), lambda _: None)
    expected = loaded.model(torch.tensor([token_ids])).logits[0]
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)
    assert target.runs_body == (family not in ("phi",))
    cache = target.new_cache()
    *_, last = target.prefill(cache, token_ids[:300])
    torch.testing.assert_close(last[0], expected[299], atol=2e-4, rtol=1e-3)
    rows = []
    for start, end, width in ((300, 301, 4), (301, 309, 8), (309, 330, 64)):
        rows.append(target.forward(cache, token_ids[start:end], width=width))
        cache.crop(end)
    torch.testing.assert_close(torch.cat(rows), expected[300:330], atol=2e-4, rtol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("start", [300, 380])
@pytest.mark.parametrize("offsets", [range(9), (0, 1, 2, 3, 18, 17, 33, 34, 35)])
def test_every_row_of_a_tree_equals_its_path_as_a_chain(
    target: TransformersTarget, start: int, offsets: Sequence[int]
) -> None:
    """Rows behind one another, or placed as exact rounds do; the right path is committed, and the answer goes on."""
    prompt = [(i * 7919) % 250 + 3 for i in range(start)]
    token_ids, parents = [9, 8, 7, 6, 5, 4, 3, 11, 12], [-1, 0, 1, 2, 1, 0, 0, 6, 7]
    cache, chain = target.new_cache(), target.new_cache()
    for each in (cache, chain):
        list(target.prefill(each, prompt))
    logits = target.forward(cache, token_ids, parents=parents, offsets=offsets, width=16)
    for path in ([0, 1, 2, 3], [0, 1, 4], [0, 5], [0, 6, 7, 8]):
        wanted = target.forward(chain, [token_ids[row] for row in path], width=16)
        torch.testing.assert_close(logits[path], wanted, atol=2e-4, rtol=1e-3)
    cache.commit([offsets[row] for row in (0, 6, 7, 8)])
    chain.commit([0, 1, 2, 3])  # of the last chain, the same tokens
    after = [target.forward(each, [21, 22], width=4) for each in (cache, chain)]
    torch.testing.assert_close(*after, atol=2e-4, rtol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stock_layers", [False, True])
def test_states_are_what_the_head_reads_and_change_no_bits(
    family: str, stock_layers: bool, tiny_model: Callable[..., Path]
) -> None:
    """Of all rows without padding, or in the model's own code of those that are kept; none unless they are wanted."""
    token_ids = [(i * 7919) % 250 + 3 for i in range(80)]
    loaded = load_model(ModelSpec(model=str(tiny_model(family)), dtype="fp32"), lambda _: None)
    expected = loaded.model.model(torch.tensor([token_ids])).last_hidden_state[0]
    target = TransformersTarget(
        loaded.model, loaded.device, loaded.dtype, loaded.context_length, stock_layers=stock_layers
    )
    assert target.hidden_size == expected.shape[1]
    logits: list[list[torch.Tensor]] = []
    for wanted in (False, True, False):
        target.hand_states(wanted)
        cache, passes, states = target.new_cache(), [], []
        for rows in target.prefill(cache, token_ids[:70], lambda ids: [0, len(ids) - 1]):
            passes.append(rows)
            states.append(target.states)
        passes.append(target.forward(cache, token_ids[70:75], width=8))
        states.append(target.states)
        logits.append(passes)
        if not wanted:
            assert states == [None] * len(passes)
            continue
        prefilled = range(70) if target.runs_body else [0, 69]
        for got, rows_kept in zip(states, (prefilled, range(70, 75)), strict=True):
            assert got is not None
            torch.testing.assert_close(got, expected[list(rows_kept)], atol=2e-4, rtol=1e-3)
    for plain, wanted_too, again in zip(*logits, strict=True):
        assert torch.equal(plain, wanted_too)
        assert torch.equal(plain, again)


@torch.inference_mode()
def test_a_model_that_we_read_wrongly_runs_as_transformers_has_it(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"), lambda _: None)
    token_ids = list(range(3, 40))
    expected = loaded.model(torch.tensor([token_ids])).logits[0]
    monkeypatch.setattr(body, "_read_norm", lambda _: torch.tanh)
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)
    assert not target.runs_body
    assert target.stock_model is not None
    torch.testing.assert_close(target.forward(target.new_cache(), token_ids), expected, atol=2e-4, rtol=1e-3)


def test_a_rejected_draft_leaves_no_trace(tiny_model: Callable[..., Path]) -> None:
    loaded = load_model(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"), lambda _: None)
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)
    prompt = list(range(1, 60))
    clean, dirty = target.new_cache(), target.new_cache()
    for cache in (clean, dirty):
        list(target.prefill(cache, prompt))
    target.forward(dirty, [9, 8, 7, 6, 5, 4, 3, 2], width=8)  # verified and rejected as a whole
    dirty.crop(len(prompt))
    twin = dirty.copy(512)
    wanted = target.forward(clean, [11, 12, 13, 14], width=4)
    assert torch.equal(target.forward(dirty, [11, 12, 13, 14], width=4), wanted)
    assert torch.equal(target.forward(twin, [11, 12, 13, 14], width=4), wanted)


def test_certified_widths_agree_and_the_control_does_not(tiny_model: Callable[..., Path]) -> None:
    spec = ModelSpec(model=str(tiny_model("llama")), dtype="fp32")
    model = load_model(spec, lambda _: None).model
    loaded = load_model(spec, lambda _: None)
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)
    certificate = certify(target)
    assert certificate.tier in ("A", "B")
    token_ids = [(i * 31) % 250 + 3 for i in range(40)]

    def rows_through(width: int) -> torch.Tensor:
        cache = target.new_cache()
        list(target.prefill(cache, token_ids[:20]))
        out = []
        for index in range(20, 40):
            out.append(target.forward(cache, [token_ids[index]], width=width))
            cache.crop(index + 1)
        return torch.cat(out)

    first, *others = [rows_through(width) for width in certificate.widths]
    assert all(torch.equal(first, other) for other in others)
    assert not torch.equal(*(stock_rows(model, token_ids, 20, step) for step in (1, 10)))


@pytest.mark.parametrize(("family", "evidence", "narrowest"), [("phi", None, 2), ("phi", 0, 1), ("llama", None, 1)])
def test_a_librarys_single_row_needs_more_evidence(
    tiny_model: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    evidence: int | None,
    narrowest: int,
) -> None:
    """It may differ once in several hundred rows of a tiny model, and what it spoils stays in the cache."""
    loaded = load_model(ModelSpec(model=str(tiny_model(family)), dtype="bf16"), lambda _: None)
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)
    assert target.runs_body == (family == "llama")
    monkeypatch.setattr(
        "engine.probe.exactness._trace", lambda *run: steps_to(torch.zeros(len(run[3]), 1))
    )  # all agree
    if evidence is not None:
        monkeypatch.setattr("engine.probe.exactness._EVIDENCE_ALONE", evidence)
    certificate = certify(target)
    assert certificate.widths[0] == narrowest
    assert certificate.tier == ("A" if narrowest == 1 else "B")


@torch.inference_mode()
def stock_rows(model: Any, token_ids: list[int], start: int, step: int) -> torch.Tensor:
    """Logits from `start` on by transformers' own code and cache, `step` tokens at a time."""
    cache = DynamicCache(config=model.config)
    model(torch.tensor([token_ids[:start]]), past_key_values=cache)
    pieces = [token_ids[place : place + step] for place in range(start, len(token_ids), step)]
    return torch.cat([model(torch.tensor([piece]), past_key_values=cache).logits[0] for piece in pieces])


def test_trees_are_certified_and_the_control_is_not(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nodes stand one behind the other, and not where lanes would have them, bits differ: it is seen."""
    loaded = load_model(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"), lambda _: None)
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)
    placed = certify(target)
    monkeypatch.setattr("engine.forward.slots._LANES", 1)
    unplaced = certify(target)
    assert (placed.trees, unplaced.trees) == (True, False)
    assert placed.widths == unplaced.widths


def test_the_probes_trees_carry_the_chain_however_short_its_rest() -> None:
    for length in range(1, 10):
        for turn in range(5):
            chain = list(range(100, 100 + length))
            token_ids, parents, offsets, path = _tree(7, chain, 16, turn)
            assert [token_ids[row] for row in path] == chain[: len(path)]
            assert [parents[row] for row in path] == [-1, *path[:-1]]
            assert len(token_ids) == len(parents) == len(offsets) <= 16


def test_every_thread_that_is_prepared_computes_with_the_targets_threads(tiny_model: Callable[..., Path]) -> None:
    loaded = load_model(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"), lambda _: None)
    before = torch.get_num_threads()
    try:
        target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length, threads=3)
        assert torch.get_num_threads() == 3
        torch.set_num_threads(2)
        seen: list[int] = []

        def answer() -> None:
            target.prepare_thread()
            seen.append(torch.get_num_threads())

        thread = threading.Thread(target=answer)
        thread.start()
        thread.join()
        assert seen == [3]
    finally:
        torch.set_num_threads(before)


def test_slots_are_a_function_of_the_position() -> None:
    assert [slots_for(p) for p in (0, 255, 256, 511, 512)] == [256, 256, 512, 512, 768]


def test_the_cache_says_what_it_cannot_do() -> None:
    cache = KVCache(256)
    with pytest.raises(ValueError, match="holds 256 tokens"):
        cache.window(512)
    with pytest.raises(ValueError, match="cannot be cropped to 300"):
        cache.crop(300)


def test_the_cost_curve_covers_every_width(tiny_model: Callable[..., Path]) -> None:
    loaded = load_model(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"), lambda _: None)
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)
    curve = measure(target)
    assert [width for width, _ in curve.points] == list(WIDTHS)
    assert 0 <= Prices(WIDTHS, curve.at(0)).min_chance[0] < 1
    assert curve.at(0).plain_share(1) == 1
    assert all(curve.cost(width, 3000) >= curve.cost(width, 0) > 0 for width in range(1, WIDTHS[-1] + 1))


_ORIGINAL = {"original_max_position_embeddings": 128}
_FACTORS = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [30.0] * 8}
_LONGROPE = {"rope_parameters": _FACTORS | _ORIGINAL, **_ORIGINAL}
_NTK = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
_DYNAMIC = {"rope_parameters": _NTK, "max_position_embeddings": 128}


@torch.inference_mode()
@pytest.mark.parametrize(("family", "options"), [("phi3", _LONGROPE), ("llama", _DYNAMIC)])
def test_rope_that_goes_by_the_length_stays_as_it_is_up_to_the_end_of_the_context(
    tiny_model: Callable[..., Path], family: str, options: dict[str, Any]
) -> None:
    """Padding rows reach beyond it, where the model's own code would switch."""
    loaded = load_model(ModelSpec(model=str(tiny_model(family, **options)), dtype="fp32"), lambda _: None)
    assert loaded.context_length == 128
    token_ids = [(i * 31) % 250 + 3 for i in range(128)]
    expected = loaded.model(torch.tensor([token_ids])).logits[0]
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, loaded.context_length)
    assert target.runs_body
    cache = target.new_cache()
    list(target.prefill(cache, token_ids[:120]))
    for width in (8, 32):
        rows = target.forward(cache, token_ids[120:], width=width)
        torch.testing.assert_close(rows, expected[120:], atol=2e-4, rtol=1e-3)


def test_a_tiny_context_and_a_tiny_vocabulary_can_be_certified(tiny_model: Callable[..., Path]) -> None:
    loaded = load_model(ModelSpec(model=str(tiny_model("llama")), dtype="fp32"), lambda _: None)
    loaded.model.resize_token_embeddings(40)
    target = TransformersTarget(loaded.model, loaded.device, loaded.dtype, context_length=40)
    assert certify(target).widths
    assert measure(target).cost(8, 40) > 0


@pytest.mark.parametrize(("error", "same"), [(0.16, True), (0.5, False)])
def test_roundings_of_a_small_model_are_no_other_order_of_work(error: float, same: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    theirs, noise = torch.randn(2, 16, 1000, generator=generator)
    assert body.agrees(theirs + error * noise, theirs) is same
