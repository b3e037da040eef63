"""The benchmarks over llama.cpp: widths, replay's target and the lossless proof with its negative control."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.batch import Options, PromptLine
from engine.bench.arms.engine_arms import engine_arms
from engine.bench.arms.llama_cpp_arms import llama_cpp_arms
from engine.bench.arms.targets import load_target
from engine.bench.arms.xllamacpp_arms import why_not, xllamacpp_arms
from engine.bench.instrumented import InstrumentedEngine
from engine.bench.plans import SpeedPlan, WidthsPlan
from engine.bench.runs import speed, widths
from engine.config import ModelSpec
from engine.forward.llama_cpp import binding
from engine.models.loader import LoadedModel, load_model
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


def test_llama_cpps_own_loop_and_lookup_are_arms(spec: ModelSpec) -> None:
    engine = InstrumentedEngine()
    list(engine.load(spec))
    arms = (*engine_arms(engine), *llama_cpp_arms(engine.loaded))
    options = Options.of(model=spec.model, max_tokens=24, ignore_eos=True)
    line = PromptLine(number=1, category="prose", turns=("The quick brown fox. The quick", "Again."), options=options)
    plan = SpeedPlan(repeats=1, arms=("plain-exact", "adaptive", "llama-cpp", "llama-cpp-lookup"))
    data = speed.run(engine, arms, [line], plan)
    assert data["passed"], data["errors"]
    (result,) = data["prompts"]
    assert set(result["arms"]) == set(plan.arms)
    for name in ("llama-cpp", "llama-cpp-lookup"):
        own = result["arms"][name]
        assert own["num_tokens"] == 48
        assert own["repeats"][0]["committed"] == 46
    assert result["arms"]["llama-cpp"]["rounds"] == 46
    assert result["arms"]["llama-cpp-lookup"]["drafted"] > 0
    engine.close()
    assert not llama_cpp_arms(replace(engine_arms_model(spec), backend="torch"))


def test_the_server_of_another_package_answers_as_llama_cpp_does(spec: ModelSpec) -> None:
    if why_not() is not None:
        pytest.skip("xllamacpp, which is no part of the environment, is not installed")
    engine = InstrumentedEngine()
    list(engine.load(spec))
    options = Options.of(model=spec.model, max_tokens=24, ignore_eos=True)
    line = PromptLine(number=1, category="prose", turns=("The quick brown fox. The quick",), options=options)
    arms = (*llama_cpp_arms(engine.loaded), *xllamacpp_arms(engine.loaded))
    plan = SpeedPlan(repeats=1, arms=("llama-cpp", "xllamacpp", "xllamacpp-ngram-mod"))
    data = speed.run(engine, arms, [line], plan)
    assert data["passed"], data["errors"]
    (result,) = data["prompts"]
    for name in ("xllamacpp", "xllamacpp-ngram-mod"):
        assert result["arms"][name]["repeats"][0]["committed"] == 23
        assert result["arms"][name]["num_tokens"] > 0
    assert result["arms"]["xllamacpp"]["drafted"] == 0
    engine.close()


def engine_arms_model(spec: ModelSpec) -> LoadedModel:
    return load_model(spec, lambda _: None)
