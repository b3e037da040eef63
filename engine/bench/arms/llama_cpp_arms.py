"""llama.cpp's own decoding as arms of the speed benchmark: its loop, and its loop with its binding's prompt lookup.

Same weights, threads and process as ours, with the cache that llama.cpp makes by default and its own greedy sampler; a
token costs what its C functions take and three calls through ctypes. Their clock starts where ours does: with the first
token, which the prefill yields.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from engine.batch import PromptLine
from engine.bench.arms.arm import Arm, ArmRun
from engine.bench.harness import turns_of
from engine.config import GenerationRequest
from engine.forward.llama_cpp.binding import OwnLoop
from engine.models.loader import LoadedModel
from engine.prompt.context import build_prompt

LOOKUP_TOKENS = 10  # the binding's defaults
LOOKUP_NGRAM = 2

Propose = Callable[[Sequence[int]], list[int]]


def unpenalised_prompt(arm: str, loaded: LoadedModel, request: GenerationRequest) -> tuple[int, ...]:
    """The prompt's ids for an arm that knows no repetition penalty; raises `ValueError` where one is asked for."""
    if request.sampling.repetition_penalty != 1.0:
        raise ValueError(f"{arm} answers without a repetition penalty: leave it at 1, or the arm out.")
    return build_prompt(loaded.tokenizer, request, loaded.context_length, loaded.vocab_size).token_ids


class LlamaCppArm:
    """llama.cpp's loop, greedy, over a cache that each conversation begins anew; `propose` drafts what it verifies."""

    needs_greedy = True

    def __init__(self, name: str, loaded: LoadedModel, propose: Propose | None = None) -> None:
        self.name = name
        self._loaded = loaded
        self._propose = propose
        self._loop: OwnLoop | None = None

    def run(self, line: PromptLine) -> ArmRun:
        return ArmRun.of_turns(turns_of(line, self._ask, lambda request: request))

    def _ask(self, request: GenerationRequest, turn: int) -> tuple[str, ArmRun]:
        loaded = self._loaded
        prompt = unpenalised_prompt(self.name, loaded, request)
        if self._loop is None:
            self._loop = OwnLoop(loaded.model, loaded.context_length, loaded.threads)
        started = time.perf_counter()
        committed = [self._loop.prefill(prompt)]
        first = time.perf_counter()
        limit = min(request.max_tokens, loaded.context_length - len(prompt))
        rounds = drafted = 0
        while not self._ended(committed, request, limit):
            room = limit - len(committed) - 1
            draft = self._propose([*prompt, *committed])[:room] if self._propose and room > 0 else []
            for token_id in self._loop.step(committed[-1], draft):
                committed.append(token_id)
                if self._ended(committed, request, limit):
                    break
            rounds += 1
            drafted += len(draft)
        ended = committed[-1] in loaded.eos_ids and not request.ignore_eos
        answer = committed[:-1] if ended else committed
        result = ArmRun(
            answers=(tuple(answer),),
            committed=len(committed) - 1,
            decode_s=time.perf_counter() - first,
            ttft_s=first - started,
            rounds=rounds,
            drafted=drafted,
            accepted=len(committed) - 1 - rounds,
        )
        return loaded.tokenizer.decode(answer, skip_special_tokens=True), result

    def _ended(self, committed: Sequence[int], request: GenerationRequest, limit: int) -> bool:
        if len(committed) >= limit or (committed[-1] in self._loaded.eos_ids and not request.ignore_eos):
            return True
        if not request.stop:
            return False
        text = self._loaded.tokenizer.decode(committed, skip_special_tokens=True)
        return any(stop in text for stop in request.stop)


def lookup(token_ids: Sequence[int]) -> list[int]:
    """The tokens behind the first place where the last two tokens, or the last one, stood before, as
    `llama_cpp.llama_speculative.LlamaPromptLookupDecoding` proposes them.

    >>> lookup([1, 2, 3, 4, 1, 2])
    [3, 4, 1, 2]
    """
    ids = np.array(token_ids, np.int64)
    for size in range(min(LOOKUP_NGRAM, len(ids) - 1), 0, -1):
        windows = np.lib.stride_tricks.sliding_window_view(ids[:-1], size)
        starts = np.nonzero((windows == ids[-size:]).all(axis=1))[0]
        if len(starts):
            behind = int(starts[0]) + size
            found: list[int] = ids[behind : behind + LOOKUP_TOKENS].tolist()
            return found
    return []


def llama_cpp_arms(loaded: LoadedModel) -> tuple[Arm, ...]:
    """Both of them, by name, where llama.cpp computes the model; else none."""
    if loaded.backend != "llama-cpp":
        return ()
    return LlamaCppArm("llama-cpp", loaded), LlamaCppArm("llama-cpp-lookup", loaded, lookup)
