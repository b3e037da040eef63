"""One download at a time, beside whatever answers: begun, paused, resumed, cancelled, found again after a restart.

It runs in a process of its own (`engine.models.hub.child`), which has the environment that this one lost. Ending that
process is how a download is paused: what has arrived stays in the Hub's cache, and a new process continues it.
"""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from app.chat.loading import TimeLeft
from app.home import open_log
from engine.errors import EngineBusy
from engine.events import LoadProgress
from engine.models.hub.cache import parts_of
from engine.models.on_disk.finder import hub_cache
from engine.models.well_known import ChatModel, chat_models

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "engine.models.hub.child")  # -P: never import from the current folder
_END_WAIT_S = 2.0  # what a process that is told to end may take; then it is killed, which loses nothing

Status = Literal["running", "paused", "failed", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """How far the download of a model is, in bytes. `error` is one sentence on why it failed."""

    model: ChatModel
    status: Status
    done: int
    total: int
    message: str = ""
    seconds_left: float | None = None
    error: str | None = None


class Downloads:
    """Holds the download that was asked for last; nothing of a single tab.

    `environment`: what a program that reaches the Hub needs, and where its cache is. `stamps`: the folder in which is
    kept which files were found whole. `log_file` takes what the process writes beside its answers.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        stamps: Path | None = None,
        log_file: Path | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._environment = environment
        self._command = (*command,)
        self._stamps = stamps
        self._log_file = log_file
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._num_changes = 0
        self._state = self._left_behind()

    @property
    def state(self) -> Download | None:
        with self._changed:
            return self._state

    @property
    def num_changes(self) -> int:
        """How often a download began, stopped or ended: what every page shows."""
        with self._changed:
            return self._num_changes

    def wait(self, still: Callable[[Download | None], bool], timeout: float) -> Download | None:
        """Wait while the state is such; returns what it is then, or when the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: not still(self._state), timeout)
            return self._state

    def num_partial(self, model: ChatModel) -> int:
        """Bytes of a model's file that an earlier download has left."""
        return sum(_size(part) for part in self._parts(model))

    def begin(self, model: ChatModel) -> None:
        """Begin to download a model, or go on. Raises `EngineBusy` while another one is downloaded."""
        with self._changed:
            earlier = self._thread
            self._require_rest()
        if earlier is not None:
            earlier.join()  # its process is about to end
        with self._changed:
            self._require_rest()
            done = self.num_partial(model)
            self._set(Download(model=model, status="running", done=done, total=model.gguf_bytes), counts=True)
            self._thread = threading.Thread(target=self._run, args=(model,), name="download", daemon=True)
            self._thread.start()

    def _require_rest(self) -> None:
        state = self._state
        if state is not None and state.status == "running":
            raise EngineBusy(f"{state.model.name} is still being downloaded: wait until it is here, or pause it first.")

    def pause(self) -> None:
        """Stop, and keep what has arrived."""
        self._end()

    def cancel(self) -> None:
        """Stop, and remove what has arrived; a model that is here in full stays."""
        self._end()
        with self._changed:
            state = self._state
            if state is not None and state.status != "done":
                for part in self._parts(state.model):
                    part.unlink(missing_ok=True)
            self._set(None, counts=True)

    def dismiss(self) -> None:
        """Say no more of a model that is here in full."""
        with self._changed:
            if self._state is not None and self._state.status == "done":
                self._set(None, counts=True)

    def close(self) -> None:
        """The application ends: what has arrived is found again when it starts."""
        self._end()

    def _end(self) -> None:
        with self._changed:
            thread, process, state = self._thread, self._process, self._state
            if state is None or state.status != "running" or thread is None:
                return
            self._set(replace(state, status="paused", seconds_left=None), counts=True)
        if process is not None:
            _stop(process)
        thread.join()

    def _set(self, state: Download | None, *, counts: bool = False) -> None:
        self._state = state
        self._num_changes += counts
        self._changed.notify_all()

    def _run(self, model: ChatModel) -> None:
        """Start the process and follow it to its end."""
        try:
            self._follow(model)
        except OSError as exc:
            self._fail(f"The download of {model.name} could not be started ({exc}). Try again.")
        except Exception:  # a thread's outermost frame: the page must show it
            log.exception("downloading %s failed", model.name)
            self._fail(f"{model.name} could not be downloaded because of an internal error; the log has the details.")
        finally:
            with self._changed:
                self._process = None

    def _follow(self, model: ChatModel) -> None:
        command = [*self._command, model.model, *([str(self._stamps)] if self._stamps else [])]
        paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [self._environment.get("PYTHONPATH")])]
        with open_log(self._log_file) as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**self._environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"},
            )
        with process:
            with self._changed:
                self._process = process
                wanted = self._state is not None and self._state.status == "running"
            if not wanted:
                _stop(process)
            assert process.stdout is not None
            left = TimeLeft()
            for line in process.stdout:
                self._take(model, json.loads(line), left)
            code = process.wait()
        self._fail(f"The download of {model.name} ended unexpectedly ({code}). What has arrived is kept: resume it.")

    def _take(self, model: ChatModel, said: dict[str, Any], left: TimeLeft) -> None:
        """What the process said becomes the state, unless it was told to stop."""
        with self._changed:
            state = self._state
            if state is None or state.status != "running":
                return
            if "path" in said:
                log.info("%s was downloaded: %s", model.name, said["path"])
                total = state.total
                self._set(replace(state, status="done", done=total, seconds_left=None, message=""), counts=True)
            elif "error" in said:
                self._fail(said["error"])
            else:
                message, done, total = said["message"], said["done"], said["total"]
                step = left.added(LoadProgress(stage="download", message=message, done=done, total=total))
                if total:
                    state = replace(state, done=done, total=total, seconds_left=step.seconds_left)
                self._set(replace(state, message=message))

    def _fail(self, sentence: str) -> None:
        """Show a failure, unless the download was told to stop or has ended already."""
        with self._changed:
            state = self._state
            if state is not None and state.status == "running":
                log.warning("%s", sentence)
                self._set(replace(state, status="failed", error=sentence, seconds_left=None), counts=True)

    def _parts(self, model: ChatModel) -> list[Path]:
        cache = hub_cache(self._environment, Path.home())
        return parts_of(cache / f"models--{model.repository.replace('/', '--')}", model.file)

    def _left_behind(self) -> Download | None:
        """The newest download that an earlier start of the application did not finish."""
        found = [(part, model) for model in chat_models() for part in self._parts(model)]
        if not found:
            return None
        _, model = max(found, key=lambda pair: _changed_at(pair[0]))
        return Download(model=model, status="paused", done=self.num_partial(model), total=model.gguf_bytes)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Tell the process to end, and end it where it does not listen."""
    assert process.stdin is not None
    with suppress(OSError):  # it may just have ended
        process.stdin.close()
    try:
        process.wait(_END_WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:  # it has just become whole
        return 0


def _changed_at(part: Path) -> float:
    try:
        return part.stat().st_mtime
    except OSError:
        return 0.0
