"""`ask`: one answer, or one for each line of a file, as text for people or as JSON for programs.

Knows the engine's face and the batch format; no page, no store. Results go to the given stream, all else to
standard error.
"""

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

from app.view.words import left_out
from engine.api import EngineAPI
from engine.batch import Options, PromptLine, parse_line
from engine.bench.harness import ending
from engine.config import GenerationRequest, ModelSpec
from engine.errors import EngineError
from engine.events import Finished, LoadProgress, TextDelta

log = logging.getLogger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def error_json(exc: BaseException) -> dict[str, Any]:
    """What a program reads of a failure."""
    name = exc.type if isinstance(exc, EngineError) else type(exc).__name__
    return {"error": {"type": name, "message": str(exc) or name}}


def result_json(engine: EngineAPI, model: str, request: GenerationRequest, end: Finished) -> dict[str, Any]:
    """One answer as `ask --json` prints it; what is unknown is null."""
    info = engine.info
    stats = end.stats
    return {
        "text": end.text,
        "token_ids": list(end.token_ids),
        "mode": request.mode,
        "model": model,
        "device": info.device if info else None,
        "dtype": info.dtype if info else None,
        "quant": info.quant if info else None,
        "seed": request.sampling.seed,
        "stop_reason": end.stop_reason,
        "num_prompt_tokens": stats.num_prompt_tokens,
        "num_tokens": stats.num_tokens,
        "rounds": stats.rounds,
        "tokens_per_round": stats.tokens_per_round,
        "accepted_lengths": list(stats.accepted_lengths),
        "acceptance_rate": stats.acceptance_rate,
        "tokens_per_s": stats.tokens_per_s,
        "ttft_s": stats.ttft_s or None,  # cancelled before the first token
        "exactness": {name: value for name, value in end.certificate.to_json().items() if name != "trees"},
    }


class OutputFailed(Exception):
    """Results cannot be written; `str()` of it is one sentence."""


class Interrupt:
    """Ctrl-C, noted: the answer that is running ends with what it has; a second one ends the program."""

    def __init__(self) -> None:
        self.seen = False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note the signal inside the block, where this is the thread that gets signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def teller() -> Callable[[LoadProgress], None]:
    """Says on standard error how the loading of a model goes, each message once."""
    last = ""

    def tell(progress: LoadProgress) -> None:
        nonlocal last
        if progress.message != last:
            print(f"[{progress.stage}] {progress.message}", file=sys.stderr)
        last = progress.message

    return tell


def load(engine: EngineAPI, spec: ModelSpec) -> None:
    """Load a model and say on standard error how it goes."""
    tell = teller()
    with ending(engine.load(spec)) as steps:
        for progress in steps:
            tell(progress)


def generate(
    engine: EngineAPI, request: GenerationRequest, interrupt: Interrupt, on_text: Callable[[str], None] | None = None
) -> Finished:
    """Run one answer to its end, which an interrupt brings near."""
    end = None
    with interrupt.watched(), ending(engine.generate(request)) as events:
        for event in events:
            if interrupt.seen:
                engine.cancel()
            if isinstance(event, TextDelta) and on_text is not None:
                on_text(event.text)
            elif isinstance(event, Finished):
                end = event
    assert end is not None, "a generation ends in Finished"
    return end


class Asker:
    """Answers requests with one engine and writes the results."""

    def __init__(self, engine: EngineAPI, out: TextIO, *, as_json: bool) -> None:
        self._engine = engine
        self._out = out
        self._as_json = as_json
        self._spec: ModelSpec | None = None
        self._failed: tuple[ModelSpec, EngineError] | None = None
        self._interrupt = Interrupt()

    def ask(self, options: Options, request: GenerationRequest) -> int:
        """One answer. Failures raise."""
        self._use(options.spec())
        end = generate(self._engine, request, self._interrupt, None if self._as_json else self._write)
        if end.verbatim:
            print("[prompt] The model has no chat template: it completed the prompt as it stands.", file=sys.stderr)
        if end.dropped_turns:
            print(f"[prompt] The context is full: {left_out(end.dropped_turns)}.", file=sys.stderr)
        if self._as_json:
            self.write_json(result_json(self._engine, options.model, request, end))
        else:
            self._write("" if end.text.endswith("\n") else "\n")
        return EXIT_INTERRUPTED if self._interrupt.seen else EXIT_OK

    def ask_all(self, lines: Iterable[tuple[int, bytes]], defaults: Options) -> int:
        """One result or error line for each line, in order. 0 if all were answered, 1 if any failed."""
        worst = EXIT_OK
        for number, raw in lines:
            try:
                line = parse_line(raw, number, defaults)
                code = self._answer(line)
            except (OutputFailed, BrokenPipeError):  # no line's fault
                raise
            except (EngineError, ValueError) as exc:
                code = self._fail(exc, number)
            except Exception as exc:  # one line's defect must not take the other lines' answers
                log.exception("Line %d failed unexpectedly", number)
                code = self._fail(exc, number)
            worst = max(worst, code)
            if code == EXIT_INTERRUPTED:
                break
        return worst

    def write_json(self, value: dict[str, Any]) -> None:
        """One object, one line, out at once."""
        self._write(json.dumps(value, allow_nan=False) + "\n")

    def _answer(self, line: PromptLine) -> int:
        return self.ask(line.options, line.request())

    def _fail(self, exc: Exception, number: int) -> int:
        message = str(exc) if str(exc).startswith(f"Line {number}: ") else f"Line {number}: {exc}"
        print(message, file=sys.stderr)
        if self._as_json:
            name = error_json(exc)["error"]["type"]
            self.write_json({"error": {"type": name, "message": message}})
        return EXIT_FAILED

    def _use(self, spec: ModelSpec) -> None:
        """Have this model loaded; a model that could not be loaded is not tried again for the next line."""
        if spec == self._spec:
            return
        if self._failed is not None and self._failed[0] == spec:
            raise self._failed[1]
        self._spec = None
        try:
            load(self._engine, spec)
        except EngineError as exc:
            self._failed = (spec, exc)
            raise
        self._spec, self._failed = spec, None

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:  # the reader has seen enough
            raise
        except OSError as exc:
            raise OutputFailed(f"The answer cannot be written: {exc.strerror}.") from exc
