"""The composition root: reads the command line, builds the objects, runs one command.

The page's process must not import torch, so every command imports what it needs when it runs.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from app import ask
from app.ask import EXIT_FAILED, EXIT_USAGE, error_json
from app.cli import Ask, Command, UsageError, parse
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.api import EngineAPI


def _engine() -> "EngineAPI":
    from engine.engine import Engine

    return Engine()


def _wants_json(argv: list[str]) -> bool:
    return any(argument == "--json" or argument.startswith("--json=") for argument in argv)


@contextmanager
def _results() -> Iterator[TextIO]:
    """Standard output for results alone: what libraries print goes to standard error meanwhile."""
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        yield out


def _ask(command: Ask, engine: "EngineAPI", out: TextIO) -> int:
    from engine.bench.prompts import read_lines
    from engine.config import Message

    asker = ask.Asker(engine, out, as_json=command.json)
    if command.batch is not None:
        path = Path("/dev/stdin" if command.batch == "-" else command.batch)
        return asker.ask_all(read_lines(path), command.options)
    prompt = sys.stdin.read() if command.prompt is None else command.prompt
    return asker.ask(command.options, command.options.request([Message("user", prompt)]))


def run(command: Command, out: TextIO, make_engine: Callable[[], "EngineAPI"]) -> int:
    """Run one command; failures raise."""
    match command:
        case Ask():
            engine = make_engine()
            try:
                return _ask(command, engine, out)
            finally:
                engine.close()
    raise AssertionError(command)


def main(argv: list[str], *, make_engine: Callable[[], "EngineAPI"] = _engine) -> int:
    """Run the command line; returns the exit code: 0 well, 1 failed, 2 bad arguments, 130 interrupted."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    out = sys.stdout
    try:
        command, home = parse(argv)
        if home is not None:
            os.environ["SLIPSTREAM_HOME"] = str(Path(home).expanduser().resolve())
        with _results() as out:
            return run(command, out, make_engine)
    except SystemExit as exc:  # --help and --version
        return int(exc.code or 0)
    except UsageError as exc:
        return _failed(exc, EXIT_USAGE, argv, out)
    except (EngineError, OSError) as exc:
        return _failed(exc, EXIT_FAILED, argv, out)
    except ValueError as exc:
        return _failed(exc, EXIT_USAGE, argv, out)


def _failed(exc: Exception, code: int, argv: list[str], out: TextIO) -> int:
    print(f"{exc}", file=sys.stderr)
    if _wants_json(argv):
        print(json.dumps(error_json(exc)), file=out, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
