"""A boundary: what is put in, and what must hold of what comes out."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

ROUND = 4000  # inputs after which Hypothesis begins anew, since it remembers all that it has tried

Check = Callable[[Any], None]


@dataclass(frozen=True)
class Boundary:
    """`opened` gives what takes an input and raises where a promise is broken; an example holds `each` inputs."""

    name: str
    inputs: st.SearchStrategy[Any]
    opened: Callable[[], AbstractContextManager[Check]]
    each: int = 1


def try_inputs(boundary: Boundary, wanted: int, seed: int) -> int:
    """Put in so many inputs; how many there were. Raises what a check raises, for the simplest input that does so."""
    tried = 0
    with boundary.opened() as check:
        while tried < wanted:
            before = tried
            rng = random.Random(f"{boundary.name} {seed} {tried}")

            @hypothesis.seed(rng.getrandbits(64))
            @hypothesis.settings(
                max_examples=max(1, min(ROUND, wanted - tried) // boundary.each),
                database=None,
                deadline=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            @given(boundary.inputs)
            def examples(value: Any) -> None:
                nonlocal tried
                tried += boundary.each
                check(value)

            examples()
            if tried == before:
                break
    return tried


def check_sentence(said: object) -> None:
    """Raise unless a person can read it: one line, no program's words."""
    text = str(said)
    bad = [word for word in ("\n", "Traceback", 'File "') if word in text]
    if not text.strip() or text == "None" or bad:
        raise AssertionError(f"no sentence: {text[:500]!r}")
