"""What the benchmarks share: the engine they need, asking a whole conversation, the machine it ran on.

Beyond its face the engine must take a drafter for an answer, and forget its KV cache, so that every arm starts from
the same state.
"""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from engine.api import EngineAPI, Running
from engine.batch import PromptLine
from engine.config import GenerationRequest, Message
from engine.drafting.drafter import Drafter
from engine.events import Event, Finished, Round
from engine.metrics import GenerationStats

if TYPE_CHECKING:
    import torch

    from engine.models.loader import LoadedModel

_LOGGED_S = 30.0  # between two lines of progress where nobody watches a bar
NGRAM = 4  # an answer loops where many of its own 4-grams come again


class BenchEngine(EngineAPI, Protocol):
    """The engine as the benchmarks use it; `engine.bench.instrumented` is the one."""

    def generate(self, request: GenerationRequest, *, drafter: Drafter | None = None) -> Running[Event]:
        """One answer; `drafter` None is the engine's own."""

    def reset_cache(self) -> None:
        """Forget all keys and values."""

    def draft_every_round(self) -> None:
        """Ask the adaptive drafter in every round from now on, whatever it gains."""

    @property
    def loaded(self) -> "LoadedModel":
        """The model and tokenizer themselves."""

    def next_logits(self, token_ids: Sequence[int], *, width: int | None) -> "torch.Tensor":
        """What a round of this width, or the prefill, finds behind these tokens, (vocab,)."""

    def top_two_margin(self, token_ids: Sequence[int]) -> float:
        """Difference of the two largest logits behind these tokens."""

    def stock_model(self) -> AbstractContextManager[Any]:
        """The transformers model with its own attention, inside a `with`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. `committed` are all its ids in order, the first and the end token included."""

    request: GenerationRequest
    token_ids: tuple[int, ...]
    committed: tuple[int, ...]
    text: str
    stop_reason: str
    stats: GenerationStats


Edit = Callable[[GenerationRequest], GenerationRequest]
DrafterFor = Callable[[int], Drafter | None]


def answer(engine: BenchEngine, request: GenerationRequest, drafter: Drafter | None = None) -> Answer:
    """Generate one answer to its end."""
    by_rounds: list[int] = []
    end = None
    with closing(engine.generate(request, drafter=drafter)) as events:
        for event in events:
            if isinstance(event, Round):
                by_rounds.extend(event.token_ids)
            elif isinstance(event, Finished):
                end = event
    assert end is not None, "a generation ends in Finished"
    return Answer(
        request=request,
        token_ids=end.token_ids,
        committed=(*end.token_ids[:1], *by_rounds),
        text=end.text,
        stop_reason=end.stop_reason,
        stats=end.stats,
    )


def turns_of(line: PromptLine, ask: Callable[[GenerationRequest, int], tuple[str, Any]], edit: Edit) -> list[Any]:
    """Ask the turns of a line one after the other, each answer's text fed back; `ask` returns (text, result)."""
    messages = line.history
    results = []
    for index, turn in enumerate(line.turns):
        messages = (*messages, Message.of("user", turn))
        text, result = ask(edit(line.options.request(messages)), index)
        messages = (*messages, Message.of("assistant", text))
        results.append(result)
    return results


def converse(engine: BenchEngine, line: PromptLine, edit: Edit, drafter_for: DrafterFor) -> list[Answer]:
    """The answers to all turns of a line, from an empty cache on; later turns reuse what earlier ones left there."""

    def ask(request: GenerationRequest, index: int) -> tuple[str, Answer]:
        result = answer(engine, request, drafter_for(index))
        return result.text, result

    engine.reset_cache()
    return turns_of(line, ask, edit)


def plain(request: GenerationRequest) -> GenerationRequest:
    """The same request without drafting."""
    return replace(request, mode="plain")


class _Lines:
    """Standard error for a bar that cannot be drawn anew: each state is a line of its own."""

    def write(self, text: str) -> None:
        if state := text.strip():
            print(state, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


def progress(items: Sequence[Any], unit: str) -> Any:
    """The items, and how many are done and what time is left: a bar on a terminal, elsewhere a line now and then."""
    if sys.stderr.isatty():
        return tqdm(items, unit=unit)
    return tqdm(items, unit=unit, file=_Lines(), mininterval=_LOGGED_S, maxinterval=_LOGGED_S, ncols=100)


def repeated_share(token_ids: Sequence[int]) -> float:
    """The share of an answer's 4-grams that are repetitions of its own; 0 where it is too short to have any.

    >>> repeated_share([7, 7, 7, 7, 7])
    0.5
    """
    grams = [tuple(token_ids[i : i + NGRAM]) for i in range(len(token_ids) - NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


class _Computes(Protocol):
    """A loaded model, as far as it says where it computes."""

    @property
    def device_name(self) -> str: ...

    @property
    def threads(self) -> int: ...


def machine(info: _Computes | None = None) -> dict[str, Any]:
    """Where the figures come from, and with which model; a figure without it means nothing."""
    from engine.models.hardware import cpu_name  # imports torch

    return {
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "transformers": importlib.metadata.version("transformers"),
        "device": info.device_name if info else None,
        "threads": info.threads if info else None,
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }
