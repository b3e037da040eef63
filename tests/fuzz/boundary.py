"""A boundary: what is put in, and what must hold of what comes out."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from tests.fuzz.variants import Vary

ROUND = 4000  # examples after which Hypothesis begins anew, since it remembers all that it has tried
VARIANTS = 15  # of an example, put in after it; fewer where few inputs are wanted,
EXAMPLES = 30  # since the first examples are the simplest, and their variants as well

Check = Callable[[Any], None]


@dataclass(frozen=True)
class Boundary:
    """`opened` gives what takes an input and raises where a promise is broken; an example holds `each` inputs.

    Where there is `vary`, variants of each example are put in, too.
    """

    name: str
    inputs: st.SearchStrategy[Any]
    opened: Callable[[], AbstractContextManager[Check]]
    each: int = 1
    vary: Vary | None = None


def try_inputs(boundary: Boundary, wanted: int, seed: int) -> int:
    """Put in so many inputs; how many there were. Raises what a check raises, for the simplest input that does so."""
    tried, variants = 0, variants_of(boundary, wanted)
    with boundary.opened() as check:
        while tried < wanted:
            before = tried
            rng = random.Random(f"{boundary.name} {seed} {tried}")

            @hypothesis.seed(rng.getrandbits(64))
            @hypothesis.settings(
                max_examples=max(1, min(ROUND, (wanted - tried) // boundary.each // (1 + variants))),
                database=None,
                deadline=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            @given(boundary.inputs, st.integers(0, 2**32))
            def examples(value: Any, number: int) -> None:
                nonlocal tried
                tried += boundary.each * (1 + variants)
                check(value)
                for variant in _variants(boundary, value, random.Random(number), variants):
                    try:
                        check(variant)
                    except Exception as exc:
                        exc.add_note(f"for {variant!r}"[:2000])
                        raise

            examples()
            if tried == before:
                break
    return tried


def variants_of(boundary: Boundary, wanted: int) -> int:
    """How many variants of each example are put in, where so many inputs are wanted."""
    return max(0, min(VARIANTS, wanted // boundary.each // EXAMPLES - 1)) if boundary.vary else 0


def _variants(boundary: Boundary, value: Any, rng: random.Random, wanted: int) -> Iterator[Any]:
    """Variants of an input and of each other."""
    for _ in range(wanted):
        assert boundary.vary is not None
        variant = boundary.vary(value, rng)
        yield variant
        value = variant if rng.random() < 0.5 else value


def check_sentence(said: object) -> None:
    """Raise unless a person can read it: one line, no program's words."""
    text = str(said)
    bad = [word for word in ("\n", "Traceback", 'File "') if word in text]
    if not text.strip() or text == "None" or bad:
        raise AssertionError(f"no sentence: {text[:500]!r}")
