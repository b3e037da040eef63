"""A comparison as a turn: the same answer plain and adaptive, of which the adaptive one is the conversation's."""

from app.chat.answer import AnswerProgress, CompareState
from app.chat.turn import BaseTurn
from app.store.origins import AnswerOrigins
from app.store.records import RunRecord
from app.store.store import Store
from engine.api import Compares, EngineAPI, Running
from engine.config import GenerationRequest, Mode
from engine.events import CompareEvent, LaneEvent, PrefillProgress, Verdict


class CompareTurn(BaseTurn[CompareState, CompareEvent]):
    """The same answer plain and adaptive, side by side; the adaptive one is the conversation's."""

    def __init__(
        self,
        engine: EngineAPI,
        compares: Compares,
        store: Store,
        request: GenerationRequest,
        conversation_id: int,
        message_id: int,
    ) -> None:
        super().__init__(engine, store, request, conversation_id, message_id)
        self._compares = compares
        self._lanes: dict[Mode, AnswerProgress] = {
            "plain": AnswerProgress("plain"),
            "adaptive": AnswerProgress("adaptive"),
        }
        self._verdict: Verdict | None = None

    def _events(self) -> Running[CompareEvent]:
        return self._compares.compare(self._request)

    def _take(self, event: CompareEvent) -> None:
        if isinstance(event, LaneEvent):
            shared = isinstance(event.event, PrefillProgress)  # one prefill serves both
            for mode, lane in self._lanes.items():
                if shared or mode == event.lane:
                    lane.take(event.event)
        else:
            self._verdict = event

    def _make_state(self) -> CompareState:
        where = (self._sequence, self.conversation_id, self.message_id)
        return CompareState(
            sequence=self._sequence,
            conversation_id=self.conversation_id,
            message_id=self.message_id,
            plain=self._lanes["plain"].state(*where),
            adaptive=self._lanes["adaptive"].state(*where),
            verdict=self._verdict if self._over else None,
            error=self._error,
            warning=self._warning,
            stopping=self._stopping,
            waiting=self._waiting,
        )

    @property
    def _kept(self) -> AnswerProgress:
        return self._lanes["adaptive"]

    def _runs(self) -> list[tuple[RunRecord, AnswerOrigins]]:
        return [*self._record(self._lanes["plain"]), *self._record(self._lanes["adaptive"], self._verdict)]
