"""The cached conversation: a prompt that was asked before has the same bits again, whatever of it is still cached."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from engine.bench.instrumented import InstrumentedEngine
from engine.errors import NotEnoughMemory
from engine.session import Session
from tests.asking import load

TinyModel = Callable[..., Path]


def prompt_of(length: int, salt: int = 0) -> list[int]:
    return [(index * 7919 + salt * 31) % 250 + 3 for index in range(length)]


def prefilled(session: Session, token_ids: Sequence[int], num_top: int = 0) -> torch.Tensor:
    """The logits behind a prompt, after an answer to it that left nothing but the prompt, and wrote into them."""
    steps = session.prefill(token_ids, "exact", num_top, lambda: False)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            session.keep([*token_ids], certified=True)
            found = end.value.logits.clone()
            with torch.inference_mode():
                end.value.logits.zero_()
            return found


def engine_of(folder: Path, **options: object) -> InstrumentedEngine:
    return load(folder, certify="never", **options)


@pytest.mark.parametrize(("threads", "stock_layers"), [(1, True), (3, True), (1, False)])
def test_the_same_prompt_again_has_the_same_bits(tiny_model: TinyModel, threads: int, stock_layers: bool) -> None:
    """Products and attention of libraries round one row, or few, otherwise than many."""
    folder = tiny_model("llama", hidden_size=512, head_dim=64)
    session = engine_of(folder, dtype="fp32", stock_layers=stock_layers, threads=threads)._session
    first, second = prompt_of(130), prompt_of(300)
    second[:150] = [*first, *prompt_of(20, salt=1)]  # the first prompt, its answer and another question
    wanted = [prefilled(session, first), prefilled(session, second, num_top=8)]
    for token_ids, logits in ((second, wanted[1]), (first, wanted[0]), (first, wanted[0]), (second, wanted[1])):
        assert torch.equal(prefilled(session, token_ids), logits)
    session.reset()
    assert torch.equal(prefilled(session, second, num_top=8), wanted[1])


def test_a_prompt_that_is_asked_again_costs_nothing(tiny_model: TinyModel) -> None:
    session = engine_of(tiny_model("llama"))._session
    prompt = prompt_of(40)
    prefilled(session, prompt)
    session.keep([*prompt, *prompt_of(9, salt=2)], certified=True)
    first = next(session.prefill(prompt, "exact", 0, lambda: False))
    assert (first.done, first.reused) == (40, 40)
    other = next(session.prefill(prompt, "fast", 0, lambda: False))  # its rows may have gone another way
    assert other.done == 39


def test_the_last_rows_of_long_past_prompts_are_forgotten(tiny_model: TinyModel) -> None:
    session = engine_of(tiny_model("llama"))._session
    text = prompt_of(200)
    for length in range(10, 200, 10):
        prefilled(session, text[:length])
    assert next(session.prefill(text[:180], "exact", 0, lambda: False)).done == 180
    assert next(session.prefill(text[:10], "exact", 0, lambda: False)).done == 9


def read_anew(session: Session, token_ids: Sequence[int]) -> int:
    """How many tokens of a prompt are read anew."""
    first = next(session.prefill(token_ids, "exact", 0, lambda: False))
    return first.total - first.reused


@pytest.mark.parametrize("stock_layers", [True, False])
def test_taking_turns_between_conversations_reads_none_anew(tiny_model: TinyModel, stock_layers: bool) -> None:
    folder = tiny_model("llama", hidden_size=512, head_dim=64)
    session = engine_of(folder, dtype="fp32", stock_layers=stock_layers)._session
    talks = [prompt_of(150 + 10 * number, salt=number) for number in range(1, 4)]
    wanted = [prefilled(session, talk) for talk in talks]
    for _ in range(2):
        for number, talk in enumerate(talks):
            assert torch.equal(prefilled(session, talk), wanted[number]), "the same prompt, the same bits"
            talk += prompt_of(20, salt=9 + number)  # an answer and the next question
            assert read_anew(session, talk) == 20
            wanted[number] = prefilled(session, talk)
    session.reset()
    for number, talk in enumerate(talks):
        assert torch.equal(prefilled(session, talk), wanted[number]), "as if it had been read at once"


def test_what_was_computed_without_a_certificate_stays_so_when_it_comes_back(tiny_model: TinyModel) -> None:
    session = engine_of(tiny_model("llama"))._session
    first, second = prompt_of(200), prompt_of(200, salt=3)
    prefilled(session, first)
    session.keep([*first, *prompt_of(30, salt=5)][:200], certified=True)
    session.num_certified = 120  # fast rounds computed the rest
    prefilled(session, second)
    assert next(session.prefill(first, "exact", 0, lambda: False)).reused == 120


def test_a_prompt_that_shares_little_takes_no_place(tiny_model: TinyModel) -> None:
    session = engine_of(tiny_model("llama"))._session
    prefilled(session, prompt_of(40))
    prefilled(session, prompt_of(40, salt=1))
    assert len(session._prefixes) == 0


def test_a_comparison_takes_the_place_of_what_is_set_aside(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = engine_of(tiny_model("llama"))._session
    prefilled(session, prompt_of(100))
    prefilled(session, prompt_of(100, salt=1))
    assert len(session._prefixes) == 1
    refusals = iter((True, False))

    def full_at_first(num_bytes: int, device: torch.device, what: str) -> None:
        if next(refusals):
            raise NotEnoughMemory("full")

    monkeypatch.setattr("engine.session.require_bytes", full_at_first)
    session.require_twin(10)
    assert len(session._prefixes) == 0
