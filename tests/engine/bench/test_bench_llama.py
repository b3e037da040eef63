"""The benchmarks over llama.cpp: widths, replay's target and the lossless proof with its negative control."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.bench.arms.targets import load_target
from engine.bench.plans import WidthsPlan
from engine.bench.runs import widths
from engine.config import ModelSpec
from engine.forward.llama_cpp import binding
from tests.gguf_files import write_gguf
from tests.llama_cpp import require_llama_cpp

TinyModel = Callable[..., Path]


@pytest.fixture(autouse=True)
def _library() -> None:
    require_llama_cpp()


@pytest.fixture
def spec(tiny_model: TinyModel, tmp_path: Path) -> ModelSpec:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"), "Q8_0")
    return ModelSpec(model=str(file), device="cpu", max_context=1024)


def test_widths_are_timed_beside_transformers_and_the_memory(spec: ModelSpec) -> None:
    data = widths.run(spec, WidthsPlan(contexts=(64,), repeats=1), lambda _: None)
    assert data["passed"]
    assert data["model"]["backend"] == "llama-cpp"
    assert {row["arm"] for row in data["results"]} == {"slipstream", "transformers"}


def test_ids_of_another_vocabulary_are_folded(spec: ModelSpec) -> None:
    bench = load_target(spec, lambda _: None)
    cache = bench.target.new_cache(256)
    *_, logits = bench.target.prefill(cache, [1, 2, bench.target.vocab_size + 3])
    *_, same = bench.target.prefill(bench.target.new_cache(256), [1, 2, 3])
    assert logits.equal(same)
    assert bench.read_bytes < bench.loaded.weights_bytes  # of an embedding of its own a round reads but a few rows
    assert isinstance(bench.loaded.model, binding.LlamaModel)
