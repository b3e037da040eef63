"""Starts the program that gets the binding, reads how far it is, and ends it.

Standard library only: the launcher imports it.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from app.setup.environment import Environment
from app.setup.llama_cpp.binding import Binding
from app.setup.llama_cpp.steps import Step, in_words
from app.setup.prerequisites import SetupError, say

CODE = Path(__file__).resolve().parents[3]  # the folder of `app`
END_WAIT_S = 20.0  # it gives its compilers three seconds
BELOW_NORMAL = 0x4000  # Windows' priority class; elsewhere the program lowers its children's
SAID_EVERY_S = 10.0


class Build:
    """One run of the program; it ends when this process does. `flags` as in `app.setup.llama_cpp.__main__`."""

    def __init__(self, root: Path, *flags: str, variables: Mapping[str, str] = os.environ) -> None:
        quiet = "--background" in flags
        gone = ("PYTHONHOME", "__PYVENV_LAUNCHER__")
        kept = {name: value for name, value in variables.items() if name not in gone}
        self._process = subprocess.Popen(
            [str(Environment(root).python), "-P", "-m", "app.setup.llama_cpp", str(root), *flags],
            env={**kept, "PYTHONPATH": str(CODE), "PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            text=True,
            encoding="utf-8",
            creationflags=BELOW_NORMAL if sys.platform == "win32" and quiet else 0,
        )
        self._cancelled = False

    def steps(self) -> Generator[Step, None, Path]:
        """Yield the steps, to the end; returns the wheel's path. Raises `SetupError`, also after `cancel`."""
        try:
            return (yield from self._read())
        finally:
            self.cancel()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_WAIT_S)
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def _read(self) -> Generator[Step, None, Path]:
        error = ""
        for line in self._process.stdout or ():
            said = json.loads(line)
            if "step" in said:
                yield Step(**said["step"])
            elif "wheel" in said:
                return Path(said["wheel"])
            else:
                error = said["error"]
        code = self._process.wait()
        if self._cancelled:
            raise SetupError("The build was cancelled; nothing was installed.")
        raise SetupError(error or f"The build of llama.cpp's binding was ended from outside (exit {code}): try again.")

    def cancel(self) -> None:
        """Ask the program to end; what it began is removed."""
        self._cancelled = True
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()


def told(steps: Generator[Step, None, Path], clock: Callable[[], float] = time.monotonic) -> Path:
    """Print the steps, one line every ten seconds or for a new stage; returns the wheel's path. Raises `SetupError`."""
    said, last_s = "", float("-inf")
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return Path(end.value)
        about = step.message if step.total is None else step.stage
        if about != said or clock() - last_s >= SAID_EVERY_S:
            say(f"  {in_words(step)}")
            said, last_s = about, clock()


def add_binding(environment: Environment, *flags: str) -> None:
    """Install the pinned binding to llama.cpp into `.venv`, unless it is there; raises `SetupError`.

    `flags` are those of `app.setup.llama_cpp.__main__`.
    """
    binding = Binding.read(environment.root)
    if binding is None:
        raise SetupError("This copy of Slipstream names no binding to llama.cpp: assets/llama-cpp.txt is missing.")
    if binding.found(environment.present_packages()) == binding.version:
        return
    say(f"Slipstream installs {binding.requirement}, the binding to llama.cpp, into {environment.venv}.")
    told(Build(environment.root, *flags).steps())
    say(f"Ready: {binding.requirement}. GGUF models can be computed by llama.cpp from now on.")
