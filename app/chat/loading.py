"""Loads a model in a thread of its own, so that a closed tab does not end it and every page can follow it."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from app.chat.queue import Asker, NoThread, Place, Queue, Waiting
from engine.api import EngineAPI, Running
from engine.config import SMOLLM2, STARTER, ModelSpec
from engine.errors import EngineBusy, EngineError
from engine.events import LoadProgress, ModelInfo
from engine.remote.address import is_address

log = logging.getLogger(__name__)

_SHOWN = {STARTER: "The starter model", SMOLLM2: "SmolLM2 135M"}
WAITING = LoadProgress(stage="find", message="Waiting for the end of the answer that is being written")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadState:
    """How far loading is. `progress` is the last step of `spec`; `error` is one sentence on why it failed.

    `notice`: why another model than the one asked for is loaded, as a sentence. `returned`: that one was there before,
    so that pages which are opened later have nothing to know of it.
    """

    sequence: int = 0
    spec: ModelSpec | None = None
    progress: LoadProgress | None = None
    error: str | None = None
    notice: str | None = None
    returned: bool = False
    running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """Which model there is, and which one is coming.

    `reloading`: the engine loads its model again by itself, after its process died. `preparing`: how far the engine is
    with what it does in the background until it can draft.
    """

    info: ModelInfo | None
    load: LoadState
    reloading: bool = False
    reload_progress: LoadProgress | None = None
    preparing: LoadProgress | None = None

    @property
    def loading(self) -> bool:
        return self.load.running or self.reloading


class TimeLeft:
    """Adds to each step of a load how long its stage will still take, from how long it took so far.

    >>> left = TimeLeft(iter((0.0, 2.0)).__next__)
    >>> steps = (LoadProgress(stage="weights", message="x", done=done, total=10) for done in (0, 4))
    >>> [left.added(step).seconds_left for step in steps]
    [None, 3.0]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._began_s = 0.0
        self._began_at = 0

    def added(self, progress: LoadProgress) -> LoadProgress:
        now = self._clock()
        if progress.stage != self._stage:
            self._stage, self._began_s, self._began_at = progress.stage, now, progress.done
        done = progress.done - self._began_at  # an earlier download left the rest
        if progress.seconds_left is not None or not progress.total or done <= 0:
            return progress
        left_s = (now - self._began_s) / done * (progress.total - progress.done)
        return replace(progress, seconds_left=left_s)


class Loader:
    """Loads one model at a time; every page can see which one was asked for last.

    `on_loaded` is called with every model that was asked for, once it is loaded. A load waits in the `queue` like an
    answer.
    """

    def __init__(
        self,
        engine: EngineAPI,
        on_loaded: Callable[[ModelSpec], None] = lambda _: None,
        queue: Queue | None = None,
    ) -> None:
        self._engine = engine
        self._on_loaded = on_loaded
        self._queue = queue or Queue()
        self._place: Place | None = None  # of the load that runs
        self._present: ModelSpec | None = None
        self._closing = False
        self._steps: Running[LoadProgress] | None = None  # of the load that runs
        self._cancelled = False
        self._changed = threading.Condition()
        self._state = LoadState()

    def state(self) -> LoadState:
        with self._changed:
            return self._state

    @property
    def present(self) -> ModelSpec | None:
        """What the model that is there was asked for as; another one may be coming."""
        with self._changed:
            return self._present

    def wait(self, after_sequence: int, timeout: float) -> LoadState:
        """The first state later than `after_sequence`, or the present one when the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.sequence > after_sequence, timeout)
            return self._state

    def load(self, spec: ModelSpec, fallback: ModelSpec | None = None) -> None:
        """Begin to load; raises `EngineBusy` while another load runs, or where the system has no thread for it.

        Where that fails, `fallback` is loaded instead, else the model that was there before, if it is not there still.
        """
        with self._changed:
            if self._state.running:
                asked = self._state.spec.model if self._state.spec else "a model"
                if is_address(asked):
                    raise EngineBusy(f"{asked} is still being tried: wait until it answers or is given up.")
                raise EngineBusy(f"{asked} is still being loaded: wait until it is ready.")
            self._cancelled = False
            self._set(spec=spec, running=True)
            self._place = place = self._queue.join(Asker(kind="model", name=""))
            arguments = (place, spec, fallback or self._present)
            try:
                place.start(threading.Thread(target=self._run, args=arguments, name="load", daemon=True))
            except NoThread as exc:
                self._set(spec=self._present)
                raise EngineBusy(str(exc)) from exc

    def forget_notice(self) -> bool:
        """Another attempt begins: what the last one came to is old. Returns whether there was anything to forget."""
        with self._changed:
            if self._state.running or self._state.notice is None:
                return False
            self._set(spec=self._state.spec, error=self._state.error)
            return True

    def unload(self) -> None:
        """Give the model's memory back. A load is cancelled, whatever its step, and nothing takes its place."""
        with self._changed:
            if self._state.running:
                self._cancelled = True
                if self._place is not None:
                    self._place.give_up()
                if self._steps is not None:
                    self._steps.cancel()
                self._changed.wait_for(lambda: not self._state.running)
                return
        self._engine.unload()
        with self._changed:
            self._present = None
            self._set()

    def close(self) -> None:
        """Load nothing more in place of a load that fails: the application ends."""
        self._closing = True

    def _set(self, **values: object) -> None:
        self._state = LoadState(sequence=self._state.sequence + 1, **values)  # type: ignore[arg-type]
        self._changed.notify_all()

    def _run(self, place: Place, spec: ModelSpec, fallback: ModelSpec | None) -> None:
        with place:
            if place.wait(partial(self._note_waiting, spec)):
                self._load_one_of(spec, fallback)
                return
        with self._changed:
            self._set(spec=self._present)

    def _note_waiting(self, spec: ModelSpec, _: Waiting) -> None:
        with self._changed:
            self._set(spec=spec, progress=WAITING, running=True)

    def _load_one_of(self, spec: ModelSpec, fallback: ModelSpec | None) -> None:
        error, present = self._load(spec, None), self._present
        if error is None and not self._gives_up:
            self._on_loaded(spec)
        notice = None
        if error is not None and fallback is not None and fallback != spec and not self._gives_up:
            notice, spec = f"{error} {_SHOWN.get(fallback.model, fallback.model)} is used instead.", fallback
            stays = fallback == self._present and self._engine.info is not None  # a server did not take its place
            error = None if stays else self._load(spec, notice)
        with self._changed:
            if self._cancelled:
                if self._engine.info is not None:
                    self._engine.unload()
                self._present = None
                self._set()
                return
            self._present = spec if error is None else None
            notice = notice if error is None else None
            self._set(spec=spec, error=error, notice=notice, returned=notice is not None and spec == present)

    @property
    def _gives_up(self) -> bool:
        return self._closing or self._cancelled

    def _load(self, spec: ModelSpec, notice: str | None) -> str | None:
        """Load one model; returns why it could not be loaded, as a sentence."""
        with self._changed:
            self._set(spec=spec, notice=notice, running=True)
        left = TimeLeft()
        try:
            with self._changed:
                self._steps = steps = self._engine.load(spec)
                if self._cancelled:
                    steps.cancel()
            for progress in steps:
                with self._changed:
                    self._set(spec=spec, progress=left.added(progress), notice=notice, running=True)
        except (EngineError, ValueError) as exc:
            log.log(logging.INFO if self._gives_up else logging.WARNING, "%s was not loaded: %s", spec.model, exc)
            return str(exc)
        except Exception:  # a thread's outermost frame: the page must show it
            log.exception("loading %s failed", spec.model)
            return f"{spec.model} could not be loaded because of an internal error; the log has the details."
        return None
