"""Requests refuse what nobody could answer, in a sentence, and cross a pipe unchanged."""

import math
from typing import Any

import pytest

from engine import codec
from engine.config import GenerationRequest, Message, ModelSpec, Sampling
from engine.options import options_of


def continued(*token_ids: int) -> GenerationRequest:
    messages = (Message.of("user", "x"), Message.of("assistant", "so far"))
    return GenerationRequest(messages=messages, continue_final=True, continued_ids=token_ids)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Sampling(temperature=-1), "temperature must be between 0 and 10"),
        (lambda: Sampling(temperature=float("nan")), "temperature must be a number"),
        (lambda: Sampling(temperature=10**400), "temperature must be between 0 and 10; got 1000"),
        (lambda: Sampling(top_p=0.0), "top_p must be above 0"),
        (lambda: Sampling(top_k=1.5), "top_k must be a whole number"),
        (lambda: Sampling(seed=-1), "seed must be between 0"),
        (lambda: Sampling(repetition_penalty=True), "repetition_penalty must be a number"),
        (lambda: Sampling(temperature="1"), 'temperature must be a number; got "1"'),
        (lambda: ModelSpec(offline=0), "offline must be true or false; got 0"),
        (lambda: ModelSpec(threads=0), "threads must be between 1 and 1024; got 0"),
        (lambda: ModelSpec(threads=True), "threads must be a whole number"),
        (lambda: ModelSpec(drafter_pack=" "), "drafter_pack must be 'auto', 'none', or a folder"),
        (lambda: ModelSpec(model=" "), "model must be 'smollm2', 'starter', a folder"),
        (lambda: ModelSpec(device="gpu"), "device must be auto, cpu"),
        (lambda: ModelSpec(device="cuda:²"), "device must be auto, cpu"),
        (lambda: ModelSpec(quant="int4"), "quant must be one of auto, none, int8, nf4"),
        (lambda: Message.of("robot", "x"), "role must be one of system, user, assistant"),
        (lambda: Message.of("user", "half \ud83d here"), r"lone surrogate, U\+D83D\) at position 6"),
        (lambda: GenerationRequest(messages=()), "needs at least one message"),
        (lambda: GenerationRequest(messages=(Message.of("user", " \n"),)), "message is empty"),
        (lambda: GenerationRequest(messages=(Message.of("assistant", "x"),)), "must be the user's"),
        (
            lambda: GenerationRequest(
                messages=(Message.of("system", ""), Message.of("assistant", "")), continue_final=True
            ),
            "nothing to continue",
        ),
        (lambda: GenerationRequest(messages=(Message.of("user", "x"),), max_tokens=0), "max_tokens must be between 1"),
        (lambda: GenerationRequest(messages=(Message.of("user", "x"),), thinking=1), "thinking must be true or false"),
        (lambda: GenerationRequest(messages=(Message.of("user", "x"),), continued_ids=(1,)), "set continue_final"),
        (lambda: continued(-1), "continued_ids must be whole numbers"),
        (lambda: continued(True), "continued_ids must be whole numbers"),
        (lambda: GenerationRequest(messages=(Message.of("user", "x"),), stop=("",)), "stop strings must be non-empty"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("cls", [ModelSpec, Sampling, GenerationRequest])
def test_every_default_is_within_its_range_and_every_option_says_what_it_does(cls: type) -> None:
    values = {"messages": (Message.of("user", "x"),)} if cls is GenerationRequest else {}
    cls(**values)
    assert options_of(cls)
    for name, option in options_of(cls).items():
        assert option.help, name
        for bound in (option.low, option.high):
            if math.isfinite(bound) and name != "top_p":  # 0 is not among its values
                cls(**values, **{name: bound})


def test_a_request_survives_json() -> None:
    request = GenerationRequest(
        messages=(Message.of("system", "Be brief."), Message.of("user", "Grüße 漢字")),
        mode="plain",
        exactness="fast",
        sampling=Sampling(temperature=0.8, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.1, seed=2**40),
        stop=("\n\n", "END"),
        thinking=False,
    )
    assert codec.loads(GenerationRequest, codec.dumps(request), "x") == request
    request = continued(5, 2**30)
    assert codec.loads(GenerationRequest, codec.dumps(request), "x") == request
    spec = ModelSpec(model="Qwen/Qwen3-0.6B", dtype="bf16", device="cuda:1", quant="nf4", threads=4)  # type: ignore[arg-type]
    assert spec.dtype == "bfloat16"
    assert codec.loads(ModelSpec, codec.dumps(spec), "x") == spec
