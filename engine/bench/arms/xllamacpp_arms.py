"""llama.cpp's server as arms of the speed benchmark, plain and with its newest lookup, ngram-mod; the one module that
knows the package `xllamacpp`, which has it in a ready-made wheel.

It is never installed by us. Its build is for any processor, so that it has a plain arm of its own to be compared with.
The server counts and times itself: tokens after the first over the time after the first, as in every arm.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from engine.batch import PromptLine
from engine.bench.arms.arm import Arm, ArmRun
from engine.bench.arms.llama_cpp_arms import unpenalised_prompt
from engine.bench.harness import turns_of
from engine.config import GenerationRequest
from engine.models.loader import LoadedModel

_PACKAGE = "xllamacpp"


def why_not() -> str | None:
    """Why the server cannot be run here, as a sentence; None where it can."""
    if importlib.util.find_spec(_PACKAGE) is not None:
        return None
    return (
        f"The package {_PACKAGE} is not installed. Get it with `python -m pip install --no-deps {_PACKAGE}`, or leave "
        "its arms out."
    )


class XllamacppArm:
    """llama.cpp's server, greedy, with a cache that each turn begins anew; with `lookup` it drafts by ngram-mod."""

    needs_greedy = True

    def __init__(self, name: str, loaded: LoadedModel, *, lookup: bool) -> None:
        self.name = name
        self._loaded = loaded
        self._lookup = lookup
        self._server: Any = None

    def run(self, line: PromptLine) -> ArmRun:
        return ArmRun.of_turns(turns_of(line, self._ask, lambda request: request))

    def _ask(self, request: GenerationRequest, turn: int) -> tuple[str, ArmRun]:
        loaded = self._loaded
        prompt = unpenalised_prompt(self.name, loaded, request)
        if self._server is None:
            self._server = _start(loaded, lookup=self._lookup)
        said = self._server.handle_completions(
            {
                "prompt": list(prompt),
                "n_predict": min(request.max_tokens, loaded.context_length - len(prompt)),
                "temperature": 0.0,
                "cache_prompt": False,
                "ignore_eos": request.ignore_eos,
                "stop": list(request.stop),
            }
        )
        if "timings" not in said:
            raise ValueError(f"{self.name} gave no answer: {said}")
        text = str(said["choices"][0]["text"])
        return text, _run_of(loaded.tokenizer(text, add_special_tokens=False).input_ids, said["timings"])


def _start(loaded: LoadedModel, *, lookup: bool) -> Any:
    package = importlib.import_module(_PACKAGE)
    parameters = package.CommonParams()
    parameters.model.path = str(loaded.path)
    parameters.n_ctx = loaded.context_length
    parameters.n_parallel = 1
    parameters.n_gpu_layers = parameters.cache_ram_mib = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = loaded.threads
    parameters.fit_params = parameters.warmup = False
    parameters.verbosity = -1  # says nothing
    if lookup:
        parameters.speculative.types = [package.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_MOD]
    return package.Server(parameters)


def _run_of(answer: Sequence[int], timings: dict[str, Any]) -> ArmRun:
    """What the server says of an answer, whose ids are encoded from its text anew."""
    committed, accepted = timings["predicted_n"] - 1, timings.get("draft_n_accepted", 0)
    return ArmRun(
        answers=(tuple(answer),),
        committed=committed,
        decode_s=timings["predicted_ms"] / 1000,
        ttft_s=timings["prompt_ms"] / 1000,
        rounds=committed - accepted,
        drafted=timings.get("draft_n", 0),
        accepted=accepted,
    )


def xllamacpp_arms(loaded: LoadedModel) -> tuple[Arm, ...]:
    """Both of them, by name, where the package is there and llama.cpp computes the model; else none."""
    if loaded.backend != "llama-cpp" or why_not() is not None:
        return ()
    return (
        XllamacppArm("xllamacpp", loaded, lookup=False),
        XllamacppArm("xllamacpp-ngram-mod", loaded, lookup=True),
    )
