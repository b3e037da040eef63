"""Logits end to end: every row on a drafted answer's path has plain decoding's numbers, to the last bit."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from engine.bench.arms.drafters import MixedDrafter
from engine.bench.instrumented import InstrumentedEngine
from engine.config import Exactness, GenerationRequest, Message, ModelSpec
from engine.decoding.sampling import NodeSampler
from engine.drafting.drafter import Drafter
from engine.events import Finished
from engine.forward.slots import slots_for
from engine.forward.widths import WIDTHS
from engine.probe.cost import CostCurve
from tests.asking import steps_to

PROMPT = "The quick brown fox jumps over the lazy dog; the quick brown fox sleeps. " * 6
TOKENS = 110
FORMATS = {
    "fp32": {"dtype": "fp32"},
    "bf16": {"dtype": "bf16"},
    "nf4": {"dtype": "bf16", "quant": "nf4"},
}
Row = tuple[torch.Tensor, tuple[int, ...], int]  # logits, the round's tokens down to it, position of what it picks
Ask = Callable[..., tuple[Finished, list[Row]]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[InstrumentedEngine, Ask]]:
    """An engine, and a way to ask it that also tells every row of logits that the sampler was shown."""
    shown: list[Row] = []
    pick = NodeSampler.pick

    def tell(
        self: NodeSampler, logits: torch.Tensor, paths: Sequence[Sequence[int]], positions: Sequence[int]
    ) -> list[int]:
        shown.extend(zip(logits.clone(), map(tuple, paths), positions, strict=True))
        return pick(self, logits, paths, positions)

    monkeypatch.setattr(NodeSampler, "pick", tell)
    flat = CostCurve({64: {width: 1 + width / 100 for width in WIDTHS}}, {1: 1e-6})
    monkeypatch.setattr("engine.probe.findings.measure_steps", lambda *_: steps_to(flat))  # no bit depends on it
    monkeypatch.setattr("engine.probe.exactness._ROWS", (16, 64))  # a shorter probe: every row is compared here

    def loaded(folder: Path, **options: object) -> tuple[InstrumentedEngine, Ask]:
        engine = InstrumentedEngine()
        list(engine.load(ModelSpec(**{"model": str(folder), **options})))

        def ask(drafter: Drafter | None = None, exactness: Exactness = "exact") -> tuple[Finished, list[Row]]:
            engine.reset_cache()
            shown.clear()
            request = GenerationRequest(
                messages=(Message.of("user", PROMPT),),
                mode="adaptive" if drafter else "plain",
                max_tokens=TOKENS,
                ignore_eos=True,
                exactness=exactness,
            )
            *_, answer = engine.generate(request, drafter=drafter)
            assert isinstance(answer, Finished)
            return answer, list(shown)

        return engine, ask

    return loaded


def on_path(answer: Finished, rows: Sequence[Row]) -> list[tuple[int, torch.Tensor]]:
    """The rows behind the answer's own tokens, with the place of the token that each picks."""
    start, ids = answer.stats.num_prompt_tokens, answer.token_ids
    places = [(position - start, logits, path) for logits, path, position in rows]
    return [
        (place, logits) for place, logits, path in places if place < len(ids) and path == ids[place - len(path) : place]
    ]


@pytest.mark.parametrize("numbers", FORMATS)
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "mistral"])
def test_drafting_changes_no_bit_of_any_logit(
    tiny_model: Callable[..., Path], load: Callable[..., tuple[InstrumentedEngine, Ask]], family: str, numbers: str
) -> None:
    """Behind a prompt longer than Mistral's window, over the end of a block of slots, in chains and trees."""
    engine, ask = load(tiny_model(family), **FORMATS[numbers])
    assert engine.info is not None
    assert engine.info.exact.tier in ("A", "B")
    plain, rows = ask()
    length = plain.stats.num_prompt_tokens
    assert slots_for(length) < slots_for(length + TOKENS)
    wanted = dict(on_path(plain, rows))
    assert sorted(wanted) == list(range(TOKENS))
    drafted, rows = ask(MixedDrafter(plain.token_ids, 3))
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.tokens_per_round > 1.3
    got = on_path(drafted, rows)
    assert {place for place, _ in got} == set(wanted)
    assert all(torch.equal(logits, wanted[place]) for place, logits in got)


def test_uncertified_rounds_do_change_bits(
    tiny_model: Callable[..., Path], load: Callable[..., tuple[InstrumentedEngine, Ask]]
) -> None:
    """The control: transformers' own layers, with whatever width a draft has."""
    _, ask = load(tiny_model("llama"), dtype="fp32", stock_layers=True)
    plain, rows = ask(exactness="fast")
    wanted = dict(on_path(plain, rows))
    got = on_path(*ask(MixedDrafter(plain.token_ids, 1), exactness="fast"))
    assert any(not torch.equal(logits, wanted[place]) for place, logits in got)
