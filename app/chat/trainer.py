"""One training of a drafter at a time, beside the chat: begun, paused, resumed, cancelled, found again after a restart.

It is `train-drafter` in a process of its own: a crash harms nothing else, and its memory is free when it has ended.
While anybody is answered, or the engine measures its rounds, that process stands still: it keeps its memory, and
computes nothing. What it has learned is kept on disk however it ends, so a person's pause ends it.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import psutil

from app.chat.training_note import Note, Order, order_for
from app.home import open_log
from engine.config import ModelSpec
from engine.errors import EngineBusy, EngineError
from engine.events import ModelInfo
from engine.models.catalog import read_checkpoint
from engine.training.forecast import Forecast, disk_of_heads, seconds_of_heads

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "app.main", "train-drafter")  # -P: never import from the current folder
REST_S = 10.0  # after an answer: a person reads it, and writes the next message
LOOKED_S = 0.5
# What a page can do about it, where `train-drafter` names its flags
_ADVICE = {"NotEnoughDisk": "make room there, and try again", "OtherTraining": "discard it, and train anew"}

Status = Literal["running", "resting", "paused", "failed", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """How far a training is. `share`: of all that it computes. `memory_bytes`: what its process holds while it rests.

    `error`: why it failed, as a sentence. `tokens_per_round`: what the pack brings by itself, once it is done;
    `sequence`: the loader's at that moment.
    """

    order: Order
    status: Status
    stage: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    memory_bytes: int | None = None
    error: str | None = None
    tokens_per_round: float | None = None
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What training a drafter takes here, about; the disk for a while."""

    seconds: float
    disk_bytes: int


def why_not(info: ModelInfo) -> str | None:
    """Why no drafter can be trained for a loaded model, as a sentence."""
    if info.server is not None:
        return "Drafters are trained for models on this machine: load one."
    if info.backend != "torch":
        return "Drafters are trained for what torch computes: start the application with --backend torch."
    return None


def cost_of(info: ModelInfo) -> Cost | None:
    """Told from the rounds that were measured; None while that has not been done, or where none can be trained."""
    if why_not(info) is not None or not info.cost_curve:
        return None
    sizes = _sizes(info.path, info.name)
    if sizes is None:
        return None
    hidden_size, vocab_size = sizes
    seconds = seconds_of_heads(info.num_parameters, hidden_size, vocab_size, info.cost_curve)
    return Cost(seconds=seconds, disk_bytes=disk_of_heads(hidden_size, vocab_size))


@lru_cache(maxsize=8)
def _sizes(path: str, name: str) -> tuple[int, int] | None:
    """Numbers of a hidden state, and tokens of the vocabulary; None where the files have gone."""
    try:
        config = read_checkpoint(Path(path), name).config
        return int(config["hidden_size"]), int(config["vocab_size"])
    except (EngineError, OSError, KeyError, ValueError):
        return None


class Trainer:
    """Holds the training that was asked for last; nothing of a single tab.

    `packs`: the folder of trained drafters, in which a note says what is being trained. `environment`: for the process,
    whose log is `log_file`.
    """

    def __init__(
        self,
        packs: Path,
        environment: Mapping[str, str],
        log_file: Path | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._packs = packs
        self._environment = environment
        self._log_file = log_file
        self._command = (*command,)
        self._preparing: Callable[[], bool] = lambda: False
        self._sequence: Callable[[], int] = lambda: 0
        self._acting = threading.RLock()  # one person's wish at a time; the system is waited for under it
        self._changed = threading.Condition()  # guards what follows; under it nothing else is waited for or asked
        self._process: psutil.Popen | None = None
        self._thread: threading.Thread | None = None
        self._busy = False  # somebody is answered
        self._quiet_s = -REST_S  # since when nobody is
        self._rested_s = 0.0  # for how long the process has stood still, in all
        self._resting_since: float | None = None
        self.num_changes = 0
        self._note = Note(packs)
        self._note.end_process()
        order = self._note.read()
        self._state = None if order is None else TrainingState(order=order, status="paused")

    def order(self, info: ModelInfo, spec: ModelSpec) -> Order:
        """What trains a drafter for a loaded model, as it was loaded."""
        return order_for(self._packs, info, spec)

    def attend(self, preparing: Callable[[], bool], sequence: Callable[[], int]) -> None:
        """Be told whether the engine measures its rounds, and the loader's sequence."""
        self._preparing, self._sequence = preparing, sequence

    @property
    def state(self) -> TrainingState | None:
        with self._changed:
            return self._state

    def wait(self, still: Callable[[TrainingState | None], bool], timeout: float) -> TrainingState | None:
        """Wait while the state is such; returns what it is then, or when the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: not still(self._state), timeout)
            return self._state

    def answering(self, busy: bool) -> None:
        """Somebody is being answered from now on, or nobody is. Waits for nothing."""
        with self._changed:
            self._busy = busy
            if not busy:
                self._quiet_s = time.monotonic()
            self._rest_or_go(False)

    def begin(self, order: Order) -> None:
        """Begin to train, or go on. Raises `EngineError` while another training runs, or where it cannot be noted."""
        with self._acting:
            state = self.state
            if state is not None and state.status in ("running", "resting"):
                raise EngineBusy(f"A drafter for {state.order.name} is being trained: wait for it, or cancel it first.")
            if self._thread is not None:
                self._thread.join()  # its process is about to end
            try:
                self._note.write(order)
            except OSError as exc:
                raise EngineError(f"{self._packs} cannot be written ({exc.strerror}): make room there.") from exc
            with self._changed:
                self._set(TrainingState(order=order, status="running"), counts=True)
                self._thread = threading.Thread(target=self._run, args=(order,), name="training", daemon=True)
                self._thread.start()

    def resume(self) -> None:
        """Go on with what was paused or has failed."""
        with self._acting:
            state = self.state
            if state is not None and state.status in ("paused", "failed"):
                self.begin(state.order)

    def pause(self) -> None:
        """End the process, which gives its memory back, and keep what it has."""
        with self._acting:
            with self._changed:
                thread, process, state = self._thread, self._process, self._state
                if state is None or state.status not in ("running", "resting"):
                    return
                self._set(replace(state, status="paused", seconds_left=None, memory_bytes=None), counts=True)
            if process is not None:
                _kill(process)
            if thread is not None:
                thread.join()

    def cancel(self) -> None:
        """Stop, and remove what was written; a pack that is whole stays."""
        with self._acting:
            self.pause()
            state = self.state
            if state is None:
                return
            self._note.remove()
            with self._changed:
                self._set(None, counts=True)
            pack = Path(state.order.pack).resolve()
            if state.status != "done" and pack.parent == self._packs.resolve():
                whole = (pack / "config.json").exists()
                shutil.rmtree(pack / "training" if whole else pack, ignore_errors=True)

    def close(self) -> None:
        """The application ends: a later start finds what was being trained."""
        self.pause()

    def _set(self, state: TrainingState | None, *, counts: bool = False) -> None:
        self._state = state
        self.num_changes += counts
        self._changed.notify_all()

    # The thread that starts the process and reads what it says; the system ends the process with this thread

    def _run(self, order: Order) -> None:
        try:
            self._follow(order)
        except OSError as exc:
            self._fail(f"The training could not be started ({exc}). Try again.")
        except Exception:  # a thread's outermost frame: the page must show it
            log.exception("the training of a drafter for %s failed", order.name)
            self._fail("The training failed because of an internal error; the log has the details.")
        finally:
            with self._changed:
                self._process = None

    def _follow(self, order: Order) -> None:
        paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [self._environment.get("PYTHONPATH")])]
        with open_log(self._log_file) as errors:
            process = psutil.Popen(
                [*self._command, *order.arguments, "--json", "--out", order.pack],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**self._environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"},
            )
        with suppress(psutil.Error):
            process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else 19)
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(ended,), name="training-rests", daemon=True)
        try:
            with self._changed:
                self._process = process
                self._rested_s, self._resting_since = 0.0, None
                wanted = self._state is not None and self._state.status == "running"
            if not wanted:
                _kill(process)
            watch.start()
            self._note.write(order, process)
            forecast = Forecast({})
            for said in map(_said, process.stdout):
                if "work" in said:
                    forecast = Forecast(said["work"], self._worked_s)
                elif "pack" in said:
                    self._succeed(said["pack"], said["figures"])
                    return
                elif "error" in said:
                    self._fail(_in_page_words(said["error"]))
                    return
                elif "stage" in said:
                    self._take(said, forecast)
            code = process.wait()
        finally:
            _kill(process)
            process.stdout.close()
            ended.set()
        self._fail(f"The training ended unexpectedly ({code}). What it has is kept: try again, and it goes on.")

    def _take(self, said: dict[str, Any], forecast: Forecast) -> None:
        """How far the process is becomes the state, unless it was told to stop."""
        with self._changed:
            state = self._state
            if state is not None and state.status in ("running", "resting"):
                share, seconds_left = forecast.at(said["stage"], said["done"], said["total"])
                self._set(replace(state, stage=said["stage"], share=share, seconds_left=seconds_left))

    def _succeed(self, pack: str, figures: dict[str, Any]) -> None:
        """The pack is whole, so nothing is left to go on with; the state says so unless it was told to stop."""
        self._note.remove()
        sequence = self._sequence()
        tokens_per_round = (figures.get("markov") or figures.get("chimera") or {}).get("tokens_per_round")
        with self._changed:
            state = self._state
            if state is None or state.status not in ("running", "resting"):
                return
            done = TrainingState(order=state.order, status="done", share=1.0)
            self._set(replace(done, tokens_per_round=tokens_per_round, sequence=sequence), counts=True)
        log.info("a drafter for %s was trained: %s", state.order.name, pack)

    def _fail(self, sentence: str) -> None:
        """Show a failure, unless the training was told to stop or has ended already."""
        with self._changed:
            state = self._state
            if state is None or state.status not in ("running", "resting"):
                return
            self._set(replace(state, status="failed", error=sentence, seconds_left=None), counts=True)
        log.warning("%s", sentence)

    # Standing still

    def _watch(self, ended: threading.Event) -> None:
        """Let the process stand still and go on, until it has ended."""
        while not ended.wait(LOOKED_S):
            preparing = self._preparing()
            with self._changed:
                self._rest_or_go(preparing)

    def _rest_or_go(self, preparing: bool) -> None:
        process, state = self._process, self._state
        if process is None or state is None or state.status not in ("running", "resting"):
            return
        now = time.monotonic()
        rest = self._busy or preparing or now - self._quiet_s < REST_S
        if rest == (self._resting_since is not None):
            return
        try:
            if rest:
                process.suspend()
                self._resting_since = now
                memory = int(process.memory_info().rss)
                self._set(replace(state, status="resting", memory_bytes=memory))
            else:
                process.resume()
                self._rested_s += now - (self._resting_since or now)
                self._resting_since = None
                self._set(replace(state, status="running", memory_bytes=None))
        except psutil.Error:  # it has just ended
            log.debug("the training's process has ended", exc_info=True)

    def _worked_s(self) -> float:
        """A clock that stands still while the process does; under the lock."""
        now = time.monotonic()
        return (self._resting_since or now) - self._rested_s


def _said(line: bytes) -> dict[str, Any]:
    """A line of what the process says; nothing where it is a library's and no JSON object."""
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if isinstance(said, dict):
        return said
    log.debug("the training said %r", line)
    return {}


def _in_page_words(error: dict[str, str]) -> str:
    """Why a training failed, with what a person in front of the page can do.

    >>> _in_page_words({"type": "NotEnoughDisk", "message": "1 GB is free in a: choose another folder with --out."})
    '1 GB is free in a: make room there, and try again.'
    """
    fact, colon, _ = error["message"].rpartition(": ")
    advice = _ADVICE.get(error["type"])
    return f"{fact}: {advice}." if colon and advice is not None else error["message"]


def _kill(process: psutil.Popen) -> None:
    with suppress(psutil.Error, OSError):  # it may just have ended
        process.kill()
        process.wait()
