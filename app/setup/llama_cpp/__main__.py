"""The program that gets the binding's wheel and installs it: `python -m app.setup.llama_cpp ROOT [flags]`.

A process of its own, so that it ends with whoever started it: its standard input is a pipe, and the pipe's end is the
request to stop. It prints steps, then a result or an error, as JSON lines. Standard library only.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

from app.setup.environment import Environment
from app.setup.installer import Installer
from app.setup.llama_cpp.binding import Binding
from app.setup.llama_cpp.steps import Step
from app.setup.llama_cpp.wheel import INDEX, Stopped, Wheels
from app.setup.prerequisites import SetupError, lock


def answer(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever started this one has died, and the end follows
        print(line, flush=True)


def report(step: Step) -> None:
    answer(step.to_line())


def install(environment: Environment, wheel: Path, *, offline: bool) -> None:
    """Put the finished wheel into `.venv`."""
    report(Step(stage="install", message="installing"))
    with lock(environment.root / "pyproject.toml") as handle:
        Installer(environment, handle, offline).install_wheel(wheel)


def main(argv: list[str]) -> int:
    """Flags: `--offline`; `--background`: let everything else go first; `--wheel`: install nothing; `--index URL`."""
    root, flags = Path(argv[0]), argv[1:]
    index = flags[flags.index("--index") + 1] if "--index" in flags else INDEX
    environment, offline, background = Environment(root), "--offline" in flags, "--background" in flags
    binding = Binding.read(root)
    assert binding is not None
    wheels = Wheels(environment, binding, report, offline=offline, background=background, index=index)

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written: this is the pipe's end
        wheels.children.stop()

    for name in ("SIGINT", "SIGHUP"):  # a terminal sends them to whoever started this one as well
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=wheels.children.stop).start())
    threading.Thread(target=watch, daemon=True).start()
    try:
        wheel = wheels.get()
        if "--wheel" not in flags:
            install(environment, wheel, offline=offline)
    except Stopped:
        return 130
    except (SetupError, OSError) as error:
        answer(json.dumps({"error": str(error)}))
        return 1
    answer(json.dumps({"wheel": str(wheel)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
