"""The composition root: reads the command line, builds the objects, runs one command.

The page's process must not import torch, so every command imports what it needs when it runs.
"""

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from app.commands import ask, check
from app.commands.ask import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, error_json
from app.commands.bench import BenchLossless, BenchReplay, BenchSpeed, BenchWidths
from app.commands.cli import Ask, Check, Command, Serve, parse
from app.commands.flags import UsageError
from app.home import Home, HomeError
from engine.api import EngineAPI
from engine.batch import PromptLine, read_lines
from engine.bench.inputs.prompts import built_in_prompts, read_prompts
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.bench.harness import BenchEngine

MakeEngine = Callable[[], EngineAPI]

log = logging.getLogger(__name__)


def _in_process() -> EngineAPI:
    from engine.engine import Engine

    return Engine(Home.find().findings)


def main(argv: list[str], *, make_engine: MakeEngine = _in_process) -> int:
    """Run the command line; returns the exit code: 0 well, 1 failed, 2 bad arguments, 130 interrupted."""
    _log_warnings()
    out = sys.stdout or io.StringIO()  # there is none behind `>&-`
    try:
        command, home = parse(argv)
        if home is not None:
            os.environ["SLIPSTREAM_HOME"] = str(Path(home).expanduser().resolve())
        return _run(command, out, make_engine)
    except SystemExit as exc:  # --help and --version
        return exc.code if isinstance(exc.code, int) else EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader has gone, as in `ask ... | head`
        _give_up_output()
        return EXIT_FAILED
    except ask.OutputFailed as exc:
        print(exc, file=sys.stderr)
        _give_up_output()
        return EXIT_FAILED
    except UsageError as exc:
        print(exc.usage, end="", file=sys.stderr)
        return _failed(exc, EXIT_USAGE, argv, out)
    except (EngineError, HomeError, OSError) as exc:
        log.debug("failed", exc_info=True)
        return _failed(exc, EXIT_FAILED, argv, out)
    except Exception as exc:
        log.exception("An unexpected failure")
        return _failed(exc, EXIT_FAILED, argv, out)


def _give_up_output() -> None:
    """Nothing more can be said there, and what is left in buffers must not fail once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)


def _log_warnings() -> None:
    """Show warnings and failures on standard error; the page writes the rest to its log file."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler], format="%(levelname)s %(name)s: %(message)s")


def _failed(exc: Exception, code: int, argv: list[str], out: TextIO) -> int:
    """Say what went wrong: a sentence for people, for programs an object as the last line of standard output."""
    print(exc, file=sys.stderr)
    if any(argument == "--json" or argument.startswith("--json=") for argument in argv):
        try:
            print(json.dumps(error_json(exc)), file=out, flush=True)
        except OSError:  # it is said above
            _give_up_output()
    return code


def _run(command: Command, out: TextIO, make_engine: MakeEngine) -> int:
    if isinstance(command, Serve):
        return _serve(command)
    if isinstance(command, BenchReplay | BenchWidths | BenchLossless | BenchSpeed):
        _require_writable(command)
    if isinstance(command, BenchReplay):
        with _results_only(out):
            return _replay(command, out)
    if isinstance(command, BenchWidths):
        with _results_only(out):
            return _widths(command, out)
    engine = make_engine()
    with _results_only(out), _closing(engine):
        match command:
            case Ask():
                return _ask(command, engine, out)
            case Check():
                return check.run(engine, command.options, Home.find().data, out)
            case BenchLossless() | BenchSpeed():
                return _bench(command, cast("BenchEngine", engine), out)


def _require_writable(command: BenchReplay | BenchWidths | BenchLossless | BenchSpeed) -> None:
    """Find out before the work whether its results can be kept."""
    json_file = None if command.json in (None, "-") else Path(command.json).expanduser()
    for path in (json_file, None if isinstance(command, BenchLossless) else command.plot):
        if path is None or path.is_fifo():  # whoever reads a pipe would take a look for the end
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            path.open("ab").close()
            if is_new:
                path.unlink()
        except OSError as exc:
            raise UsageError(
                f"The results cannot be written to {path} ({exc.strerror}: {exc.filename}). Name another file."
            ) from exc


@contextmanager
def _results_only(out: TextIO) -> Iterator[None]:
    """Keep standard output for results: what libraries print meanwhile goes to standard error."""
    reconfigure: Any = getattr(out, "reconfigure", None)
    if reconfigure is not None:  # a terminal that cannot show a character must not cost the answer
        reconfigure(errors="replace")
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def _closing(engine: EngineAPI) -> Iterator[None]:
    try:
        yield
    finally:
        engine.close()


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


def _ask(command: Ask, engine: EngineAPI, out: TextIO) -> int:
    asker = ask.Asker(engine, out, as_json=command.json)
    if command.batch is not None:
        with _opened(command.batch) as file:
            return asker.ask_all(read_lines(file), command.options)
    try:
        prompt = _standard_input().decode() if command.prompt is None else command.prompt
        prompt.encode()
        request = command.options.request_for(prompt.removesuffix("\n").removesuffix("\r"))
    except UnicodeError as exc:
        raise UsageError("The prompt is not UTF-8 text: convert it first.") from exc
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    return asker.ask(command.options, request)


def _prompts(command: BenchLossless | BenchSpeed) -> tuple[PromptLine, ...]:
    try:
        return read_prompts(command.prompts or built_in_prompts(), command.options, command.limit)
    except OSError as exc:
        raise UsageError(f"The prompts in {exc.filename} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise UsageError(str(exc)) from exc


def _bench(command: BenchLossless | BenchSpeed, engine: "BenchEngine", out: TextIO) -> int:
    from engine.bench.arms import control
    from engine.bench.arms.transformers_arms import transformers_arms
    from engine.bench.reports import plot, report
    from engine.bench.runs import lossless, speed

    lines = _prompts(command)
    control_run = isinstance(command, BenchLossless) and command.plan.negative_control
    # Our own order of work may round alike at every width, and then nothing can differ.
    ask.load(engine, replace(command.options.spec(), stock_layers=control_run))
    if isinstance(command, BenchLossless):
        rounding = partial(control.telling_temperature, engine) if control_run else None
        data = lossless.run(engine, lines, command.plan, lossless.engine_margin(engine), rounding)
        text = report.lossless_text(data)
    else:
        own = speed.engine_arms(engine, command.plan.max_nodes)
        arms = (*own, *transformers_arms(engine.loaded, engine.stock_attention))
        data = speed.run(engine, arms, lines, command.plan)
        text = report.speed_text(data)
    report.write(data, text, command.json, out)
    if isinstance(command, BenchSpeed) and command.plot is not None:
        plot.draw(f"Decoding with {data['model']['name']}", plot.speed_panels(data), command.plot)
    return _exit_code(data)


def _replay(command: BenchReplay, out: TextIO) -> int:
    from engine.bench.inputs.transcripts import Tokenizers, read_transcripts
    from engine.bench.reports import plot, report, report_replay
    from engine.bench.runs import replay

    plan = command.plan
    try:
        files = read_transcripts(plan.files, Tokenizers(plan.tokenizers), plan.limit)
    except OSError as exc:
        raise UsageError(f"The conversations in {exc.filename} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if plan.target is not None:
        from engine.bench.reports import report_target
        from engine.bench.runs import replay_target

        data = replay_target.run(files, plan, ask.teller())
        text, panels = report_target.target_text(data), report_target.target_panels(data)
    else:
        data = replay.run(files, plan)
        text, panels = report_replay.replay_text(data), plot.replay_panels(data)
    report.write(data, text, command.json, out)
    if command.plot is not None:
        plot.draw("Drafters over recorded greedy answers", panels, command.plot)
    return _exit_code(data)


def _widths(command: BenchWidths, out: TextIO) -> int:
    from engine.bench.reports import plot, report, report_widths
    from engine.bench.runs import widths

    data = widths.run(command.spec, command.plan, ask.teller())
    report.write(data, report_widths.widths_text(data), command.json, out)
    if command.plot is not None:
        name = f"Forward passes of {data['model']['name']}"
        plot.draw(name, report_widths.widths_panels(data), command.plot)
    return _exit_code(data)


def _exit_code(data: dict[str, Any]) -> int:
    if not data["complete"]:
        return EXIT_INTERRUPTED
    return EXIT_OK if data["passed"] else EXIT_FAILED


def _serve(command: Serve) -> int:
    from app.home import start_log
    from app.setup.environment import Environment
    from app.store.store import Store
    from app.web.server import serve
    from engine.process.child import DEFAULT_COMMAND
    from engine.process.client import EngineProcess

    home = Home.find().create()
    start_log(home)
    return serve(
        home,
        EngineProcess((*DEFAULT_COMMAND, str(home.findings)), log=home.logs / "engine.log"),
        lambda: Store(home.database),
        port=command.port,
        open_browser=command.browser,
        flags=command.spec,
        named=command.named,
        warning=Environment(Path(__file__).parents[1]).warning,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
