"""An `EngineProcess` whose child runs a scripted engine, for the tests of the engine's process."""

import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import GenerationRequest, Message, ModelSpec
from engine.events import Finished
from engine.process.client import EngineProcess

ROOT = Path(__file__).resolve().parents[1]
SPEC = ModelSpec(model="scripted")
REQUEST = GenerationRequest(messages=(Message.of("user", "Say something about the weather in the mountains."),))
PATIENCE_S = 20.0  # for things that take milliseconds on an idle machine; reaching it is the failure

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


class Starter:
    """Builds engines whose scripts lie in `folder`, and closes them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._engines: list[EngineProcess] = []

    def __call__(self, parameters: str = "", *, before: str = "", stop_timeout_s: float = 60.0) -> EngineProcess:
        """A child that runs `ScriptedEngine(<parameters>)`, after the lines of `before`."""
        script = write_script(self.folder / f"worker{len(self._engines)}.py", parameters, before)
        log = self.folder / "engine.log"
        self._engines.append(EngineProcess([sys.executable, str(script)], log=log, stop_timeout_s=stop_timeout_s))
        return self._engines[-1]

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


def write_script(path: Path, parameters: str, before: str) -> Path:
    """A worker with a scripted engine; `Engine` may be redefined, `HERE` is the script's folder."""
    lines = f"""
import os, sys, time, threading
from pathlib import Path
from tests.scripted import ScriptedEngine
from engine.process.worker import run
from engine.errors import *
HERE = Path({str(path.parent)!r})
Engine = ScriptedEngine
{textwrap.dedent(before)}
if __name__ == "__main__":
    sys.exit(run(lambda: Engine({parameters})))
"""
    path.write_text(lines, encoding="utf-8")
    return path


def load(engine: EngineProcess, spec: ModelSpec = SPEC) -> int:
    """Load, and return the child's process id."""
    assert [event.stage for event in engine.load(spec)][-1] == "ready"
    assert engine.pid is not None
    return engine.pid


def answer(engine: EngineProcess, request: GenerationRequest = REQUEST) -> Finished:
    last = list(engine.generate(request))[-1]
    assert isinstance(last, Finished)
    return last


def is_absent(engine: EngineProcess) -> bool:
    return (engine.info, engine.pid, engine.status.state) == (None, None, "absent")


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.parent.parent.joinpath("self").exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
