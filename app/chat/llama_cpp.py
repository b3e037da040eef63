"""The binding to llama.cpp: whether this Python has it, and its installation while the page goes on."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from app.setup.environment import Environment
from app.setup.llama_cpp.binding import Binding
from app.setup.llama_cpp.child import Build
from app.setup.llama_cpp.steps import Step
from app.setup.prerequisites import SetupError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppState:
    """`step`: how far an installation is that runs now; `error`: why the last one failed, as a sentence.

    `by_hand`: the command that installs it, where the launcher may not. `installed_at`: the loader's
    sequence when an installation began that succeeded; a model that was loaded by then is without it.
    """

    wanted: str
    found: str | None
    by_hand: str | None = None
    step: Step | None = None
    error: str | None = None
    installed_at: int | None = None

    @property
    def ready(self) -> bool:
        return self.found == self.wanted


class LlamaCpp:
    """Installs the binding in a process of its own, which gives way to everything else and ends with this one."""

    def __init__(self, environment: Environment, binding: Binding, variables: Mapping[str, str], *flags: str) -> None:
        """`flags` are those of `app.setup.llama_cpp.__main__`."""
        self._environment, self._binding = environment, binding
        self._variables, self._flags = variables, flags
        self._lock = threading.Lock()
        self._build: Build | None = None
        self._thread: threading.Thread | None = None
        self._cancelled = False
        self.num_changes = 0  # beginnings and ends
        ours = environment.is_running and environment.read_stamp() is not None
        self._state = LlamaCppState(
            wanted=binding.version,
            found=binding.found(),
            by_hand=None if ours else binding.by_hand(environment.root),
        )

    def state(self) -> LlamaCppState:
        with self._lock:
            return self._state

    def start(self, load_sequence: int) -> None:
        """Begin to install, unless that is under way or done."""
        with self._lock:
            if self._build is not None or self._state.ready or self._state.by_hand is not None:
                return
            self._cancelled = False
            flags = ("--background", *self._flags)
            self._build = Build(self._environment.root, *flags, variables=self._variables)
            self._set(step=Step(stage="find", message="beginning"), error=None)
            self._thread = threading.Thread(
                target=self._follow, args=(self._build, load_sequence), name="llama.cpp", daemon=True
            )
            self._thread.start()

    def cancel(self) -> None:
        """End the installation that runs; nothing of it stays."""
        with self._lock:
            self._cancelled = True
            if self._build is not None:
                self._build.cancel()

    def close(self) -> None:
        """Cancel, and wait for the end."""
        self.cancel()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _set(self, **values: object) -> None:
        self._state = replace(self._state, **values)  # type: ignore[arg-type]
        self.num_changes += 1

    def _follow(self, build: Build, load_sequence: int) -> None:
        error = None
        try:
            for step in build.steps():
                with self._lock:
                    self._state = replace(self._state, step=step)
        except SetupError as exc:
            log.info("llama.cpp's binding was not installed: %s", exc)
            error = str(exc)
        except Exception:  # a thread's outermost frame: the page must show it
            log.exception("the installation of llama.cpp's binding failed")
            error = "llama.cpp could not be installed because of an internal error; the log has the details."
        with self._lock:
            found = self._binding.found()
            self._build = None
            installed = load_sequence if error is None else None
            self._set(step=None, error=None if self._cancelled else error, found=found, installed_at=installed)


def is_gguf(path: str) -> bool:
    """Whether this is a GGUF file, by its first bytes: those of other programs have no ending."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False
