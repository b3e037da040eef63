"""The target on llama.cpp, with the real library over tiny files: logits, caches, certificates."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import ModelSpec
from engine.forward.llama_cpp import target as llama_target
from engine.forward.llama_cpp.target import LlamaCache, LlamaCppTarget
from engine.forward.widths import WIDTHS
from engine.models.loader import load_model
from engine.probe.exactness import certify
from engine.ready import target_of
from tests.gguf_files import write_gguf

pytestmark = pytest.mark.usefixtures("llama_cpp")

TinyModel = Callable[..., Path]
IDS = [(7 * index) % 200 + 1 for index in range(700)]


def target_for(file: Path, **options: Any) -> LlamaCppTarget:
    plain_code = options.pop("plain_code", False)
    spec = ModelSpec(model=str(file), backend="llama-cpp", device="cpu", **options)
    made = target_of(load_model(spec, lambda _: None), plain_code=plain_code)
    assert isinstance(made, LlamaCppTarget)
    return made


@pytest.fixture
def file(tiny_model: TinyModel, tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", tiny_model("llama", hidden_size=256, intermediate_size=256), "Q8_0")


def filled(target: LlamaCppTarget, token_ids: Sequence[int], capacity: int = 1024) -> LlamaCache:
    cache = target.new_cache(capacity)
    for _ in target.prefill(cache, token_ids):
        pass
    assert cache.length == len(token_ids)
    return cache


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3"])
def test_logits_are_the_torch_targets_up_to_rounding(tiny_model: TinyModel, tmp_path: Path, family: str) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model(family), "F32")
    ours = target_for(file)
    spec = ModelSpec(model=str(file), backend="torch", dtype="float32", device="cpu")
    torchs = target_of(load_model(spec, lambda _: None))
    got = ours.forward(filled(ours, IDS[:90]), IDS[90:100])
    cache = torchs.new_cache(128)
    for _ in torchs.prefill(cache, IDS[:90]):
        pass
    expected = torchs.forward(cache, IDS[90:100])
    assert got.shape == expected.shape
    assert (got - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_rejected_round_leaves_no_trace(file: Path) -> None:
    target = target_for(file)
    fresh = target.forward(filled(target, IDS[:100]), IDS[100:103])
    cache = filled(target, IDS[:100])
    target.forward(cache, [*IDS[100:101], 9, 9, 9, 9], width=8)
    cache.commit([0])
    assert cache.length == 101
    cache.crop(100)
    assert torch.equal(target.forward(cache, IDS[100:103]), fresh)
    cache.clear()
    assert cache.length == 0
    with pytest.raises(ValueError, match="holds 0 tokens"):
        cache.crop(1)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_copy_and_a_cache_that_grew_give_the_same_bits(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    target = target_for(write_gguf(tmp_path / "tiny.gguf", tiny_model(family), "F16"))
    cache = filled(target, IDS[:300])
    before = target.forward(cache, IDS[300:304])
    twin = cache.copy(target.padded_capacity(600))
    assert torch.equal(target.forward(twin, IDS[300:304]), before)
    assert torch.equal(target.forward(cache, IDS[300:304]), before)
    monkeypatch.setattr(llama_target, "_FIRST_SLOTS", 256)
    grown = filled(target, IDS[:300])
    assert torch.equal(target.forward(grown, IDS[300:304]), before)


def test_rows_of_several_widths_are_bit_equal_behind_many_tokens(file: Path) -> None:
    target = target_for(file)  # llama.cpp's own choice of keys and values computes a single row in parts from 512 on
    cache = filled(target, IDS[:620])
    rows = torch.cat([target.forward(cache, IDS[620:636], width=width)[:1] for width in (16, 32)])
    alone = target.forward(cache, IDS[620:621])
    assert torch.equal(rows, alone.repeat(2, 1))


def test_the_number_of_threads_decides_no_bits(file: Path) -> None:
    found = [target.forward(filled(target, IDS[:600]), IDS[600:605]) for target in map(by_threads(file), (1, 2, 3))]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def by_threads(file: Path) -> Callable[[int], LlamaCppTarget]:
    return lambda threads: target_for(file, threads=threads)


def test_the_probe_finds_chains_of_all_widths_exact(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.probe.exactness._EVIDENCE_ALONE", 100_000)
    certificate = certify(target_for(file, threads=2))
    assert certificate.tier != "C"
    assert not certificate.trees
    assert {1, 2, 4, 8, 16} <= set(certificate.widths)


def test_without_flash_attention_the_probe_finds_that_widths_differ(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.probe.exactness._EVIDENCE_ALONE", 100_000)
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama", hidden_size=256), "F16")
    certificate = certify(target_for(file, plain_code=True))
    assert len(certificate.widths) < len(WIDTHS) or certificate.tier == "C"


def test_side_branches_and_rounds_beyond_the_cache_are_refused(file: Path) -> None:
    target = target_for(file)
    cache = filled(target, IDS[:10], capacity=100)
    with pytest.raises(ValueError, match="no side branches"):
        target.forward(cache, [1, 2, 3], parents=[-1, 0, 0], offsets=[0, 1, 33])
    with pytest.raises(ValueError, match="holds 256 tokens"):
        list(target.prefill(cache, IDS[:400]))


def test_a_clock_fills_a_cache_step_by_step(file: Path) -> None:
    target = target_for(file)
    cache = filled(target, IDS[:100])
    steps = sum(1 for _ in target.fill(cache, 300))
    assert cache.length == 300
    assert steps == 4  # chunks from 64, 128, 192 and 256 on
    list(target.fill(cache, 30))
    assert cache.length == 30


def test_memory_that_cannot_be_had_is_a_memory_error(file: Path) -> None:
    target = target_for(file)
    with pytest.raises(MemoryError, match=r"llama\.cpp cannot allocate"):
        target._make_context(2**31)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3"])
def test_what_was_saved_comes_back_bit_by_bit(tiny_model: TinyModel, tmp_path: Path, family: str) -> None:
    target = target_for(write_gguf(tmp_path / "tiny.gguf", tiny_model(family), "Q8_0"))
    cache = filled(target, IDS[:300])
    saved, wanted = cache.save(), target.forward(cache, IDS[300:308])
    cache.crop(0)
    for _ in target.prefill(cache, IDS[::-1]):
        pass
    cache.restore(saved)
    assert cache.length == 300
    assert torch.equal(target.forward(cache, IDS[300:308]), wanted)
    cache.crop(0)
    empty = cache.save()
    for _ in target.prefill(cache, IDS[:10]):
        pass
    cache.restore(empty)
    assert cache.length == 0
    cleared = target.new_cache(1024)
    cleared.restore(saved)
    assert torch.equal(target.forward(cleared, IDS[300:308]), wanted)
