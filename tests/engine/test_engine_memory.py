"""What one conversation said is drafted in another one, unless it was forgotten or the memory is switched off."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, ModelSpec
from engine.errors import BrokenModel, ContextOverflow
from engine.events import Finished
from engine.forward.widths import WIDTHS
from engine.probe.cost import CostCurve
from tests.asking import steps_to
from tests.models import byte_tokenizer, copy_model

PROMPT = "Say something that nobody has said before, and say it at length."


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[InstrumentedEngine]:
    flat = CostCurve({64: {width: 1 + width / 1000 for width in WIDTHS}}, {1: 0.0})  # drafting pays on any machine
    monkeypatch.setattr("engine.probe.findings.measure_steps", lambda *_: steps_to(flat))
    engine = InstrumentedEngine()
    yield engine
    engine.close()


def load(engine: InstrumentedEngine, folder: Path, **options: object) -> None:
    for _ in engine.load(ModelSpec(**{"model": str(folder), "dtype": "fp32", **options})):
        pass
    engine.draft_every_round()


def ask(
    engine: InstrumentedEngine,
    conversation: str | None,
    *,
    text: str = PROMPT,
    memory: bool = True,
    elsewhere: tuple[str, ...] = (),
    private: bool = False,
) -> Finished:
    request = GenerationRequest(
        messages=(Message.of("user", text),),
        conversation=conversation,
        memory=memory,
        elsewhere=elsewhere,
        private=private,
        max_tokens=160,
        ignore_eos=True,
    )
    *_, last = engine.generate(request)
    assert isinstance(last, Finished)
    return last


def accepted(end: Finished) -> int:
    return sum(end.stats.accepted_lengths)


def test_another_conversations_answer_is_drafted_until_it_is_forgotten(
    engine: InstrumentedEngine, tiny_model: Callable[..., Path]
) -> None:
    load(engine, tiny_model("llama"))
    first = ask(engine, "1")
    again = ask(engine, "2")
    assert again.token_ids == first.token_ids
    assert accepted(again) > accepted(first) + 40  # most of 160 tokens are in memory
    for conversation in ("1", "2"):
        engine.forget(conversation)
    cold = ask(engine, "3")
    assert cold.token_ids == first.token_ids
    assert accepted(cold) < accepted(again) - 40


@pytest.mark.parametrize("memory", [True, False])
def test_a_retry_is_drafted_from_the_answer_before_it(
    engine: InstrumentedEngine, tiny_model: Callable[..., Path], memory: bool
) -> None:
    load(engine, tiny_model("llama"))
    first = ask(engine, "1", memory=memory)
    engine._drafters.adaptive.forget_recycled()  # what the model found likely would be drafted anyway
    again = ask(engine, "1", memory=memory, elsewhere=(first.text,))
    assert again.token_ids == first.token_ids
    assert accepted(again) > accepted(first) + 40


def test_a_conversation_without_memory_neither_takes_nor_gives(
    engine: InstrumentedEngine, tiny_model: Callable[..., Path]
) -> None:
    load(engine, tiny_model("llama"))
    first = ask(engine, "1", memory=False)
    second = ask(engine, "2", memory=False)
    third = ask(engine, "3")
    assert max(accepted(second), accepted(third)) < accepted(first) + 40
    assert accepted(ask(engine, "4", memory=False)) < accepted(first) + 40  # 3 is in memory by now
    assert accepted(ask(engine, "5")) > accepted(first) + 40


def test_a_request_that_is_refused_does_not_take_over_what_another_one_said(
    engine: InstrumentedEngine, tiny_model: Callable[..., Path]
) -> None:
    load(engine, tiny_model("llama"), max_context=512)
    for memory in (False, True):
        ask(engine, "1", memory=memory)
        with pytest.raises(ContextOverflow):
            ask(engine, "2", text=PROMPT * 50)
        ask(engine, None, text="Something else")
        assert engine._drafters.memory.num_tokens > 0 if memory else engine._drafters.memory.num_tokens == 0
        engine.forget("1")
        assert engine._drafters.memory.num_tokens == 0


def test_texts_from_before_are_drafted(engine: InstrumentedEngine, tiny_model: Callable[..., Path]) -> None:
    engine.remember("0", ["without a model nothing happens"])
    load(engine, tiny_model("llama"))
    cold = ask(engine, None)
    engine.remember("1", [PROMPT, cold.text])
    warm = ask(engine, None)
    assert warm.token_ids == cold.token_ids
    assert accepted(warm) > accepted(cold)


def test_a_memory_of_no_tokens_remembers_nothing(engine: InstrumentedEngine, tiny_model: Callable[..., Path]) -> None:
    load(engine, tiny_model("llama"), memory_tokens=0)
    first = ask(engine, "1")
    assert accepted(ask(engine, "2")) < accepted(first) + 40
    assert engine._drafters.adaptive._shared.num_stored[0] == 0  # nor what the model found likely


def test_tokens_that_the_model_does_not_have_are_neither_drafted_nor_asked(
    engine: InstrumentedEngine, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    """Added to the tokenizer and not to the model, as some fine-tunes do with [PAD]."""
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["[PAD]"])
    tokenizer.chat_template += "{% if messages[0]['content'] == 'pad' %}[PAD]{% endif %}"
    folder = copy_model(tiny_model("llama"), tmp_path / "model")
    tokenizer.save_pretrained(folder)
    load(engine, folder)
    engine.remember("1", ["The quick [PAD]" * 20])
    assert engine._drafters.memory.num_tokens > 0
    plain = ask(engine, None, text="The quick", memory=False)
    assert ask(engine, "2", text="The quick").token_ids == plain.token_ids
    with pytest.raises(BrokenModel, match=r"chat template uses the token '\[PAD\]', number 384, and the model has 384"):
        ask(engine, None, text="pad")


@pytest.mark.parametrize("leaves", ["another is answered", "it is forgotten"])
def test_a_private_conversation_leaves_no_trace(
    engine: InstrumentedEngine, tiny_model: Callable[..., Path], leaves: str
) -> None:
    load(engine, tiny_model())
    ask(engine, "p", private=True)
    other = "Another version of it. " * 12  # the first one is left, and is not set aside
    within = ask(engine, "p", text=other, private=True, elsewhere=(PROMPT,))
    assert within.stats.num_reused_tokens < len(PROMPT)
    if leaves == "it is forgotten":
        engine.forget("p")
        assert engine._session.cache.num_bytes == 0
    ask(engine, "1", text="Hello")
    assert engine.look().conversations == ()
    for text in (PROMPT, other):
        assert ask(engine, "1", text=text).stats.num_reused_tokens < 20  # what a chat begins with
