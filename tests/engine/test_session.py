"""The cached conversation: a prompt that was asked before has the same bits again, whatever of it is still cached."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from engine.bench.instrumented import InstrumentedEngine
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
