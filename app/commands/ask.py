"""`ask`: one answer, or one for each line of a file, as text for people or as JSON for programs.

Knows the engine's face and the batch format; no page, no database. Results go to the given stream, all else to
standard error.
"""

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from app.commands.cli import Ask
from app.commands.flags import UsageError
from app.commands.running import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, Interrupt, generate, load
from app.store.text import clean_text
from app.view.figures import left_out
from engine import codec
from engine.api import EngineAPI
from engine.batch import Options, PromptLine, parse_line, read_lines
from engine.config import GenerationRequest, Message, ModelSpec
from engine.errors import EngineError
from engine.events import Finished, ModelInfo
from engine.metrics import GenerationStats

log = logging.getLogger(__name__)

PLAIN_SO_FAR = (
    "This model is not yet certified here, so the answer came one token at a time, without drafts. "
    "The page, `--check` and `ask --batch` certify it, and later answers draft."
)


_STEERS = {sign: None for sign in (*range(32), *range(127, 160)) if chr(sign) not in "\n\t"}


def error_json(exc: BaseException) -> dict[str, Any]:
    """A failure as `--json` prints it."""
    name = exc.type if isinstance(exc, EngineError) else type(exc).__name__
    return {"error": {"type": name, "message": str(exc) or name}}


def result_json(engine: EngineAPI, model: str, request: GenerationRequest, end: Finished) -> dict[str, Any]:
    """One answer as `--json` prints it; what is unknown is null."""
    info = engine.info
    stats = end.stats
    return {
        "text": end.text,
        "token_ids": list(end.token_ids),
        "mode": request.mode,
        "model": model,
        "device": info.device if info else None,
        "backend": info.backend if info else None,
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
        "loop": codec.dump(stats.loop),
        "exactness": {name: value for name, value in codec.dump(end.certificate).items() if name != "trees"},
        "server": _server_json(info, stats),
    }


def _server_json(info: ModelInfo | None, stats: GenerationStats) -> dict[str, Any] | None:
    """Which server answered, and its own figures of its drafts; None where the model is here."""
    if info is None or info.server is None:
        return None
    return {"kind": info.server.kind, "address": info.server.address} | {
        name: value for name, value in (codec.dump(stats.served) or {}).items() if name != "kind"
    }


class OutputFailed(Exception):
    """Results cannot be written; `str()` of it is one sentence."""


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
        self._use(options.spec)
        end = generate(self._engine, request, self._interrupt, None if self._as_json else self._write_text)
        if not self._as_json and not end.text.endswith("\n"):
            self._write("\n")  # before the notes, which a terminal shows on the same screen
        if end.verbatim:
            print("[prompt] The model has no chat template: it completed the prompt as it stands.", file=sys.stderr)
        if end.certificate.provisional:
            print(f"[plain] {PLAIN_SO_FAR}", file=sys.stderr)
        if end.dropped_turns:
            print(f"[prompt] The context is full: {left_out(end.dropped_turns)}.", file=sys.stderr)
        if self._as_json:
            self.write_json(result_json(self._engine, options.spec.model, request, end))
        return EXIT_INTERRUPTED if self._interrupt.seen else EXIT_OK

    def ask_all(self, lines: Iterable[tuple[int, bytes]], defaults: Options) -> int:
        """One result or error for each line, in order. Returns 0 if all were answered, 1 if any failed."""
        worst = EXIT_OK
        for number, raw in lines:
            try:
                line = parse_line(raw, number, defaults)
                code = self._answer(line)
            except (OutputFailed, BrokenPipeError):  # not the fault of this line
                raise
            except (EngineError, ValueError) as exc:
                code = self._fail(exc, number)
            except Exception as exc:  # the other lines still get their answers
                log.exception("Line %d failed unexpectedly", number)
                code = self._fail(exc, number)
            worst = max(worst, code)
            if code == EXIT_INTERRUPTED:
                break
        return worst

    def write_json(self, value: dict[str, Any]) -> None:
        """Write one object as one line, at once."""
        self._write(json.dumps(value, allow_nan=False) + "\n")

    def _answer(self, line: PromptLine) -> int:
        return self.ask(line.options, cleaned(line.request()))

    def _fail(self, exc: Exception, number: int) -> int:
        message = str(exc) if str(exc).startswith(f"Line {number}: ") else f"Line {number}: {exc}"
        print(message, file=sys.stderr)
        if self._as_json:
            name = error_json(exc)["error"]["type"]
            self.write_json({"error": {"type": name, "message": message}})
        return EXIT_FAILED

    def _use(self, spec: ModelSpec) -> None:
        """Load this model unless it is loaded; one that failed is not tried again for the next line."""
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

    def _write_text(self, text: str) -> None:
        """Text as it is for programs; for people without what steers their terminal."""
        self._write(text.translate(_STEERS) if self._out.isatty() else text)

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:  # the reader has gone
            raise
        except OSError as exc:
            raise OutputFailed(f"The answer cannot be written: {exc.strerror}.") from exc


def cleaned(request: GenerationRequest) -> GenerationRequest:
    """Clean the texts of a request as the page does; raises `ValueError` if nothing is left."""
    return replace(request, messages=tuple(Message.of(m.role, clean_text(m.text)) for m in request.messages))


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        print("Reading the prompt from the keyboard; Ctrl-D ends it.", file=sys.stderr)
    return sys.stdin.buffer.read()


@contextmanager
def _opened(batch: str) -> Iterator[BinaryIO]:
    if batch == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(batch).open("rb")  # noqa: SIM115 (closed below; what follows must not be taken for a failure to open)
    except OSError as exc:
        raise UsageError(f"The batch file {batch} cannot be read: {exc.strerror}.") from exc
    with file:
        yield file


def run(command: Ask, engine: EngineAPI, out: TextIO) -> int:
    """Answer a prompt or a batch; returns the exit code."""
    asker = Asker(engine, out, as_json=command.json)
    if command.batch is not None:
        with _opened(command.batch) as file:
            return asker.ask_all(read_lines(file), command.options)
    try:
        prompt = _standard_input().decode() if command.prompt is None else command.prompt
        prompt.encode()
        request = cleaned(command.options.request_for(prompt.removesuffix("\n").removesuffix("\r")))
    except UnicodeError as exc:
        raise UsageError("The prompt is not UTF-8 text: convert it first.") from exc
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    at_once = replace(command.options, spec=replace(command.options.spec, certify="never"))
    return asker.ask(at_once, request)
