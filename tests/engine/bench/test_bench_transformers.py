"""transformers' arms beside ours, on a tiny random model: same prompt, same answer, a clock that excludes prefill."""

from collections.abc import Iterator

import pytest
import torch

from engine.batch import Options, PromptLine
from engine.bench.arms.arm import ArmRun
from engine.bench.arms.engine_arms import engine_arms
from engine.bench.arms.transformers_arms import transformers_arms
from engine.bench.harness import answer
from engine.bench.instrumented import InstrumentedEngine
from engine.bench.runs.lossless import engine_margin
from engine.config import ModelSpec
from engine.prompt.context import build_prompt
from tests.models import build_styled

ARMS = ("plain-fast", "plain-exact", "adaptive", "transformers", "transformers-lookup")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstrumentedEngine]:
    folder = build_styled(tmp_path_factory.mktemp("model"), "llama")
    engine = InstrumentedEngine()
    for _ in engine.load(ModelSpec(model=str(folder), dtype="float32", device="cpu")):
        pass
    yield engine
    engine.close()


def runs(engine: InstrumentedEngine, line: PromptLine) -> dict[str, ArmRun]:
    everyone = (*engine_arms(engine), *transformers_arms(engine.loaded, engine.stock_model))
    return {arm.name: arm.run(line) for arm in everyone if arm.name in ARMS}


def line(*turns: str, **options: object) -> PromptLine:
    return PromptLine(number=1, options=Options.of(**{"max_tokens": 24, **options}), turns=turns)


@pytest.mark.parametrize("options", [{"ignore_eos": True}, {"repetition_penalty": 1.3}, {}])
def test_all_arms_answer_alike(engine: InstrumentedEngine, options: dict[str, object]) -> None:
    # A random model's float32 logits have no near-ties, so that kernels that round differently agree.
    by_arm = runs(engine, line("One two three, one two three, one two", **options))
    assert {run.answers for run in by_arm.values()} == {by_arm["plain-fast"].answers}
    if "ignore_eos" in options:
        assert len(by_arm["transformers"].answers[0]) == 24


def test_figures_of_transformers_arms_add_up(engine: InstrumentedEngine) -> None:
    by_arm = runs(engine, line("la la la la la la la la la la", ignore_eos=True))
    stock, lookup = by_arm["transformers"], by_arm["transformers-lookup"]
    assert (stock.committed, stock.rounds, stock.accepted) == (23, 23, 0)
    assert lookup.committed <= 23
    assert lookup.rounds + lookup.accepted == lookup.committed
    assert lookup.drafted is None
    assert min(stock.ttft_s, stock.decode_s, lookup.ttft_s) > 0


def test_turns_feed_the_answer_back(engine: InstrumentedEngine) -> None:
    by_arm = runs(engine, line("Say one", "And two", ignore_eos=True, max_tokens=8))
    assert [len(each) for each in by_arm["transformers"].answers] == [8, 8]
    assert by_arm["transformers"].answers == by_arm["plain-fast"].answers


def test_the_model_is_left_as_it_was(engine: InstrumentedEngine) -> None:
    model = engine.loaded.model
    before = (model.generation_config, model.config._attn_implementation)
    runs(engine, line("Hello"))
    assert (model.generation_config, model.config._attn_implementation) == before


def test_the_margin_is_of_the_place_asked_for(engine: InstrumentedEngine) -> None:
    request = Options.of(max_tokens=12, ignore_eos=True, mode="plain").request_for("How close is it?")
    given = answer(engine, request).token_ids[:5]
    prompt = build_prompt(
        engine.loaded.tokenizer, request, engine.loaded.context_length, engine.loaded.vocab_size
    ).token_ids
    with engine.stock_model() as model, torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *given]])).logits[0, -1]
    best, second = logits.topk(2).values.tolist()
    assert engine_margin(engine)(request, given) == pytest.approx(best - second, abs=1e-4)
