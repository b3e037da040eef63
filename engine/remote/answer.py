"""One answer of a server as the engine's events. Times are those that pass here; figures of drafts are the server's."""

import time
from collections.abc import Callable, Generator, Iterator

from engine.config import GenerationRequest
from engine.events import Certificate, Event, Finished, PrefillProgress, ServerProgress, StopReason, TextDelta
from engine.metrics import GenerationStats, Served, Speculation
from engine.remote.chunks import Piece
from engine.remote.http import Exchange
from engine.remote.probing import Server
from engine.remote.talk import Afterwards, Item, Waits

OPEN, CLOSE = "<think>\n", "\n</think>\n\n"


class Words:
    """Joins reasoning and text as one text, the reasoning in the tags that the page knows.

    `begun`: the answer that goes on, which may have been cut short in its reasoning. A server that goes on there with
    text does not tell reasoning apart, and writes the end of it itself.

    >>> words = Words()
    >>> [words.add(Piece(reasoning="so")), words.add(Piece(text="Yes."))]
    ['<think>\\nso', '\\n</think>\\n\\nYes.']
    """

    def __init__(self, begun: str = "") -> None:
        self._reasons = begun.lstrip().startswith(OPEN.strip()) and CLOSE.strip() not in begun
        self._ours = not self._reasons  # whether it is for us to close what is open

    def add(self, piece: Piece) -> str:
        said = ""
        if piece.reasoning:
            said += ("" if self._reasons else OPEN) + piece.reasoning
            self._reasons = self._ours = True
        if piece.text:
            said += (CLOSE if self._reasons and self._ours else "") + piece.text
            self._reasons = self._reasons and not self._ours
        return said


class Gathered:
    """What has come of an answer."""

    def __init__(self, server: Server, clock: Callable[[], float], begun: str = "") -> None:
        self._server = server
        self._clock = clock
        self._started_s = clock()
        self._first_s: float | None = None
        self._last_s = self._started_s
        self._pieces: list[str] = []
        self._words = Words(begun)
        self._num_pieces = 0
        self._counted: int | None = None
        self._num_prompt = self._num_reused = 0
        self._answer: Speculation | None = None
        self._meanwhile: Speculation | None = None
        self.stop_reason: StopReason | None = None

    def take(self, piece: Piece) -> str:
        """Note a piece; returns the text that it adds."""
        said = self._words.add(piece)
        if said:
            self._last_s = self._clock()
            self._first_s = self._first_s if self._first_s is not None else self._last_s
            self._pieces.append(said)
            self._num_pieces += 1
        self._counted = piece.num_tokens if piece.num_tokens is not None else self._counted
        self._num_prompt = piece.num_prompt_tokens if piece.num_prompt_tokens is not None else self._num_prompt
        self._num_reused = piece.num_reused_tokens if piece.num_reused_tokens is not None else self._num_reused
        self._answer = piece.speculation or self._answer
        self.stop_reason = piece.stop_reason or self.stop_reason
        return said

    def end(self, afterwards: Afterwards) -> None:
        self._meanwhile = afterwards.meanwhile

    @property
    def _num_tokens(self) -> int:
        return self._counted if self._counted is not None else self._num_pieces

    @property
    def _decode_s(self) -> float:
        return self._last_s - self._first_s if self._first_s is not None else 0.0

    @property
    def _ttft_s(self) -> float:
        return (self._first_s if self._first_s is not None else self._clock()) - self._started_s

    @property
    def _served(self) -> Served:
        answer = self._answer
        if answer is None and self._server.kind == "llama-server" and self._server.speculation == "on":
            answer = Speculation(drafted=0, accepted=0)  # it leaves them out where it drafted nothing
        return Served(kind=self._server.kind, answer=answer, meanwhile=self._meanwhile)

    def progress(self, note: str = "") -> ServerProgress:
        begun = self._first_s is not None
        return ServerProgress(
            num_tokens=self._num_tokens,
            decode_s=self._decode_s,
            ttft_s=self._ttft_s if begun else None,
            served=self._served if begun else None,
            note=note,
        )

    def finished(self, request: GenerationRequest, *, cancelled: bool) -> Finished:
        stats = GenerationStats(
            num_prompt_tokens=self._num_prompt,
            num_reused_tokens=self._num_reused,
            num_tokens=self._num_tokens,
            num_committed=max(0, self._num_tokens - 1),
            draft_sizes=(),
            accepted_lengths=(),
            prefill_s=self._ttft_s,
            ttft_s=self._ttft_s,
            decode_s=self._decode_s,
            draft_s=0.0,
            plain_round_s=None,
            served=self._served,
        )
        reason: StopReason = "cancelled" if cancelled and self.stop_reason is None else self.stop_reason or "eos"
        return Finished(
            stop_reason=reason,
            text="".join(self._pieces),
            token_ids=(),  # servers tell them seldom, and another model has others
            stats=stats,
            certificate=Certificate(setting=request.exactness, tier="C", widths=()),
            verbatim=request.verbatim,
        )


def answer(
    server: Server,
    request: GenerationRequest,
    exchange: Exchange[Item],
    cancelled: Callable[[], bool],
    learnt: Callable[[Afterwards], None],
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, None]:
    """The events of an answer; `Finished` comes last, also where it was cancelled. Raises an `EngineError`."""
    gathered = Gathered(server, clock, request.messages[-1].text if request.continue_final else "")
    yield gathered.progress()
    try:
        for item in exchange:
            if cancelled():
                break
            yield from _events(gathered, item)
            if isinstance(item, Afterwards):
                learnt(item)
    finally:
        exchange.close()
    yield gathered.finished(request, cancelled=cancelled())


def _events(gathered: Gathered, item: Item) -> Iterator[Event]:
    match item:
        case Waits(note=note):
            yield gathered.progress(note)
        case Piece():
            if said := gathered.take(item):
                yield TextDelta(text=said)
            if item.num_prompt_tokens:
                reused = item.num_reused_tokens or 0
                yield PrefillProgress(done=item.num_prompt_tokens, total=item.num_prompt_tokens, reused=reused)
            yield gathered.progress()
        case Afterwards():
            gathered.end(item)
            yield gathered.progress()
