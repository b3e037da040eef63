"""Loads a model in a thread of its own, so that a closed tab does not end it and every page can follow it."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from engine.api import EngineAPI
from engine.config import STARTER, ModelSpec
from engine.errors import EngineBusy, EngineError
from engine.events import LoadProgress, ModelInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadState:
    """How far loading is. `progress` is the last step of `spec`; `error` is one sentence on why it failed.

    `notice`: why another model than the one asked for is loaded, as a sentence.
    """

    sequence: int = 0
    spec: ModelSpec | None = None
    progress: LoadProgress | None = None
    error: str | None = None
    notice: str | None = None
    running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """Which model there is, and which one is coming.

    `reloading`: the engine loads its model again by itself, after its process died.
    """

    info: ModelInfo | None
    load: LoadState
    reloading: bool = False
    reload_progress: LoadProgress | None = None

    @property
    def loading(self) -> bool:
        return self.load.running or self.reloading


class Loader:
    """Loads one model at a time; every page can see which one was asked for last.

    `on_loaded` is called with every model that was asked for, once it is loaded.
    """

    def __init__(self, engine: EngineAPI, on_loaded: Callable[[ModelSpec], None] = lambda _: None) -> None:
        self._engine = engine
        self._on_loaded = on_loaded
        self._present: ModelSpec | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._state = LoadState()

    def state(self) -> LoadState:
        with self._changed:
            return self._state

    def wait(self, after_sequence: int, timeout: float) -> LoadState:
        """The first state later than `after_sequence`, or the present one when the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.sequence > after_sequence, timeout)
            return self._state

    def load(self, spec: ModelSpec, fallback: ModelSpec | None = None) -> None:
        """Begin to load; raises `EngineBusy` while another load runs.

        Where that fails, `fallback` is loaded instead, else the model that was there before.
        """
        with self._changed:
            if self._state.running:
                asked = self._state.spec.model if self._state.spec else "a model"
                raise EngineBusy(f"{asked} is still being loaded: wait until it is ready.")
            self._set(spec=spec, running=True)
            arguments = (spec, fallback or self._present)
            threading.Thread(target=self._run, args=arguments, name="load", daemon=True).start()

    def unload(self) -> None:
        """Give the model's memory back; raises `EngineBusy` while one is being loaded."""
        with self._changed:
            if self._state.running:
                raise EngineBusy("The model is still being loaded: wait for it, then unload it.")
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

    def _run(self, spec: ModelSpec, fallback: ModelSpec | None) -> None:
        error = self._load(spec, None)
        if error is None:
            self._on_loaded(spec)
        notice = None
        if error is not None and fallback is not None and fallback != spec and not self._closing:
            name = "The starter model" if fallback.model == STARTER else fallback.model
            notice = f"{error} {name} is used instead."
            error = self._load(spec := fallback, notice)
        with self._changed:
            self._present = spec if error is None else None
            self._set(spec=spec, error=error, notice=notice if error is None else None)

    def _load(self, spec: ModelSpec, notice: str | None) -> str | None:
        """Load one model; returns why it could not be loaded, as a sentence."""
        with self._changed:
            self._set(spec=spec, notice=notice, running=True)
        try:
            for progress in self._engine.load(spec):
                with self._changed:
                    self._set(spec=spec, progress=progress, notice=notice, running=True)
        except (EngineError, ValueError) as exc:
            log.log(logging.INFO if self._closing else logging.WARNING, "%s was not loaded: %s", spec.model, exc)
            return str(exc)
        except Exception:  # a thread's outermost frame: the page must show it
            log.exception("loading %s failed", spec.model)
            return f"{spec.model} could not be loaded because of an internal error; the log has the details."
        return None
