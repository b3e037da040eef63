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
    """The logits behind a prompt, after an answer to it that left nothing but the prompt."""
    steps = session.prefill(token_ids, "exact", num_top, lambda: False)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            session.keep([*token_ids], certified=True)
            return end.value.logits.clone()


def engine_of(folder: Path, **options: object) -> InstrumentedEngine:
    return load(folder, certify="never", **options)


@pytest.mark.parametrize(("family", "dtype"), [("llama", "fp32"), ("phi3", "fp32"), ("gemma", "bf16")])
def test_a_row_has_the_same_bits_however_much_of_the_prompt_was_cached(
    tiny_model: TinyModel, family: str, dtype: str
) -> None:
    session = engine_of(tiny_model(family), dtype=dtype)._session
    for length in (*range(2, 70), 130, 257, 300):
        session.reset()
        token_ids = prompt_of(length)
        whole = prefilled(session, token_ids)
        for cached in (length - 1, length // 2):
            session.keep(token_ids[:cached], certified=True)
            assert torch.equal(prefilled(session, token_ids), whole), (length, cached)
    session.reset()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_prompt_again_has_the_same_bits_through_transformers_own_layers(
    tiny_model: TinyModel, threads: int
) -> None:
    """Their products round one row, or few, otherwise than many."""
    session = engine_of(tiny_model("llama", hidden_size=512), dtype="fp32", stock_layers=True, threads=threads)._session
    first, second = prompt_of(75), prompt_of(300)
    second[:90] = [*first, *prompt_of(15, salt=1)]  # the first prompt, its answer and another question
    wanted = [prefilled(session, first), prefilled(session, second, num_top=8)]
    for token_ids, logits in ((second, wanted[1]), (first, wanted[0]), (first, wanted[0]), (second, wanted[1])):
        assert torch.equal(prefilled(session, token_ids), logits)
    session.reset()
