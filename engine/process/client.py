"""The engine in a child process, with the engine's own face: what the page's process uses. Imports no torch.

The child is started by the first `load`. Another model, or none, means another process: only then is the memory
surely free. When the child dies without being asked to, the running answer ends in `EngineCrashed` and the model is
loaded again in the background; the next request waits for that.
"""

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from engine.api import EngineStatus, ProcessState, Running, Work
from engine.config import GenerationRequest, ModelSpec
from engine.errors import EngineBusy, EngineCrashed, EngineError, NoModelLoaded
from engine.events import CompareEvent, Event, LoadProgress, MemoryView, ModelInfo
from engine.process.cancelled import cancelled_answer
from engine.process.child import DEFAULT_COMMAND, Child, ChildEnded
from engine.process.replies import POLL_S, replies
from engine.process.task import Task
from engine.process.wire import Command

Answering = Literal["generate", "compare"]

COUNT_TIMEOUT_S = 5.0  # how long a count may take; a million characters take a second
STOP_TIMEOUT_S = 60.0  # the longest that a stopped answer may be silent: a prefill chunk of a large model on a slow CPU


class _Reload:
    """The present attempt to load the model again."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: Exception | None = None


class _OverPipe:
    """Tells a child what is said to one of its commands."""

    def __init__(self, child: Child, id: int) -> None:
        self._child, self._id = child, id

    def cancel(self) -> None:
        self._child.send(Command(id=self._id, do="cancel"))

    def draft(self, on: bool) -> None:
        self._child.send(Command(id=self._id, do="draft", drafting=on))


class EngineProcess:
    """`EngineAPI` over a pipe; every method may be called from any thread.

    `log`: a file for what the child prints, else it goes to this process's stderr. Closing a running answer early
    cancels it, closing a load early ends the process.
    """

    def __init__(
        self, command: Sequence[str] | None = None, *, log: Path | None = None, stop_timeout_s: float = STOP_TIMEOUT_S
    ) -> None:
        self._command = tuple(command or DEFAULT_COMMAND)
        self._log = log
        self._environment = dict(os.environ)
        self._stop_timeout_s = stop_timeout_s
        self._busy = threading.Lock()  # held by the one load, answer or unload
        self._state = threading.Lock()  # guards all below; never held while waiting for the child
        self._doing = "busy"  # with what
        self._when_ready: Callable[[], None] = lambda: None
        self._when_changed: Callable[[], None] = lambda: None
        self._child: Child | None = None
        self._info: ModelInfo | None = None
        self._last_info: ModelInfo | None = None
        self._progress: LoadProgress | None = None  # of what the child does in the background
        self._spec: ModelSpec | None = None  # the model to load again
        self._reload: _Reload | None = None
        self._status = EngineStatus(state="absent")
        self._epoch = 0  # rises when the child is put away on purpose
        self._next_id = 0
        self._closed = False

    @property
    def info(self) -> ModelInfo | None:
        return self._info

    @property
    def status(self) -> EngineStatus:
        return self._status

    @property
    def pid(self) -> int | None:
        """The child's process id, or None."""
        child = self._child
        return child.pid if child is not None else None

    def on_ready(self, listener: Callable[[], None]) -> None:
        self._when_ready = listener

    @property
    def compares(self) -> Self:
        return self

    @property
    def memory(self) -> Self:
        return self

    @property
    def process(self) -> Self:
        return self

    @property
    def background(self) -> Self:
        return self

    @property
    def progress(self) -> LoadProgress | None:
        return self._progress

    @property
    def counts(self) -> Self:
        return self

    def count(self, texts: Sequence[str]) -> tuple[int, ...] | None:
        """See `engine.api.CountsTokens`."""
        child = self._child
        if child is None or not child.ready or not texts:
            return None if texts else ()
        return child.counts(Command(id=self._new_id(), do="count", texts=tuple(texts)), COUNT_TIMEOUT_S)

    def on_change(self, listener: Callable[[], None]) -> None:
        self._when_changed = listener

    def load(self, spec: ModelSpec) -> Running[LoadProgress]:
        task = Task()
        return Work(self._load(spec, task), task.cancel)

    def generate(self, request: GenerationRequest) -> Running[Event]:
        task = Task()
        return Work(self._answer("generate", request, task), task.cancel, task.draft)

    def compare(self, request: GenerationRequest) -> Running[CompareEvent]:
        task = Task()
        return Work(self._answer("compare", request, task), task.cancel)

    def remember(self, conversation: str, texts: Sequence[str]) -> None:
        self._send_change("remember", conversation, tuple(texts))

    def forget(self, conversation: str) -> None:
        self._send_change("forget", conversation)

    def look(self, phrase: str = "") -> MemoryView:
        with self._taken("looking into its memory", Task()):
            child = self._child
            if child is None or not child.ready:
                raise NoModelLoaded("No model is loaded, so nothing is remembered: load one first.")
            id = self._new_id()
            child.send(Command(id=id, do="look", texts=(phrase,)))
            try:
                answers = [reply.event for reply in replies(child, id, None, self._stop_timeout_s)]
            except ChildEnded as exc:
                raise EngineCrashed(f"The engine's process {exc}. The model is being loaded again.") from None
            return next(answer for answer in answers if isinstance(answer, MemoryView))

    def _send_change(self, do: Literal["remember", "forget"], conversation: str, texts: tuple[str, ...] = ()) -> None:
        """Send a change of the memory, which gets no reply. The listener of `on_ready` sends it to a later process."""
        child = self._child
        if child is not None and child.ready:
            child.send(Command(id=self._new_id(), do=do, conversation=conversation, texts=texts))

    def unload(self) -> None:
        """End the process, which gives all memory back."""
        with self._taken("unloading the model", Task()):
            self._discard_child(forget=True)

    def close(self) -> None:
        """End the process, whatever it does; a running answer ends in `EngineCrashed`. May be called again."""
        with self._state:
            self._closed = True
        self._discard_child()

    @contextmanager
    def _taken(self, doing: str, task: Task) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise EngineBusy(f"The engine is {self._doing}: wait until it has finished, or stop it first.")
        try:
            self._doing = doing
            yield
        finally:
            task.tell(None)
            self._busy.release()

    def _load(self, spec: ModelSpec, task: Task) -> Generator[LoadProgress, None, None]:
        with self._taken("loading a model", task):
            with self._state:
                self._refuse_closed()
                self._spec = None
                child = self._child
                fresh = child is not None and child.alive and not child.used and self._reload is None
                self._status = EngineStatus(state="starting")
            if not fresh:
                child = self._start_child(self._discard_child())
            assert child is not None
            failed = False
            try:
                task.when_cancelled(child.abort)
                for progress in self._load_on(child, spec):
                    if child.ready:
                        task.when_cancelled(None)
                    if child.ending:  # and its last words were still in the queue
                        raise EngineError("The process was ended.")
                    yield progress
            except (EngineError, ValueError):
                if child.ending:
                    raise EngineError(f"Loading {spec.model} was stopped.") from None
                failed = True  # it reported what is wrong, or it died
                raise
            finally:
                if child.ending or not (failed or child.ready):
                    self._discard_child(forget=True)

    def _load_on(self, child: Child, spec: ModelSpec) -> Iterator[LoadProgress]:
        """Load on a fresh child, and keep `status` and `info` up to date: `info` is set before "ready" is reported."""
        id = self._new_id()
        child.send(Command(id=id, do="load", spec=spec))
        last: LoadProgress | None = None
        try:
            for reply in replies(child, id, None, self._stop_timeout_s):
                if isinstance(reply.event, LoadProgress):
                    child.used = reply.event.stage not in ("find", "download")
                    last = reply.event
                    if last.stage != "ready":
                        self._note(child, "loading", last)
                        yield last
                elif reply.info is not None:
                    self._become_ready(child, spec, reply.info, last)
                    if last is not None:
                        yield last
        except ChildEnded as exc:
            why = f"The engine's process {exc} while it loaded {spec.model}."
            crash = EngineCrashed(f"{why} Try again, or choose a smaller or a quantised model.")
            self._note(child, "crashed", message=str(crash))
            raise crash from None
        except (EngineError, ValueError) as exc:
            self._note(child, "absent", message=str(exc))
            raise

    def _become_ready(self, child: Child, spec: ModelSpec, info: ModelInfo, last: LoadProgress | None) -> None:
        with self._state:
            if child is not self._child:
                return
            child.ready = True
            self._info = self._last_info = info
            self._take_state(child)
            self._spec = spec
            self._status = EngineStatus(state="ready", progress=last)
        self._when_ready()

    def _state_changed(self, child: Child) -> None:
        """On the child's reading thread: it has found out more about its model."""
        with self._state:
            if child is not self._child or not child.ready:
                return  # it is taken with the end of the load
            self._take_state(child)
        self._when_changed()

    def _take_state(self, child: Child) -> None:
        """Take the latest state that the child has sent, if any; `_state` is held."""
        if child.state is not None and child.state.info is not None:
            self._info = self._last_info = child.state.info
            event = child.state.event
            self._progress = event if isinstance(event, LoadProgress) else None

    def _answer(self, do: Answering, request: GenerationRequest, task: Task) -> Generator[Any, None, None]:
        with self._taken("answering" if do == "generate" else "comparing", task):
            child = self._ready_child(task)
            if child is None:
                assert self._last_info is not None
                yield from cancelled_answer(do, self._last_info.certificate(request.exactness))
                return
            id = self._new_id()
            cancel = Command(id=id, do="cancel")
            ended = False
            try:
                child.send(Command(id=id, do=do, request=request))
                task.tell(_OverPipe(child, id))
                for reply in replies(child, id, task, self._stop_timeout_s):
                    ended = reply.kind == "end"
                    if reply.event is not None:
                        yield reply.event
            except ChildEnded as exc:
                ended = True
                if child.ending:
                    raise EngineCrashed("The engine was ended while it answered. The answer so far is kept.") from None
                what = f"The engine's process {exc}."
                raise EngineCrashed(f"{what} The answer so far is kept; the model is being loaded again.") from None
            except (EngineError, ValueError):
                ended = True
                raise
            finally:
                if not ended:  # the consumer closed the iterator: the next request skips what is still to come
                    child.abandoned = True
                    child.send(cancel)

    def _ready_child(self, task: Task) -> Child | None:
        """The child with the model in it, after a reload where one is due; None when cancelled meanwhile."""
        while True:
            with self._state:
                self._refuse_closed()
                child = self._child if self._info is not None else None
                if child is not None and child.alive:
                    return child
                if child is None and self._spec is None:
                    raise NoModelLoaded("No model is loaded: choose one first.")
                reload = None if child is not None else self._reload or self._begin_reload()
            if reload is None:
                assert child is not None
                child.reap()
                continue
            while not reload.done.wait(POLL_S):
                if task.cancelled.is_set():
                    return None
            if reload.error is not None and not self._closed:
                raise reload.error

    def _child_ended(self, child: Child) -> None:
        """On the child's reading thread: a death that was not intended loads the model again."""
        with self._state:
            if child is not self._child or child.ending:
                return
            self._child = None
            self._info = None
            self._progress = None
            self._status = EngineStatus(state="crashed", message=f"The engine's process {child.how}.")
            if child.ready and self._spec is not None and not self._closed:
                self._begin_reload()

    def _begin_reload(self) -> _Reload:
        """Start loading `_spec` again in the background; `_state` is held."""
        assert self._spec is not None
        reload = self._reload = _Reload()
        arguments = (reload, self._epoch, self._spec)
        threading.Thread(target=self._load_again, args=arguments, name="engine-reload", daemon=True).start()
        return reload

    def _load_again(self, reload: _Reload, epoch: int, spec: ModelSpec) -> None:
        try:
            for _ in self._load_on(self._start_child(epoch), spec):
                pass
        except (EngineError, ValueError) as exc:
            reload.error = exc
        finally:
            with self._state:
                if self._reload is reload:
                    self._reload = None
            reload.done.set()

    def _start_child(self, epoch: int) -> Child:
        """Start a new child after the present one has ended; refused where another epoch has begun."""
        with self._state:
            old = self._child if epoch == self._epoch else None
            self._child = None if old is not None else self._child
        if old is not None:
            old.stop()
        with self._state:
            self._refuse_closed()
            if epoch != self._epoch:
                raise EngineError("Another model was chosen meanwhile.")
            self._status = EngineStatus(state="starting", message=self._status.message)
            self._child = Child(self._command, self._log, self._child_ended, self._environment, self._state_changed)
            return self._child

    def _discard_child(self, *, forget: bool = False) -> int:
        """End the child, and `forget` which model to load again; returns the new epoch."""
        with self._state:
            if forget:
                self._spec = None
            child, self._child = self._child, None
            self._info = None
            self._progress = None
            self._reload = None
            self._epoch += 1
            epoch = self._epoch
            self._status = EngineStatus(state="absent")
        if child is not None:
            child.stop()
        return epoch

    def _note(self, child: Child, state: ProcessState, progress: LoadProgress | None = None, message: str = "") -> None:
        with self._state:
            if not child.ending and self._child in (child, None):
                self._status = EngineStatus(state=state, progress=progress, message=message or self._status.message)

    def _new_id(self) -> int:
        with self._state:
            self._next_id += 1
            return self._next_id

    def _refuse_closed(self) -> None:
        if self._closed:
            raise EngineError("The engine is closed: start the application again.")
