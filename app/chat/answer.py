"""The progress of an answer: the events of one generation, gathered, and snapshots of them for a page to show.

Knows neither threads nor the store. An event costs the same however long the answer is; a snapshot costs one copy
of the text and of the rounds, and is made only when it is asked for.
"""

from dataclasses import dataclass

from app.chat.origins import OriginsGrowing
from app.chat.queue import Waiting
from engine.config import Mode
from engine.events import Event, Finished, PrefillProgress, Round, ServerProgress, TextDelta, Verdict
from engine.metrics import Loop


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnState:
    """How far an answer is. A greater `sequence` is a later state of the same turn.

    `mode` is the present one, since the round `mode_since`. `text` is the whole message, what was there before a
    continuation included; the other figures count this run alone. `plain_so_far`: drafting was not ready yet when the
    answer began. `finished` or `error` is set only when the end is saved and the engine is free again; in a comparison
    `finished` is set as soon as that answer has ended. `warning`: the answer continues, but cannot be saved at present.
    """

    sequence: int
    conversation_id: int
    message_id: int
    mode: Mode
    mode_since: int = 0
    plain_so_far: bool = False
    text: str = ""
    prefill: PrefillProgress | None = None
    num_rounds: int = 0
    accepted_lengths: tuple[int, ...] = ()
    draft_sizes: tuple[int, ...] = ()
    last_sources: tuple[str, ...] = ()  # of the last round's draft
    num_tokens: int = 0
    num_committed: int = 0  # by rounds: all but the first token, end token included
    decode_s: float = 0.0
    plain_round_s: float | None = None  # what an estimated speedup is against
    loop: Loop | None = None  # it goes in circles
    server: ServerProgress | None = None  # of a server's answer, which tells no rounds
    finished: Finished | None = None
    error: str | None = None
    warning: str | None = None
    stopping: bool = False
    waiting: Waiting | None = None  # for its turn

    @property
    def done(self) -> bool:
        return self.finished is not None or self.error is not None

    @property
    def tokens_per_s(self) -> float | None:
        return self.num_committed / self.decode_s if self.decode_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareState:
    """How far a comparison is; `verdict` or `error` is set only when the end is saved and the engine is free."""

    sequence: int
    conversation_id: int
    message_id: int
    plain: TurnState
    adaptive: TurnState
    verdict: Verdict | None = None
    error: str | None = None
    warning: str | None = None
    stopping: bool = False
    waiting: Waiting | None = None

    @property
    def done(self) -> bool:
        return self.verdict is not None or self.error is not None


class AnswerProgress:
    """One answer as it grows, after `text` and `token_ids` that it continues."""

    def __init__(self, mode: Mode, text: str = "", token_ids: tuple[int, ...] = ()) -> None:
        self.mode = self.recorded_mode = mode  # now; adaptive where any part was
        self._mode_since = 0
        self.plain_so_far = False
        self.finished: Finished | None = None
        self._earlier_text, self._earlier_ids = text, token_ids
        self._pieces = [text]
        self._prefill: PrefillProgress | None = None
        self._ids: list[int] = []
        self._accepted_lengths: list[int] = []
        self._draft_sizes: list[int] = []
        self._last_round: Round | None = None
        self.origins = OriginsGrowing(len(text))
        self._server: ServerProgress | None = None

    def switch(self, mode: Mode) -> None:
        """The answer is drafted from the next round on, or not any more."""
        self.mode = mode
        self._mode_since = len(self._draft_sizes)
        if mode == "adaptive":
            self.recorded_mode = mode

    def take(self, event: Event) -> None:
        self.origins.take(event, self.mode)
        match event:
            case PrefillProgress():
                self._prefill = event
            case TextDelta():
                self._pieces.append(event.text)
            case Round():
                self._ids.extend(event.token_ids)
                self._accepted_lengths.append(event.accepted)
                self._draft_sizes.append(event.draft_size)
                self._last_round = event
            case ServerProgress():
                self._server = event
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
        """All ids of the message; before its end none of this run's, if the engine has not reported the first one.

        Empty where a server wrote a part of it: ids of the rest would say another text.
        """
        if self._server is not None and self.text != self._earlier_text:
            return ()
        if self.finished is not None:
            return self._earlier_ids + self.finished.token_ids
        if self._first_id is None:
            return self._earlier_ids
        return (*self._earlier_ids, self._first_id, *self._ids)

    @property
    def _first_id(self) -> int | None:
        return self._prefill.first_token_id if self._prefill is not None else None

    @property
    def num_tokens(self) -> int:
        if self.finished is not None:
            return self.finished.stats.num_tokens
        if self._server is not None:
            return self._server.num_tokens
        has_first = self._first_id is not None or bool(self._ids) or self.text != self._earlier_text
        return has_first + len(self._ids)

    def state(self, sequence: int, conversation_id: int, message_id: int) -> TurnState:
        return TurnState(
            sequence=sequence,
            conversation_id=conversation_id,
            message_id=message_id,
            mode=self.mode,
            mode_since=self._mode_since,
            plain_so_far=self.finished.certificate.provisional if self.finished else self.plain_so_far,
            num_tokens=self.num_tokens,
            text=self.text,
            prefill=self._prefill,
            num_rounds=len(self._accepted_lengths),
            accepted_lengths=tuple(self._accepted_lengths),
            draft_sizes=tuple(self._draft_sizes),
            last_sources=self._last_round.sources if self._last_round else (),
            num_committed=max(0, self._server.num_tokens - 1) if self._server is not None else len(self._ids),
            decode_s=self._decode_s,
            plain_round_s=self._last_round.plain_round_s if self._last_round else None,
            loop=self._last_round.loop if self._last_round else None,
            server=self._server,
            finished=self.finished,
        )

    @property
    def _decode_s(self) -> float:
        latest = self._last_round or self._server
        return latest.decode_s if latest is not None else 0.0
