"""transformers' own decoding as arms of the speed benchmark: `generate`, and `generate` with prompt lookup.

Same weights, device, threads and process as ours, with transformers' own attention. Their clock starts where ours
does: with the first token, which the prefill yields. A streamer sees the tokens of each forward pass as they come,
so the first call gives the time to first token and the last one the end of decoding.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from engine.batch import PromptLine
from engine.bench.arms.arm import Arm, ArmRun
from engine.bench.harness import turns_of
from engine.config import GenerationRequest
from engine.models.loader import LoadedModel
from engine.prompt.context import build_prompt

LOOKUP_TOKENS = 10  # the size that transformers' documentation proposes

Stock = Callable[[], AbstractContextManager[Any]]  # the model with its stock attention, for a while


class _Clock(BaseStreamer):  # type: ignore[misc]
    """Notes when the tokens of each forward pass arrive; the first call brings the prompt."""

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self._prompt_seen = False
        self.passes: list[tuple[float, int]] = []  # (time, tokens)

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_seen:
            self._synchronize()
            self.passes.append((time.perf_counter(), value.numel()))
        self._prompt_seen = True

    def end(self) -> None:
        pass


def _synchronizer(device: torch.device) -> Callable[[], None]:
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def _config(loaded: LoadedModel, request: GenerationRequest, lookup: int | None) -> GenerationConfig:
    eos = None if request.ignore_eos else sorted(loaded.eos_ids)
    return GenerationConfig(
        max_new_tokens=request.max_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        repetition_penalty=request.sampling.repetition_penalty,
        eos_token_id=eos,
        pad_token_id=min(loaded.eos_ids, default=0),
        prompt_lookup_num_tokens=lookup,
        stop_strings=list(request.stop) or None,
    )


@contextmanager
def _configured(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Have the model's own defaults out of the way: `generate` fills every gap of a given config with them."""
    before = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = before


class TransformersArm:
    """One way of `model.generate`, greedy, with a cache of its own for each answer."""

    needs_greedy = True

    def __init__(self, name: str, loaded: LoadedModel, stock: Stock, lookup: int | None = None) -> None:
        self.name = name
        self._loaded = loaded
        self._stock = stock
        self._lookup = lookup

    def run(self, line: PromptLine) -> ArmRun:
        return ArmRun.of_turns(turns_of(line, self._ask, lambda request: request))

    @torch.inference_mode()
    def _ask(self, request: GenerationRequest, turn: int) -> tuple[str, ArmRun]:
        loaded = self._loaded
        prompt = build_prompt(loaded.tokenizer, request, loaded.context_length, loaded.vocab_size).token_ids
        config = _config(loaded, request, self._lookup)
        clock = _Clock(_synchronizer(loaded.device))
        ids = torch.tensor([prompt], device=loaded.device)
        with self._stock() as model, _configured(model, config):
            started = time.perf_counter()
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                streamer=clock,
                tokenizer=loaded.tokenizer if request.stop else None,
            )
        answer: list[int] = output[0, len(prompt) :].tolist()
        result = _measured(answer, clock.passes, started, ends=frozenset() if request.ignore_eos else loaded.eos_ids)
        return loaded.tokenizer.decode(result.answers[0], skip_special_tokens=True), result


def _measured(
    answer: Sequence[int], passes: Sequence[tuple[float, int]], started: float, ends: frozenset[int]
) -> ArmRun:
    """The figures of one answer; all that came with the first forward pass belongs to the prefill."""
    first, first_tokens = passes[0]
    committed = len(answer) - first_tokens
    rounds = len(passes) - 1
    ended = bool(answer) and answer[-1] in ends
    return ArmRun(
        answers=(tuple(answer[:-1] if ended else answer),),
        committed=committed,
        decode_s=passes[-1][0] - first,
        ttft_s=first - started,
        rounds=rounds,
        drafted=None,  # transformers does not report it
        accepted=committed - rounds,
    )


def transformers_arms(loaded: LoadedModel, stock: Stock) -> tuple[Arm, ...]:
    """Both of them, by name."""
    return (
        TransformersArm("transformers", loaded, stock),
        TransformersArm("transformers-lookup", loaded, stock, LOOKUP_TOKENS),
    )
