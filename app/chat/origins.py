"""Where an answer's tokens come from, gathered from its events as it grows. Knows neither threads nor files."""

from collections.abc import Sequence

from app.store.origins import AnswerOrigins, Block, Drafted, Refused, Source, Undrafted, length_of
from engine.config import Mode
from engine.events import Event, Origins, Round, TextDelta


class OriginsGrowing:
    """The blocks of one run, after `start` characters of the message."""

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self._first = 0
        self._blocks: list[Block] = []
        self._open = False  # the text of the last block is still to come

    def take(self, event: Event, mode: Mode) -> None:
        """`mode`: how the answer is written now."""
        match event:
            case Round() if event.origins is not None:
                self._blocks.append(_drafted(event, event.origins))
                self._open = False
            case Round():
                why = "off" if mode == "plain" else event.undrafted
                last = self._blocks[-1] if self._blocks else None
                if isinstance(last, Undrafted) and last.why == why:
                    self._blocks[-1] = Undrafted(last.rounds + len(event.token_ids), last.length, why)
                else:
                    self._blocks.append(Undrafted(len(event.token_ids), 0, why))
                self._open = True
            case TextDelta() if not self._blocks:
                self._first += len(event.text)
            case TextDelta() if self._open:
                last = self._blocks[-1]
                assert isinstance(last, Undrafted)
                self._blocks[-1] = Undrafted(last.rounds, last.length + len(event.text), last.why)

    def since(self, number: int) -> tuple[int, Sequence[Block]]:
        """Where block `number` begins in the message, and the blocks from there on."""
        return self._start + self._first + sum(map(length_of, self._blocks[:number])), self._blocks[number:]

    @property
    def whole(self) -> AnswerOrigins:
        return AnswerOrigins(start=self._start, first=self._first, blocks=tuple(self._blocks))


def _drafted(event: Round, origins: Origins) -> Drafted:
    names = event.sources[: len(origins.places)]
    chance = origins.refused_chance
    refused = Refused(
        origins.refused,
        Source(origins.refused_source, origins.refused_place),
        None if chance is None else round(100 * chance),
    )
    return Drafted(
        origins.lengths,
        tuple(map(Source, names, origins.places)),
        tuple(round(100 * chance) for chance in origins.chances),
        refused if origins.refused else None,
    )
