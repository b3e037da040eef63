"""How far the binding is, as values that go through a pipe as JSON lines and are shown in words.

Standard library only: the launcher imports it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

Stage = Literal["wait", "find", "download", "prepare", "compile", "test", "install"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`message` begins small and ends without a stop. `total` None: unknown; `seconds_left` None: not known yet."""

    stage: Stage
    message: str
    done: int = 0
    total: int | None = None
    seconds_left: float | None = None

    def to_line(self) -> str:
        return json.dumps({"step": asdict(self)})


def in_words(step: Step) -> str:
    """The step as a line for a terminal.

    >>> in_words(Step(stage="compile", message="compiling 7 of 141", done=7, total=141, seconds_left=250.0))
    'compiling 7 of 141, about 4 min left'
    """
    if step.seconds_left is None:
        return step.message
    minutes = round(step.seconds_left / 60)
    return f"{step.message}, {f'about {minutes} min' if minutes else 'less than a minute'} left"


class CompileClock:
    """Turns the compiler's counter into steps, at most two a second, with the time left.

    >>> clock = CompileClock(iter((0.0, 20.0)).__next__)
    >>> [step and step.seconds_left for step in (clock.at(1, 11), clock.at(3, 11))]
    [None, 80.0]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self._last = float("-inf")

    def at(self, done: int, total: int) -> Step | None:
        now = self._clock()
        if now - self._last < 0.5 and done < total:
            return None
        self._last = now
        if self._began is None:
            self._began = now, done
        since, first = self._began
        left = (now - since) / (done - first) * (total - done) if done > first else None
        message = f"compiling {done} of {total}"
        return Step(stage="compile", message=message, done=done, total=total, seconds_left=left)
