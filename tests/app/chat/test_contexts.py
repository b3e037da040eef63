"""What a model takes at a context is said before it is loaded, and a length that makes no sense is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.assets import ASSETS
from app.chat import contexts
from app.chat.contexts import ContextEstimate, checked, estimate
from app.view.model import context_words
from engine.config import ModelSpec
from engine.models.footprint import plan_for
from engine.models.hardware import choose_device, choose_dtype
from engine.models.quantised import choose_quant

STARTER = ASSETS / "starter"
TRAINED = json.loads((STARTER / "config.json").read_text())["max_position_embeddings"]


def estimate_with(monkeypatch: pytest.MonkeyPatch, free: int, **spec: object) -> ContextEstimate:
    monkeypatch.setattr(contexts, "free_bytes", lambda device, freed: free)
    found = estimate({}, ModelSpec(model=str(STARTER), device="cpu", **spec), 0, as_stored=False)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_whole_context_or_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = estimate_with(monkeypatch, 8 * 10**9)
    assert (whole.context, whole.fitting) == (TRAINED, TRAINED)
    assert "the whole context of" in context_words(whole)
    part = estimate_with(monkeypatch, 8 * 10**9, max_context=512)
    assert (part.fitting, part.trained) == (512, TRAINED)
    assert part.total_bytes < whole.total_bytes
    assert "with a context of 512 tokens; it was trained for" in context_words(part)
    cut = estimate_with(monkeypatch, 8 * 10**9, max_context=10**6)
    assert cut == replace(whole, asked=10**6)
    assert "can be given no more" in context_words(cut)


def test_what_does_not_fit_is_shorter_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = estimate_with(monkeypatch, 8 * 10**9)
    for free in (2 * whole.total_bytes - 10**7, whole.total_bytes, 10**8):
        found = estimate_with(monkeypatch, free)
        shape, _ = contexts._shape({}, str(STARTER))
        assert shape is not None
        fits = [
            step
            for step in range(256, TRAINED + 1, 256)
            if plan_for(shape, "cpu", 4, "none", step).fits(contexts._Room("cpu", free))
        ]
        longest = max(fits, default=0)
        assert found.fitting == (longest if longest >= 1024 else 0)
        assert ("does not fit" in context_words(found).lower()) == (found.fitting < TRAINED)


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_weights_are_counted_as_a_load_counts_them(monkeypatch: pytest.MonkeyPatch, few: bool, dtype: str) -> None:
    shape, _ = contexts._shape({}, str(STARTER))
    assert shape is not None
    tensors = tuple(replace(each, num_bytes=each.num_elements * (1 if few else 4)) for each in shape.text_tensors)
    shape = replace(shape, tensors=tensors)
    monkeypatch.setattr(contexts, "_shape", lambda environment, model: (shape, few))
    monkeypatch.setattr("engine.models.hardware.has_bfloat16", lambda: False)
    spec, device = ModelSpec(model="any", dtype=dtype, device="cpu"), choose_device("cpu")
    quant = choose_quant(spec, device, shape)
    itemsize = choose_dtype(dtype, device, shape.num_parameters, quant).itemsize
    assert contexts._numbers(shape, spec, "cpu") == (itemsize, quant)
    assert (quant == "int8") == (few and dtype == "auto")


def test_on_a_gpu_its_own_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "kind_of_device", lambda device: "cuda")
    monkeypatch.setattr(contexts, "gpu_bytes", lambda: 8 * 2**30)
    found = estimate({}, ModelSpec(model=str(STARTER)), 0, as_stored=False)
    assert found is not None
    assert found.free_bytes == 8 * 2**30


@pytest.mark.parametrize("model", ["some/model", "no/such/folder/at/all", "http://127.0.0.1:9", "a/b:Q4_0"])
def test_nothing_is_said_of_what_is_not_here(model: str, tmp_path: Path) -> None:
    assert estimate({"HF_HOME": str(tmp_path)}, ModelSpec(model=model), 0, as_stored=True) is None


def test_a_length_is_read_as_people_write_it() -> None:
    assert [checked(text) for text in ("", "  ", "4096", "4,096", "4\u202f096")] == [None, None, 4096, 4096, 4096]


@pytest.mark.parametrize(
    "text", ["255", "16777217", "-1", "many", "4096x", "4096.5", "4.096,000", "0" * 9 + "9" * 9, "٤٠٩٦", "9" * 5000]
)
def test_a_length_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a whole number of tokens from 256 to 16,777,216, or empty"):
        checked(text)
