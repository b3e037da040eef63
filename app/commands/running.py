"""What every command does with an engine: load a model, generate an answer.

Progress goes to standard error; Ctrl-C ends the running answer with what it has.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType

from engine.api import EngineAPI
from engine.config import GenerationRequest, ModelSpec
from engine.events import Finished, LoadProgress, TextDelta

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


class Interrupt:
    """Remembers that Ctrl-C was pressed; a second one ends the program at once."""

    def __init__(self) -> None:
        self.seen = False
        self._end: Callable[[], None] | None = None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True
        if self._end is not None:  # on a thread of its own: this one may hold the lock that it takes
            threading.Thread(target=self._end, daemon=True).start()

    @contextmanager
    def watched(self, end: Callable[[], None] | None = None) -> Iterator[None]:
        """Note the signal inside the block, and call `end` for what may be silent there for long; does nothing in a
        thread that gets no signals."""
        self._end = end
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def progress_printer() -> Callable[[LoadProgress], None]:
    """A function that prints the progress of a load on standard error, each message once."""
    last = ""

    def show(progress: LoadProgress) -> None:
        nonlocal last
        if progress.message != last:
            print(f"[{progress.stage}] {progress.message}", file=sys.stderr)
        last = progress.message

    return show


def load(engine: EngineAPI, spec: ModelSpec) -> None:
    """Load a model and print its progress on standard error."""
    show = progress_printer()
    with closing(engine.load(spec)) as steps:
        for progress in steps:
            show(progress)


def generate(
    engine: EngineAPI, request: GenerationRequest, interrupt: Interrupt, on_text: Callable[[str], None] | None = None
) -> Finished:
    """Generate one answer; an interrupt ends it soon, with what it has."""
    end, running = None, engine.generate(request)
    with interrupt.watched(running.cancel), closing(running) as events:
        for event in events:
            if interrupt.seen:
                events.cancel()
            if isinstance(event, TextDelta) and on_text is not None:
                on_text(event.text)
            elif isinstance(event, Finished):
                end = event
    assert end is not None, "a generation ends in Finished"
    return end
