"""An engine with a tiny model in it, asked for one answer."""

from pathlib import Path
from typing import TypeVar

from engine.bench.instrumented import InstrumentedEngine
from engine.config import GenerationRequest, Message, ModelSpec
from engine.drafting.drafter import Drafter
from engine.engine import Engine
from engine.events import Event, Finished
from engine.probe.steps import Passes, Steps

T = TypeVar("T")

PROMPT = "The quick brown fox jumps over the lazy dog; the quick brown fox sleeps. " * 6


def load(folder: Path, **options: object) -> InstrumentedEngine:
    engine = InstrumentedEngine()
    *_, last = engine.load(ModelSpec(**{"model": str(folder), **options}))
    assert last.stage == "ready"
    engine.draft_every_round()  # a load forgets it
    return engine


def steps_to(found: T) -> Steps[T]:
    """Steps of a probe, or of a clock, that find this."""
    yield Passes(1, 1)
    return found


def take(engine: Engine, number: int | None = None) -> None:
    """Take so many steps of the background work, or all, where its own thread was never started."""
    assert engine._background is not None
    steps = engine._background._steps
    while number is None or number > 0:
        if next(steps, "end") == "end":
            return
        number = None if number is None else number - 1


def ask(
    engine: InstrumentedEngine, text: str = PROMPT, *, drafter: Drafter | None = None, **options: object
) -> Finished:
    last = ask_all(engine, text, drafter=drafter, **options)[-1]
    assert isinstance(last, Finished)
    return last


def ask_all(
    engine: InstrumentedEngine, text: str = PROMPT, *, drafter: Drafter | None = None, **options: object
) -> list[Event]:
    """Every event of the answer."""
    request = GenerationRequest(messages=(Message.of("user", text),), **{"max_tokens": 96, **options})
    return list(engine.generate(request, drafter=drafter))
