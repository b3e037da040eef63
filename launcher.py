"""Prove or build the environment, then hand over to the application.

Standard library only (`app.setup` included), and it must parse on Python 3.8, so that an old interpreter gets a
sentence instead of a syntax error.

The steps of a start: `parse` the command line; `prove` which interpreter has what pyproject.toml asks for (the running
one, else that of `.venv`, which is built if it is missing); `hand_over` to it: this same file runs again there, with
the environment variables that must be set before any library is loaded, and calls `app.main.main`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent
PROVEN = "SLIPSTREAM_PROVEN"  # set at hand-over: the run in the proven interpreter does not prove it again
EXTRAS: Dict[Optional[str], Tuple[str, ...]] = {"test": ("test",), "lint": ("dev",)}
OURS = ("--repair", "--with-llama-cpp")  # the application knows nothing of these
COMMANDS = ("serve", "url", "ask", "bench", "train-drafter", "test", "lint")
OF_APPLICATION = ("serve", "url", "ask", "bench", "train-drafter")  # the application reads what follows them
VALUE_FLAGS = (
    *(
        "--home",
        "--port",
        "--host",
        "--api-origin",
        "--engine",
        "--engine-key",
        "--model",
        "--dtype",
        "--device",
        "--threads",
        "--quant",
        "--backend",
    ),
    *("--adapter", "--drafter-pack", "--memory-tokens", "--max-context", "--language"),
)
LINTS: Dict[str, Tuple[str, ...]] = {
    "ruff-check": ("-m", "ruff", "check", "."),
    "ruff-format": ("-m", "ruff", "format", "--check", "."),
    "mypy": ("-m", "mypy"),
    "imports": ("-c", "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())"),
}


class Request(NamedTuple):
    """The command line, as far as the launcher cares."""

    command: Optional[str]
    flags: Tuple[str, ...]  # before the command
    rest: Tuple[str, ...]  # after it
    argv: Tuple[str, ...]  # all, for the application

    @property
    def offline(self) -> bool:
        return "--offline" in self.flags or (self.command in OF_APPLICATION and "--offline" in self.rest)

    @property
    def help(self) -> bool:
        return any(word in ("-h", "--help") for word in (*self.flags, *self.rest))


def near(word: str, known: Sequence[str]) -> str:
    """The known word that was probably meant, as the end of a sentence; nothing where none is like it."""
    like = difflib.get_close_matches(word.split("=")[0].replace("_", "-"), known, 1)
    return f" (did you mean {like[0]}?)" if like else ""


def parse(argv: Sequence[str]) -> Request:
    """Split the command line at the command; raises `ValueError` for a command or a code check that does not exist."""
    from app.setup.help import HELP

    flags: List[str] = []
    value_follows = False
    for i, word in enumerate(argv):
        if value_follows:
            value_follows = False
        elif word.startswith("-"):
            flags.append(word)
            value_follows = word in VALUE_FLAGS
        elif word in COMMANDS:
            unknown = [name for name in argv[i + 1 :] if name not in LINTS] if word == "lint" else []
            if unknown and not {"-h", "--help"} & set(unknown):
                raise ValueError(f"There is no check {unknown[0]!r}; there are {', '.join(LINTS)}.")
            head = [other for other in argv[:i] if other not in OURS]
            return Request(word, tuple(flags), tuple(argv[i + 1 :]), (*head, *argv[i:]))
        else:
            known = re.findall(r"--[a-z-]+", HELP)
            unknown = [flag for flag in flags if flag.startswith("--") and flag.split("=")[0] not in known]
            if unknown:  # and what follows was meant for it
                raise ValueError(
                    f"There is no flag {unknown[0]} before a command{near(unknown[0], known)}. See --help."
                )
            raise ValueError(
                f"There is no command {word!r}{near(word, COMMANDS)}; there are {', '.join(COMMANDS)}. See --help."
            )
    return Request(None, tuple(flags), (), tuple(word for word in argv if word not in OURS))


def too_old() -> str:
    """The message for a Python that is too old; it names a newer one that is installed, if there is one."""
    import shutil

    text = f"Slipstream needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable})."
    for minor in (14, 13, 12, 11):
        found = shutil.which(f"python3.{minor}")
        proof = "import sys; sys.exit(sys.version_info < (3, 11))"
        if found and subprocess.run([found, "-c", proof], stderr=subprocess.DEVNULL).returncode == 0:
            return f"{text} Use the one that is installed: {found} {Path(__file__).name}"
    return f"{text} Install a newer one and run this file with it."


def prove(request: Request) -> Optional[str]:
    """The interpreter that has what pyproject.toml asks for; None if it must be set up first."""
    from app.setup.environment import Environment, missing

    environment = Environment(ROOT)
    extras = EXTRAS.get(request.command, ())
    if "--repair" in request.flags:
        return None
    if not environment.is_running and not missing(environment.requirements(extras)):
        return sys.executable
    return None if environment.fault(extras) else str(environment.python)


def set_up(request: Request) -> int:
    """Build what is missing; returns 0, or an exit code after printing the reason."""
    from app.commands import cli, flags
    from app.setup import installer
    from app.setup.environment import Environment
    from app.setup.prerequisites import SetupError

    signal.signal(signal.SIGTERM, interrupted)  # a set-up leaves no child behind
    extras, repair = EXTRAS.get(request.command, ()), "--repair" in request.flags
    try:
        if request.command in (None, *OF_APPLICATION):
            cli.parse(list(request.argv))  # a mistyped flag must not cost a set-up first
        installer.set_up(Environment(ROOT), extras, repair=repair, offline=request.offline)
    except flags.UsageError as error:
        return failed(error, 2, request)
    except SetupError as error:
        return failed(error, 1, request)
    except KeyboardInterrupt:
        print(
            "\nThe set-up was interrupted; nothing outside .venv was changed. Run `python launcher.py` again: it "
            "continues where it stopped (with --repair: from the beginning).",
            file=sys.stderr,
        )
        return 130
    return 0


def add_llama_cpp(python: str, request: Request) -> int:
    """Install the binding to llama.cpp where it is missing; returns 0, or an exit code after printing the reason."""
    from app.commands import cli, flags
    from app.setup.environment import Environment
    from app.setup.llama_cpp import child
    from app.setup.llama_cpp.binding import Binding
    from app.setup.prerequisites import SetupError

    environment, binding = Environment(ROOT), Binding.read(ROOT)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        if request.command in (None, *OF_APPLICATION):
            cli.parse(list(request.argv))  # a mistyped flag must not cost a build first
        if python == str(environment.python):
            child.add_binding(environment, *(["--offline"] if request.offline else []))
        elif binding is not None and binding.found() != binding.version:
            raise SetupError(
                f"{python} has every package already, and the launcher installs nothing into a Python that it has not "
                f"made. Install the binding to llama.cpp there yourself: {binding.by_hand(ROOT, python)}"
            )
    except flags.UsageError as error:
        return failed(error, 2, request)
    except SetupError as error:
        return failed(error, 1, request)
    except KeyboardInterrupt:
        print(
            "\nThe build was interrupted; nothing was installed, and everything else works without it. Run "
            "`python launcher.py --with-llama-cpp` again to build it.",
            file=sys.stderr,
        )
        return 130
    return 0


def variables(python: str, offline: bool) -> Dict[str, str]:
    """The environment for the application and its children."""
    env = dict(os.environ)
    path = [str(ROOT)]
    if python == sys.executable:
        path += filter(None, [env.get("PYTHONPATH")])  # it may be what makes this interpreter fit
    else:
        env.pop("PYTHONHOME", None)
        env["PYTHONNOUSERSITE"] = "1"
    env["PYTHONPATH"] = os.pathsep.join(path)
    env["PYTHONSAFEPATH"] = "1"  # in another project's folder, its modules must not hide ours
    env.setdefault("PYTHONUTF8", "1")
    if "OMP_WAIT_POLICY" not in env:
        env.update(OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="2000")  # engine/__init__.py says why
    env["GRADIO_ANALYTICS_ENABLED"] = "False"
    env["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if offline:
        env["HF_HUB_OFFLINE"] = "1"
    return env


def run_child(command: Sequence[str], env: Dict[str, str]) -> int:
    """Run a child to its end; Ctrl-C reaches it directly, and its exit code is ours."""
    process = subprocess.Popen(command, env=env)
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, former)


def become(command: Sequence[str], env: Dict[str, str]) -> int:
    """Replace this process by another program. Windows would detach it, so there it runs as a child."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":
        return run_child(command, env)
    return os.execve(command[0], list(command), env)


def hand_over(python: str, request: Request) -> int:
    """Run what was asked for in the proven interpreter."""
    env = variables(python, request.offline)
    if request.command == "test":
        os.chdir(str(ROOT))
        return become([python, "-m", "pytest", *request.rest], env)
    if request.command == "lint":
        os.chdir(str(ROOT))
        return lint(python, request.rest, env)
    return become([python, str(ROOT / "launcher.py"), *request.argv], {**env, PROVEN: "1"})


def lint(python: str, names: Sequence[str], env: Dict[str, str]) -> int:
    """Run the code checks, all or those named; returns 0 if every one passed."""
    wrong = []
    for name in names or LINTS:
        print(f"== {name}", flush=True)
        code = run_child([python, *LINTS[name]], env)
        if code in (130, -signal.SIGINT):
            return 130
        if code != 0:
            wrong.append(name)
    print(f"Failed: {', '.join(wrong)}." if wrong else "All code checks passed.", flush=True)
    return 1 if wrong else 0


def run_application(request: Request) -> int:
    """Call the application in this process, which is the proven interpreter."""
    from app.setup.environment import Environment
    from app.setup.llama_cpp.binding import Binding, about

    environment = Environment(ROOT)
    if "--check" in request.flags:
        ours = environment.is_running and environment.read_stamp() is not None
        made = "set up by the launcher" if ours else "not made by the launcher, which installs nothing into it"
        print(f"environment {sys.prefix} ({made})", flush=True)
        print(about(Binding.read(ROOT), ROOT, ours), flush=True)
    if environment.warning:
        print(environment.warning, file=sys.stderr, flush=True)
    from app.main import main as application

    return application(list(request.argv))


def interrupted(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def answer(request: Request) -> int:
    """Print what --help or --version asks for; needs no environment."""
    from app.commands import cli
    from app.setup.help import HELP

    if not request.help:
        print(f"slipstream {cli.version()}")
    elif request.command in OF_APPLICATION:
        cli.build_parser().parse_args(request.argv)  # prints and exits
    else:
        print(HELP, end="")
    return 0


def failed(error: Exception, code: int, request: Request) -> int:
    """Print why the start failed; with `ask --json` as an object on standard output, too."""
    print(f"{getattr(error, 'usage', '')}{error}", file=sys.stderr)
    if request.command == "ask" and "--json" in request.rest:
        print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}))
    return code


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    if sys.version_info < (3, 11):
        print(too_old(), file=sys.stderr)
        return 1
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    try:
        request = parse(argv)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if os.environ.pop(PROVEN, None):
        return run_application(request)
    if request.help or "--version" in request.flags:
        return answer(request)
    from app.setup.environment import Environment

    python = prove(request)
    if python is None:
        code = set_up(request)
        if code != 0:
            return code
        python = str(Environment(ROOT).python)
    if "--with-llama-cpp" in request.flags:
        code = add_llama_cpp(python, request)
        if code != 0:
            return code
    return hand_over(python, request)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
