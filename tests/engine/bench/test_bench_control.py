"""The negative control on a tiny random float32 model in transformers' own layers: free widths differ at its
temperature, certified ones agree."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.batch import Options
from engine.bench.arms.control import telling_temperature
from engine.bench.arms.drafters import OracleDrafter
from engine.bench.harness import answer
from engine.bench.instrumented import InstrumentedEngine
from engine.config import Exactness, GenerationRequest, ModelSpec
from tests.models import build_styled


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstrumentedEngine]:
    folder = build_styled(tmp_path_factory.mktemp("model"), "llama")
    engine = InstrumentedEngine()
    for _ in engine.load(ModelSpec(model=str(folder), dtype="float32", device="cpu", stock_layers=True)):
        pass
    yield engine
    engine.close()


def committed(engine: InstrumentedEngine, request: GenerationRequest, exactness: Exactness) -> list[tuple[int, ...]]:
    """Plain and drafted ids, each from an empty cache."""
    asked = replace(request, exactness=exactness)
    engine.reset_cache()
    plain = answer(engine, replace(asked, mode="plain")).committed
    engine.reset_cache()
    return [plain, answer(engine, asked, OracleDrafter(plain)).committed]


def test_widths_that_round_differently_are_found_out_and_certified_ones_agree(engine: InstrumentedEngine) -> None:
    found = 0
    for seed in range(6):
        request = Options.of(max_tokens=6, ignore_eos=True, seed=seed).request_for("How close can it be?")
        temperature = telling_temperature(engine, request)
        if temperature is None:
            continue
        request = replace(request, sampling=replace(request.sampling, temperature=temperature))
        plain, drafted = committed(engine, request, "fast")
        assert plain[0] == drafted[0]
        found += plain[1] != drafted[1]
        plain, drafted = committed(engine, request, "exact")
        assert plain == drafted
    assert found >= 3
