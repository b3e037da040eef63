"""Get the binding's wheel: the one that is kept, else a ready one from the project's index, else one compiled here.

A wheel becomes one that is kept in one step, after a program has loaded its library. What was begun and not finished
lies in one folder, which the next attempt removes. Standard library only: the launcher imports it.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from app.setup.environment import WINDOWS, Environment
from app.setup.llama_cpp.binding import PIN, Binding, processor, wheel_folder
from app.setup.llama_cpp.compiler import has_compiler, how_to_get_one
from app.setup.llama_cpp.steps import CompileClock, Stage, Step
from app.setup.prerequisites import SetupError, check_disk, lock
from app.setup.torch_build import reachable

INDEX = "https://abetlen.github.io/llama-cpp-python/whl/cpu"  # its x86 wheels need AVX2
DISK_GB = 0.9  # while it is compiled: archive, sources, objects, wheel
END_WAIT_S = 3.0
NO_IMAGES = "-DLLAVA_BUILD=OFF"  # a quarter of the files, for what models see and hear

# What the engine imports: the functions alone, not the package, which needs more packages than are installed.
LOAD = """
import sys, types
package = types.ModuleType("llama_cpp")
package.__path__ = [sys.argv[1] + "/llama_cpp"]
sys.modules["llama_cpp"] = package
from llama_cpp import llama_cpp
llama_cpp.llama_backend_init()
"""
SAID = (  # what pip and the build print -> what is going on
    (re.compile(r"\s*Downloading llama_cpp_python\S* \((.*)\)"), "download", "downloading, {}"),
    (re.compile(r"\s*Installing build dependencies"), "prepare", "preparing the tools to compile it with"),
    (re.compile(r"\s*\*\*\* Configuring CMake"), "prepare", "configuring"),
    (re.compile(r"\s*\*\*\* Making wheel"), "prepare", "packing"),
)
COUNTED = re.compile(r"\s*\[(\d+)/(\d+)\]")
WRONG = re.compile(r"(?:fatal )?error:? .*|CMake Error.*|ERROR: .*|\w*Error: .*")


class Stopped(Exception):
    """Somebody asked for an end."""


class Children:
    """Runs one child at a time, with all that it starts; `stop` ends it, from any thread.

    In the `background` everything else on the machine goes first.
    """

    def __init__(self, *, background: bool) -> None:
        self._background = background
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _end(self._process)

    def check(self) -> None:
        """Raise `Stopped` where an end was asked for."""
        if self._stopped:
            raise Stopped

    def run(
        self, command: list[str], environment: dict[str, str], log: Path, keep_open: int, line: Callable[[str], None]
    ) -> int:
        """Run a child to its end; each line that it prints goes to `line` and into the log. Raises `Stopped`."""
        with self._lock:
            self.check()
            # A group, not a session: `nice` holds between the processes of one session only, on desktops.
            group = {"creationflags": 0x200} if WINDOWS else {"process_group": 0, "pass_fds": (keep_open,)}
            self._process = process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, encoding="utf-8", errors="replace", **group,
            )  # fmt: skip
            if self._background and sys.platform != "win32":  # there it is inherited
                os.setpriority(os.PRIO_PGRP, process.pid, 19)
        try:
            with log.open("a", buffering=1, encoding="utf-8") as kept:
                print("$", *command, file=kept)
                for text in process.stdout or ():
                    kept.write(text)
                    line(text.rstrip())
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()
            with self._lock:
                self._process = None
        self.check()
        return code


def _end(process: subprocess.Popen[str]) -> None:
    """End a child with all that it started: what is begun lies in a folder that is removed."""
    if WINDOWS:
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)  # ninja ends its compilers, each in a group of its own
        until = time.monotonic() + END_WAIT_S
        while time.monotonic() < until:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


class Wheels:
    """One search for one wheel; `report` is told how far it is."""

    def __init__(
        self,
        environment: Environment,
        binding: Binding,
        report: Callable[[Step], None],
        *,
        offline: bool = False,
        background: bool = False,
        index: str = INDEX,
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        self.environment, self.binding, self.report = environment, binding, report
        self.offline, self.index, self.variables = offline, index, variables
        self.children = Children(background=background)
        self.kept = wheel_folder(binding, variables)
        self.folder = self.kept.parent
        self.work = self.folder / "work"  # short: on Windows a path has 260 characters
        self.log = self.folder / "build.log"
        self._keep_open = -1
        self._wrong = ""  # the first complaint of the child that ran last

    def get(self) -> Path:
        """The path of the wheel. Raises `SetupError` where it cannot be had, `Stopped` where an end was asked for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        guard = self.folder / "lock"
        guard.touch()
        with lock(guard, self._wait) as self._keep_open:
            self._clear()
            try:
                found = self._kept_one()
                if found is None:
                    if self.offline:
                        raise SetupError(
                            f"{self.binding.package} is not on this machine yet and cannot be had without the network: "
                            "run this once without --offline."
                        )
                    self.log.unlink(missing_ok=True)
                    found = self._keep(self._ready_one() or self._compiled_one())
                return found
            finally:
                self._clear()

    def _wait(self) -> None:
        self.children.check()
        self._say("wait", "another build of it is running; waiting for that one")

    def _clear(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)

    def _say(self, stage: Stage, message: str) -> None:
        self.report(Step(stage=stage, message=message))

    def _kept_one(self) -> Path | None:
        for wheel in self.kept.glob("*.whl"):
            if self._loads(wheel):
                return wheel
            wheel.unlink()  # a system library that it needs has changed
        return None

    def _keep(self, wheel: Path) -> Path:
        self.kept.mkdir(exist_ok=True)
        kept = self.kept / wheel.name
        os.replace(wheel, kept)
        shutil.rmtree(self.kept / "pip", ignore_errors=True)
        return kept

    def _ready_one(self) -> Path | None:
        """A wheel from the project's own index; None where there is none that runs here."""
        flags = re.search(r"^flags\s.*", processor(), re.MULTILINE)
        if flags is not None and " avx2" not in flags[0]:
            return None
        self._say("find", "looking for a ready wheel")
        if self.index.startswith("https:") and not reachable(f"{self.index}/{self.binding.package}/"):
            return None
        options = ["--only-binary", ":all:", "--index-url", self.index, "--dest", str(self._scratch("ready"))]
        if self._pip("download", *options, self.binding.requirement) != 0:
            return None
        wheel = self._made("ready")
        return wheel if wheel is not None and self._loads(wheel) else None

    def _compiled_one(self) -> Path:
        """Compile the published source archive, whose hash pip checks."""
        name = self.binding.requirement
        if not has_compiler(self.variables):
            raise SetupError(
                f"There is no ready wheel of {name} for this machine, and no C++ compiler to build it with: install "
                f"one ({how_to_get_one()}), then run this again."
            )
        check_disk(self.folder, DISK_GB)
        self._say("find", "looking for the source archive")
        pin = str(self.environment.root / PIN)
        options = ["-v", "--no-binary", self.binding.package, "--wheel-dir", str(self._scratch("built"))]
        code = self._pip("wheel", *options, "--require-hashes", "-r", pin)
        wheel = self._made("built")
        if code != 0 or wheel is None:
            raise SetupError(
                f"{name} could not be built ({self._wrong[:200] or f'exit {code}'}); all that was said is in "
                f"{self.log}. Check the network and the free disk space, then run this again."
            )
        if not self._loads(wheel):
            raise SetupError(
                f"{name} was built, but it does not load ({self._wrong[:200]}); all that was said is in {self.log}."
            )
        return wheel

    def _loads(self, wheel: Path) -> bool:
        """Whether a program can load what is in the wheel."""
        self._say("test", "loading it once")
        site = self._scratch("site")
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
        except zipfile.BadZipFile:
            return False
        command = [str(self.environment.python), "-c", LOAD, str(site)]
        return self._run(command, self._variables()) == 0

    def _scratch(self, name: str) -> Path:
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _made(self, name: str) -> Path | None:
        return next((self.work / name).glob("*.whl"), None)

    def _variables(self) -> dict[str, str]:
        """For the children: none of another environment, temporary files where they are found again.

        pip's cache is one for this processor, and lasts until there is a wheel: an interrupted download is not lost.
        """
        gone = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__", "PYTHONSAFEPATH")
        env = {name: value for name, value in self.variables.items() if name not in gone}
        scratch = str(self._scratch("t"))
        arguments = f"{env.get('CMAKE_ARGS', '')} {NO_IMAGES}".strip()
        return {
            **env,
            **{"TMPDIR": scratch, "TEMP": scratch, "TMP": scratch, "PIP_CACHE_DIR": str(self.kept / "pip")},
            **{"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1", "PIP_USER": "0", "CMAKE_ARGS": arguments},
        }

    def _pip(self, command: str, *arguments: str) -> int:
        options = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--no-deps"]
        return self._run([str(self.environment.python), "-m", "pip", command, *options, *arguments], self._variables())

    def _run(self, command: list[str], variables: dict[str, str]) -> int:
        self._wrong, clock = "", CompileClock()

        def line(text: str) -> None:
            if counted := COUNTED.match(text):
                if step := clock.at(int(counted[1]), int(counted[2])):
                    self.report(step)
                return
            for pattern, stage, message in SAID:
                if found := pattern.match(text):
                    self._say(stage, message.format(*found.groups()))  # type: ignore[arg-type]
            if not self._wrong and (complaint := WRONG.search(text)):
                self._wrong = complaint[0]

        return self.children.run(command, variables, self.log, self._keep_open, line)
