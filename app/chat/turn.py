"""One turn while it is answered: one thread reads the engine's events, another saves the answer so far.

A turn waits for its place in the line first, and may be stopped there.

The threads belong to the application, not to a page: a tab that is closed misses nothing, a page that is opened later
attaches to the turn that runs. Nothing here knows what a page is.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Generic, TypeVar

from app.chat.answer import AnswerProgress, CompareState, TurnState
from app.chat.loading import Loader
from app.chat.queue import NoThread, Place, Waiting
from app.store.errors import NotFound, StoreClosed, StoreError
from app.store.origins import AnswerOrigins, Block, OriginStore
from app.store.records import RunRecord, Status, now
from app.store.store import Store
from engine.api import EngineAPI, Running
from engine.config import GenerationRequest
from engine.errors import EngineBusy, EngineCrashed, EngineError, ServerLost
from engine.events import CompareEvent, Event, Verdict

log = logging.getLogger(__name__)

WAITING_S = 0.2  # between two looks at the load that an answer waits for
UNSAVED = "The whole answer is still held here and is saved as soon as that can be: do not end Slipstream yet."
NEVER_BEGAN = "Stopped before it was answered: press Retry."
LATEST_SAVE_S = 30.0  # between two tries to save an end that could not be saved
SAVE_EVERY_S = 1.0  # a kill loses at most this and the time of one save: less than two seconds

Prepare = Callable[[GenerationRequest], GenerationRequest]
StateT = TypeVar("StateT", TurnState, CompareState)
EventT = TypeVar("EventT", Event, CompareEvent)


class BaseTurn(ABC, Generic[StateT, EventT]):
    """What an answer and a comparison share: threads, snapshots, stopping, saving."""

    def __init__(
        self, engine: EngineAPI, store: Store, request: GenerationRequest, conversation_id: int, message_id: int
    ) -> None:
        self.conversation_id = conversation_id
        self.message_id = message_id
        self._engine = engine
        self._store = store
        self._request = request
        self._model = engine.info.name if engine.info else ""
        self._loader: Loader | None = None
        self._prepare: Prepare | None = None
        self._changed = threading.Condition(threading.RLock())  # guards everything below
        self._sequence = 0
        self._snapshot: StateT | None = None
        self._running: Running[EventT] | None = None
        self._place: Place | None = None
        self._waiting: Waiting | None = None
        self._waited_for_model = False
        self._stopping = False
        self._over = False
        self._status: Status = "interrupted"
        self._failure: str | None = None  # why the answer failed: kept with the message
        self._save_failure: str | None = None  # why it is not saved
        self._end_saved = threading.Event()
        self._saving = threading.Lock()  # held while the end is saved
        self._read_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"turn-{message_id}", daemon=True)
        self._saver = threading.Thread(target=self._save_often, name=f"turn-{message_id}-saver", daemon=True)

    def start(self, place: Place, loader: Loader | None = None, prepare: Prepare | None = None) -> None:
        """Answer once the turn has come, after a model that `loader` loads; `prepare` makes the request anew then.

        Raises `EngineBusy` where the system has no thread for it; the answer has failed then.
        """
        self._place, self._loader, self._prepare = place, loader, prepare
        self._note_waiting(place.waiting)
        try:
            place.start(self._saver, self._thread)
        except NoThread as exc:
            self._failure, self._status = str(exc), "error"
            self._read_over.set()
            self._finish()
            raise EngineBusy(str(exc)) from exc

    @property
    def done(self) -> bool:
        """The end is saved, or could not be; the engine is free."""
        return self._over

    @property
    def saved(self) -> bool:
        """The end is saved; nothing of the turn is needed any more."""
        return self._over and self._end_saved.is_set()

    def state(self) -> StateT:
        with self._changed:
            if self._snapshot is None or self._snapshot.sequence != self._sequence:
                self._snapshot = self._make_state()
            return self._snapshot

    def wait(self, after_sequence: int, timeout: float | None = None) -> StateT:
        """The first state later than `after_sequence`, or the present one when the time is up or all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._sequence > after_sequence or self._over, timeout)
            return self.state()

    def wait_done(self, timeout: float) -> bool:
        """Wait until the end is saved, or the time is up; returns `done`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._over, timeout)

    def origins(self, number: int) -> tuple[str, int, Sequence[Block]]:
        """The text so far, where block `number` of where it came from begins in it, and the blocks from there on."""
        with self._changed:
            return self._kept.text, *self._kept.origins.since(number)

    def stop(self) -> None:
        """End the answer soon, from any thread; the answer so far is kept."""
        with self._changed:
            if self._read_over.is_set():
                return
            if not self._stopping:
                self._stopping = True
                self._advance()
            if self._running is not None:
                self._running.cancel()
            elif self._place is not None:
                self._place.give_up()

    def draft(self, on: bool) -> None:
        """Draft the rest of the answer, or do not; from any thread. A comparison goes on as it is."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until the threads have ended."""
        self._thread.join(timeout)

    def save_end(self) -> None:
        """Save how the turn ended, unless that is done; raises `StoreError`."""
        with self._saving:
            self._save_end()

    def _save_end(self) -> None:
        if self._end_saved.is_set():
            return
        try:
            with suppress(NotFound), self._store.transaction():  # a person has deleted it for good
                kept = self._kept
                self._store.update_message(self.message_id, kept.text, kept.token_ids, self._status, self._failure)
                for run, origins in self._runs():
                    run_id = self._store.add_run(self.message_id, run)
                    if origins.tells:
                        OriginStore(self._store).add(self.message_id, run_id, origins, kept.text)
        except StoreClosed as exc:  # there is nothing left to save it in
            log.info("The end of an answer is not saved: %s", exc)
        self._end_saved.set()

    @abstractmethod
    def _events(self) -> Running[EventT]:
        """Ask the engine."""

    @abstractmethod
    def _take(self, event: EventT) -> None:
        """Gather one event; the lock is held."""

    @abstractmethod
    def _make_state(self) -> StateT:
        """A snapshot; the lock is held."""

    @property
    @abstractmethod
    def _kept(self) -> AnswerProgress:
        """The answer whose text becomes the message."""

    @abstractmethod
    def _runs(self) -> list[tuple[RunRecord, AnswerOrigins]]:
        """The runs that ended, and where their tokens came from."""

    @property
    def _error(self) -> str | None:
        return self._failure or self._save_failure if self._over else None

    @property
    def _warning(self) -> str | None:
        return self._save_failure

    def _advance(self) -> None:
        self._sequence += 1
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._read()
        except (EngineError, ValueError) as exc:
            log.warning("An answer failed: %s", exc)
            self._failure = str(exc)
            self._status = "interrupted" if isinstance(exc, EngineCrashed | ServerLost) else "error"
        except _NeverBegan:
            self._failure = None if self._kept.text else NEVER_BEGAN  # a text that was to go on can still do so
            self._status = "stopped"
        except Exception as exc:  # the thread's outermost frame: the page must show it
            log.exception("An answer failed.")
            self._failure = f"The answer ended with an internal error ({type(exc).__name__}); the log says more."
            self._status = "error"
        finally:
            with self._changed:
                self._read_over.set()
            self._saver.join()
            self._finish()

    def _read(self) -> None:
        """Take every event, and free the engine whatever happens."""
        assert self._place is not None
        with self._place as place:
            if not place.wait(self._note_waiting, every_s=WAITING_S):
                raise _NeverBegan
            self._note_waiting(None)
            self._begin()
            self._read_answer()
        if self._kept.finished is None:
            raise EngineError("The engine ended the answer without saying how: the text so far is kept. Try again.")

    def _begin(self) -> None:
        """The turn has come; raises why there is no model where it waited for one."""
        info = self._engine.info
        if info is None and self._waited_for_model and self._loader is not None and (why := self._loader.state().error):
            raise EngineError(why)
        if info is not None:
            self._model = info.name
        if self._prepare is not None:
            self._request = self._prepare(self._request)

    def _read_answer(self) -> None:
        events = self._events()
        with self._changed:
            self._running = events
            if self._stopping:
                events.cancel()
            if self._kept.mode != self._request.mode:  # switched before there was anybody to tell
                events.draft(self._kept.mode == "adaptive")
        with closing(events):
            for event in events:
                with self._changed:
                    self._take(event)
                    self._advance()

    def _note_waiting(self, waiting: Waiting | None) -> None:
        with self._changed:
            for_model = waiting is not None and waiting.serving == "model"
            self._waited_for_model |= for_model
            if for_model or waiting != self._waiting:  # a page shows how far the load is
                self._waiting = waiting
                self._advance()

    def _save_often(self) -> None:
        """Save the answer so far, again and again; where that fails, try again later."""
        saved = 0
        while not self._read_over.wait(SAVE_EVERY_S):
            with self._changed:
                sequence, text, token_ids = self._sequence, self._kept.text, self._kept.token_ids
            if sequence == saved:
                continue
            failure = None
            try:
                self._store.update_message(self.message_id, text, token_ids, "streaming")
                saved = sequence
            except StoreError as exc:
                log.warning("An answer cannot be saved at present: %s", exc)
                failure = str(exc)
            with self._changed:
                if failure != self._save_failure:
                    self._save_failure = failure
                    self._advance()

    def _finish(self) -> None:
        """Save how the turn ended, then announce it."""
        if end := self._kept.finished:  # whole, even if the comparison failed after it
            self._status = "stopped" if end.stop_reason == "cancelled" else "complete"
        failure = None
        try:
            self.save_end()
        except StoreError as exc:
            log.warning("The end of an answer cannot be saved at present: %s", exc)
            failure = f"{exc} {UNSAVED}"
        except Exception as exc:  # as in `_run`
            log.exception("The end of an answer cannot be saved.")
            failure = f"{exc} {UNSAVED}"
        with self._changed:
            self._save_failure = failure
            self._over = True
            self._advance()
        if failure is not None:
            threading.Thread(target=self._save_later, name=f"turn-{self.message_id}-end", daemon=True).start()

    def _save_later(self) -> None:
        """Try again to save how the turn ended, until that is done."""
        wait_s = SAVE_EVERY_S
        while not self._end_saved.wait(wait_s):
            wait_s = min(LATEST_SAVE_S, 1.5 * wait_s)
            try:
                self.save_end()
            except StoreError:
                continue
            except Exception:  # as in `_run`
                log.exception("The end of an answer is not saved.")
                return
            with self._changed:
                self._save_failure = None
                self._advance()

    def _record(self, answer: AnswerProgress, verdict: Verdict | None = None) -> list[tuple[RunRecord, AnswerOrigins]]:
        """The run of this answer, or nothing where it did not end."""
        if answer.finished is None:
            return []
        model = self._model or (self._engine.info.name if self._engine.info else "")
        run = RunRecord(
            model=model,
            mode=answer.recorded_mode,
            sampling=self._request.sampling,
            stop_reason=answer.finished.stop_reason,
            stats=answer.finished.stats,
            certificate=answer.finished.certificate,
            created=now(),
            verdict=verdict,
            dropped_turns=answer.finished.dropped_turns,
            drafter=self._request.drafter,
        )
        return [(run, answer.origins.whole)]


class _NeverBegan(Exception):
    """The person stopped an answer that was still waiting for its turn."""


class Turn(BaseTurn[TurnState, Event]):
    """One answer, after the text and the ids that it continues, if it does."""

    def __init__(
        self,
        engine: EngineAPI,
        store: Store,
        request: GenerationRequest,
        conversation_id: int,
        message_id: int,
        text: str = "",
        token_ids: tuple[int, ...] = (),
    ) -> None:
        super().__init__(engine, store, request, conversation_id, message_id)
        self._progress = AnswerProgress(request.mode, text, token_ids)

    def draft(self, on: bool) -> None:
        with self._changed:
            if self._read_over.is_set() or on == (self._progress.mode == "adaptive"):
                return
            self._progress.switch("adaptive" if on else "plain")
            if self._running is not None:
                self._running.draft(on)
            self._advance()

    def _events(self) -> Running[Event]:
        info = self._engine.info
        self._progress.plain_so_far = info is not None and info.provisional
        return self._engine.generate(self._request)

    def _take(self, event: Event) -> None:
        self._progress.take(event)

    def _make_state(self) -> TurnState:
        return replace(
            self._progress.state(self._sequence, self.conversation_id, self.message_id),
            finished=self._progress.finished if self._over else None,
            error=self._error,
            warning=self._warning,
            stopping=self._stopping,
            waiting=self._waiting,
        )

    @property
    def _kept(self) -> AnswerProgress:
        return self._progress

    def _runs(self) -> list[tuple[RunRecord, AnswerOrigins]]:
        return self._record(self._progress)
