"""One answer while it is made: a thread that reads the engine's events, and snapshots of how far it is.

The thread belongs to the application, not to a page: a tab that is closed misses nothing, a page that is opened later
attaches to the turn that runs. `_Turn` owns the threads and the saving; a `Lane` gathers the events of one answer.
It knows nothing of the page.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from app.database import StoreError
from app.records import RunRecord, Status, now
from app.store import Store
from engine.api import EngineAPI
from engine.config import GenerationRequest, Mode
from engine.errors import EngineCrashed, EngineError
from engine.events import CompareEvent, Event, Finished, LaneEvent, PrefillProgress, Round, TextDelta, Verdict

__all__ = ["CompareState", "CompareTurn", "Lane", "Turn", "TurnState"]

log = logging.getLogger(__name__)

SAVE_EVERY_S = 1.0  # a kill loses what came since the last save: this, and the time one save takes


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnState:
    """How far an answer is. A greater `sequence` is a later state of the same turn.

    `text` is the whole message, what was there before a continuation included. `num_tokens` and `decode_s` count
    this run alone. `finished` or `error` is set only when everything is saved and the engine is free again.
    """

    sequence: int
    conversation_id: int
    message_id: int
    mode: Mode
    text: str = ""
    prefill: PrefillProgress | None = None
    num_rounds: int = 0
    accepted_lengths: tuple[int, ...] = ()
    draft_sizes: tuple[int, ...] = ()
    last_sources: tuple[str, ...] = ()  # of the last round's draft
    num_tokens: int = 0
    num_committed: int = 0  # by rounds: all but the first
    decode_s: float = 0.0
    finished: Finished | None = None
    error: str | None = None
    stopping: bool = False

    @property
    def done(self) -> bool:
        return self.finished is not None or self.error is not None

    @property
    def tokens_per_s(self) -> float | None:
        return self.num_committed / self.decode_s if self.decode_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareState:
    """How far a comparison is; `verdict` or `error` is set only when everything is saved."""

    sequence: int
    conversation_id: int
    message_id: int
    plain: TurnState
    adaptive: TurnState
    verdict: Verdict | None = None
    error: str | None = None
    stopping: bool = False

    @property
    def done(self) -> bool:
        return self.verdict is not None or self.error is not None


class Lane:
    """Gathers the events of one answer; each costs the same however long the answer is."""

    def __init__(self, mode: Mode, text: str = "", token_ids: tuple[int, ...] = ()) -> None:
        self.mode = mode
        self.finished: Finished | None = None
        self.prefill: PrefillProgress | None = None
        self._pieces = [text]
        self._earlier_text, self._earlier_ids = text, token_ids
        self._first_id: int | None = None
        self._ids: list[int] = []
        self._accepted: list[int] = []
        self._drafts: list[int] = []
        self._sources: tuple[str, ...] = ()
        self._decode_s = 0.0
        self._started = False

    def take(self, event: Event) -> None:
        match event:
            case PrefillProgress():
                self.prefill = event
            case TextDelta():
                self._pieces.append(event.text)
                self._started = True
            case Round():
                self._ids.extend(event.token_ids)
                self._accepted.append(event.accepted)
                self._drafts.append(event.draft_size)
                self._sources = event.sources
                self._decode_s = event.decode_s
                self._started = True
            case Finished():
                self.finished = event

    @property
    def text(self) -> str:
        if self.finished is not None:
            return self._earlier_text + self.finished.text
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    @property
    def token_ids(self) -> tuple[int, ...]:
        """All ids of the message as far as they are known."""
        if self.finished is not None:
            return self._earlier_ids + self.finished.token_ids
        return self._earlier_ids

    def state(self, sequence: int, conversation_id: int, message_id: int, *, show_end: bool) -> TurnState:
        return TurnState(
            sequence=sequence,
            conversation_id=conversation_id,
            message_id=message_id,
            mode=self.mode,
            text=self.text,
            prefill=self.prefill,
            num_rounds=len(self._accepted),
            accepted_lengths=tuple(self._accepted),
            draft_sizes=tuple(self._drafts),
            last_sources=self._sources,
            num_tokens=self.finished.stats.num_tokens if self.finished else len(self._ids) + self._started,
            num_committed=len(self._ids),
            decode_s=self._decode_s,
            finished=self.finished if show_end else None,
        )


S = TypeVar("S", TurnState, CompareState)
E = TypeVar("E", Event, CompareEvent)


class _Turn(ABC, Generic[S, E]):
    """The threads of one turn: one reads the engine, one saves what has come."""

    def __init__(
        self, engine: EngineAPI, store: Store, request: GenerationRequest, conversation_id: int, message_id: int
    ) -> None:
        self.conversation_id = conversation_id
        self.message_id = message_id
        self._engine = engine
        self._store = store
        self._request = request
        self._changed = threading.Condition(threading.RLock())
        self._sequence = 0
        self._snapshot: S | None = None
        self._stopping = False
        self._over = False
        self._error: str | None = None
        self._reading_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"turn-{message_id}", daemon=True)
        self._saver = threading.Thread(target=self._save_often, name=f"turn-{message_id}-saver", daemon=True)
        self._saved_sequence = 0

    # What a page calls, from any thread

    @property
    def done(self) -> bool:
        return self._over

    def state(self) -> S:
        with self._changed:
            if self._snapshot is None or self._snapshot.sequence != self._sequence:
                self._snapshot = self._make_state()
            return self._snapshot

    def wait(self, after_sequence: int, timeout: float | None = None) -> S:
        """The first state later than `after_sequence`, or the present one when the time is up or all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._sequence > after_sequence or self._over, timeout)
            return self.state()

    def stop(self) -> None:
        """End the answer soon; what came so far is kept."""
        with self._changed:
            if self._reading_over.is_set():
                return
            if not self._stopping:
                self._stopping = True
                self._advance()
            self._engine.cancel()  # inside the lock: never at the next turn

    def join(self, timeout: float | None = None) -> None:
        """Wait until the threads have ended."""
        self._thread.join(timeout)

    def start(self) -> None:
        self._saver.start()
        self._thread.start()

    # What a kind of turn says

    @abstractmethod
    def _events(self) -> Iterator[E]: ...

    @abstractmethod
    def _take(self, event: E) -> None: ...

    @abstractmethod
    def _make_state(self) -> S: ...

    @property
    @abstractmethod
    def _kept(self) -> Lane:
        """The lane whose text is the message."""

    @abstractmethod
    def _runs(self, model: str) -> list[RunRecord]: ...

    # The threads

    def _advance(self) -> None:
        self._sequence += 1
        self._changed.notify_all()

    def _run(self) -> None:
        status: Status = "interrupted"
        error: str | None = None
        try:
            status = self._read()
        except EngineCrashed as exc:
            error = str(exc)
        except (EngineError, ValueError) as exc:
            status, error = "error", str(exc)
        except Exception as exc:  # a thread's outermost frame: the page must hear of it
            log.exception("A turn failed.")
            status, error = (
                "error",
                f"The answer ended with an internal error ({type(exc).__name__}: {exc}); see the log.",
            )
        finally:
            with self._changed:
                self._reading_over.set()
            self._saver.join()
            self._end(status, error)

    def _read(self) -> Status:
        """Take every event; returns how the answer ended."""
        events = self._events()
        try:
            repeated = False
            for event in events:
                with self._changed:
                    self._take(event)
                    self._advance()
                    if self._stopping and not repeated and not isinstance(event, Finished | Verdict):
                        repeated = True
                        self._engine.cancel()  # the first one may have come before the engine began
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()
        end = self._kept.finished
        if end is None:
            raise EngineError("The engine ended the answer without saying how: the text so far is kept. Try again.")
        return "stopped" if end.stop_reason == "cancelled" else "complete"

    def _save_often(self) -> None:
        while not self._reading_over.wait(SAVE_EVERY_S):
            with self._changed:
                sequence, text, token_ids = self._sequence, self._kept.text, self._kept.token_ids
            if sequence == self._saved_sequence:
                continue
            try:
                self._store.update_message(self.message_id, text, token_ids, "streaming")
                self._saved_sequence = sequence
            except StoreError as exc:
                log.exception("An answer cannot be saved; it is stopped.")
                with self._changed:
                    self._error = str(exc)
                self.stop()
                return

    def _end(self, status: Status, error: str | None) -> None:
        """Save how it ended, then tell."""
        try:
            with self._store.transaction():
                self._store.update_message(self.message_id, self._kept.text, self._kept.token_ids, status, error)
                info = self._engine.info
                for run in self._runs(info.name if info else ""):
                    self._store.add_run(self.message_id, run)
        except Exception as exc:
            log.exception("The end of an answer cannot be saved.")
            error = str(exc)
        with self._changed:
            self._error = error or self._error
            self._over = True
            self._advance()


def run_record(request: GenerationRequest, lane: Lane, model: str, verdict: Verdict | None = None) -> list[RunRecord]:
    """The lane's run, or nothing where it did not come to an end."""
    if lane.finished is None:
        return []
    return [
        RunRecord(
            model=model,
            mode=lane.mode,
            sampling=request.sampling,
            stop_reason=lane.finished.stop_reason,
            stats=lane.finished.stats,
            certificate=lane.finished.certificate,
            created=now(),
            verdict=verdict,
        )
    ]


class Turn(_Turn[TurnState, Event]):
    """One answer; `earlier` is the text and the ids that a continuation goes on from."""

    def __init__(
        self,
        engine: EngineAPI,
        store: Store,
        request: GenerationRequest,
        conversation_id: int,
        message_id: int,
        earlier: tuple[str, tuple[int, ...]] = ("", ()),
    ) -> None:
        super().__init__(engine, store, request, conversation_id, message_id)
        self._lane = Lane(request.mode, *earlier)

    def _events(self) -> Iterator[Event]:
        return self._engine.generate(self._request)

    def _take(self, event: Event) -> None:
        self._lane.take(event)

    def _make_state(self) -> TurnState:
        state = self._lane.state(self._sequence, self.conversation_id, self.message_id, show_end=self._over)
        return replace(state, error=self._error if self._over else None, stopping=self._stopping)

    @property
    def _kept(self) -> Lane:
        return self._lane

    def _runs(self, model: str) -> list[RunRecord]:
        return run_record(self._request, self._lane, model)


class CompareTurn(_Turn[CompareState, CompareEvent]):
    """The same answer plain and adaptive, side by side; the adaptive one is the conversation's."""

    def __init__(
        self, engine: EngineAPI, store: Store, request: GenerationRequest, conversation_id: int, message_id: int
    ) -> None:
        super().__init__(engine, store, request, conversation_id, message_id)
        self._lanes: dict[Mode, Lane] = {"plain": Lane("plain"), "adaptive": Lane("adaptive")}
        self._verdict: Verdict | None = None

    def _events(self) -> Iterator[CompareEvent]:
        return self._engine.compare(self._request)

    def _take(self, event: CompareEvent) -> None:
        if isinstance(event, Verdict):
            self._verdict = event
            return
        assert isinstance(event, LaneEvent)
        for lane in self._lanes.values():  # one prefill serves both lanes
            if lane.mode == event.lane or isinstance(event.event, PrefillProgress):
                lane.take(event.event)

    def _make_state(self) -> CompareState:
        ids = (self._sequence, self.conversation_id, self.message_id)
        return CompareState(
            sequence=self._sequence,
            conversation_id=self.conversation_id,
            message_id=self.message_id,
            plain=self._lanes["plain"].state(*ids, show_end=True),
            adaptive=self._lanes["adaptive"].state(*ids, show_end=True),
            verdict=self._verdict if self._over else None,
            error=self._error if self._over else None,
            stopping=self._stopping,
        )

    @property
    def _kept(self) -> Lane:
        return self._lanes["adaptive"]

    def _runs(self, model: str) -> list[RunRecord]:
        plain, adaptive = self._lanes["plain"], self._lanes["adaptive"]
        return [
            *run_record(self._request, plain, model),
            *run_record(self._request, adaptive, model, self._verdict),
        ]
