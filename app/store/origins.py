"""Where the tokens of stored answers came from, a compact record beside each run; see `engine.events.Origins`.

It is deleted with its message. It is not exported: it holds words that the model did not write, and names other
conversations, which a file that is handed on must not.
"""

import json
import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.store.store import Store
from engine import codec

log = logging.getLogger(__name__)

Why = Literal["", "off", "resting", "unsure"]
"""Why nothing was drafted: not known, switched off, or what `engine.events.Undrafted` says."""

WHYS: tuple[Why, ...] = ("", "off", "resting", "unsure")
_NO_CHANCE = -1
# What most records hold: packed against it, a short one takes a third. It belongs to the format.
_USUAL = (
    b'"refused":[[0," the",0,50],[1,"\\n",1,50]],"percents":[90,95,97,98,99,99,99,100,100,100],'
    b'"names":[["heads",""],["memory","chat 1"],["pointer","prompt"],["pointer","chat"],["pointer","answer"],'
    b'["skip","answer"],["swap","answer"],["recycled",""],["ngram-4","chat"],["ngram-5","prompt"],["ngram-4","prompt"],'
    b'["ngram-3","prompt"],["ngram-2","prompt"],["ngram-5","answer"],["ngram-4","answer"],["ngram-3","answer"],'
    b'["ngram-2","answer"],["ngram-1","answer"]],"sources":[0,1,0,0,0,1,1,1,2,2,2],'
    b'{"start":0,"first":1,"steps":[4,1,2,3,-1,5],"lengths":[1,2,3,4,5,4,3,2,1],"whys":[3,3,3],"accepted":[0,1,2,3]'
)
_MAX_BYTES = 32 * 2**20  # of one record, unpacked: far above the longest answer


@dataclass(frozen=True, slots=True)
class Source:
    """What proposed a token, and where that was read: the engine's names for both."""

    name: str
    place: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A draft that the model did not write; `percent` is the chance of its first token."""

    text: str
    source: Source
    percent: int | None


@dataclass(frozen=True, slots=True)
class Drafted:
    """One round whose draft was verified. `lengths` are characters of each committed token, accepted ones first."""

    lengths: tuple[int, ...]
    sources: tuple[Source, ...]  # of the accepted tokens
    percents: tuple[int, ...]  # their chances, or none at all
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class Undrafted:
    """Rounds in a row without a draft, one token each; `length` are their characters."""

    rounds: int
    length: int
    why: Why


Block = Drafted | Undrafted


def length_of(block: Block) -> int:
    """Characters that a block made."""
    return sum(block.lengths) if isinstance(block, Drafted) else block.length


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOrigins:
    """Of one run of a message, whose text begins with the `start`-th character; the first token, of `first`
    characters, belongs to no round."""

    start: int
    first: int
    blocks: tuple[Block, ...]

    @property
    def tells(self) -> bool:
        """Whether there is anything to keep."""
        return any(isinstance(block, Drafted) or block.why in ("resting", "unsure") for block in self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """As it is kept: one list for each field of all blocks."""

    start: int
    first: int
    steps: tuple[int, ...]  # tokens of a drafted round; of undrafted ones their number, negative
    lengths: tuple[int, ...]  # of each token of a drafted round, of all undrafted ones of a step together
    whys: tuple[int, ...]  # of each undrafted step
    accepted: tuple[int, ...]  # of each drafted step
    names: tuple[tuple[str, str], ...]
    sources: tuple[int, ...]  # of each accepted token: a number of `names`
    percents: tuple[int, ...]
    refused: tuple[tuple[int, str, int, int], ...]  # number of the drafted step, text, source, percent


def pack(origins: AnswerOrigins) -> bytes:
    """A record in few bytes."""
    numbers: dict[Source, int] = {}

    def number(source: Source) -> int:
        return numbers.setdefault(source, len(numbers))

    drafted = [block for block in origins.blocks if isinstance(block, Drafted)]
    undrafted = [block for block in origins.blocks if isinstance(block, Undrafted)]
    columns = _Columns(
        start=origins.start,
        first=origins.first,
        steps=tuple(len(b.lengths) if isinstance(b, Drafted) else -b.rounds for b in origins.blocks),
        lengths=tuple(n for b in origins.blocks for n in (b.lengths if isinstance(b, Drafted) else (b.length,))),
        whys=tuple(WHYS.index(block.why) for block in undrafted),
        accepted=tuple(len(block.sources) for block in drafted),
        sources=tuple(number(source) for block in drafted for source in block.sources),
        percents=tuple(
            percent for block in drafted for percent in block.percents or (_NO_CHANCE,) * len(block.sources)
        ),
        refused=tuple(
            (at, refused.text, number(refused.source), _NO_CHANCE if refused.percent is None else refused.percent)
            for at, refused in enumerate(block.refused for block in drafted)
            if refused is not None
        ),
        names=tuple((source.name, source.place) for source in numbers),
    )
    packer = zlib.compressobj(9, zdict=_USUAL)
    return packer.compress(json.dumps(codec.dump(columns), separators=(",", ":")).encode()) + packer.flush()


def unpack(data: bytes) -> AnswerOrigins:
    """The record that `pack` wrote; raises `ValueError` where it is damaged."""
    try:
        unpacker = zlib.decompressobj(zdict=_USUAL)
        text = unpacker.decompress(data, _MAX_BYTES).decode()
        columns = codec.loads(_Columns, text, "the record")
        blocks = tuple(_blocks(columns))
    except (zlib.error, UnicodeDecodeError, StopIteration, IndexError, TypeError) as exc:
        raise ValueError(f"a record of where tokens came from is damaged ({type(exc).__name__})") from exc
    return AnswerOrigins(start=columns.start, first=columns.first, blocks=blocks)


def _blocks(columns: _Columns) -> Iterable[Block]:
    sources = [Source(*name) for name in columns.names]
    refused = {at: Refused(text, sources[n], None if p < 0 else p) for at, text, n, p in columns.refused}
    lengths, whys = list(columns.lengths), iter(columns.whys)
    at = token = step = 0
    found: list[Block] = []
    for size in columns.steps:
        if size <= 0:
            found.append(Undrafted(-size, lengths[at], WHYS[next(whys)]))
            at += 1
            continue
        accepted = columns.accepted[step]
        percents = columns.percents[token : token + accepted]
        found.append(
            Drafted(
                tuple(lengths[at : at + size]),
                tuple(sources[n] for n in columns.sources[token : token + accepted]),
                percents if _NO_CHANCE not in percents else (),
                refused.get(step),
            )
        )
        at, token, step = at + size, token + accepted, step + 1
    if at != len(lengths) or token != len(columns.sources):
        raise IndexError
    return found


class OriginStore:
    """The records of a store's answers; every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, message_id: int, run_id: int, origins: AnswerOrigins, text: str) -> None:
        """Keep the record of a run, whose message has this text.

        A refused guess out of another chat is left out: its words are that chat's, and go with it. So is the record of
        a text with NUL, which the store leaves out of the text, so that lengths would not fit.
        """
        if "\0" in text:
            return
        row = {
            "run_id": run_id,
            "message_id": message_id,
            "length": len(text) - origins.start,
            "text_check": _check(text[origins.start :]),
            "record": pack(replace(origins, blocks=tuple(map(_own_words, origins.blocks)))),
        }
        with self._store.transaction() as db:
            db["origins"].insert(row)

    def copy(self, message_id: int, to: int) -> None:
        """Keep what is kept of a message for a copy of it, too, which has as many runs."""
        runs = "SELECT id FROM runs WHERE message_id = ? ORDER BY id"
        columns = "length, text_check, record"
        with self._store.transaction() as db:
            old, new = ([row["id"] for row in db.query(runs, [each])] for each in (message_id, to))
            for run_id, copied in zip(old, new, strict=True):
                db.execute(
                    f"INSERT INTO origins (run_id, message_id, {columns}) SELECT ?, ?, {columns} FROM origins "
                    "WHERE run_id = ?",
                    [copied, to, run_id],
                )

    def of(self, message_id: int, text: str) -> list[AnswerOrigins]:
        """The records of a message's runs, the first one first; those alone that belong to this text of it."""
        found = self._rows("SELECT * FROM origins WHERE message_id = ? ORDER BY run_id", [message_id])
        unpacked = [(row, origins_of_row(row["run_id"], row["record"])) for row in found]
        kept = [(row, origins) for row, origins in unpacked if origins is not None]
        return [o for row, o in kept if row["text_check"] == _check(text[o.start : o.start + row["length"]])]

    def _rows(self, sql: str, parameters: Sequence[object]) -> list[dict[str, Any]]:
        with self._store.transaction() as db:
            return list(db.query(sql, parameters))


def _own_words(block: Block) -> Block:
    if isinstance(block, Drafted) and block.refused is not None and block.refused.source.place.startswith("chat "):
        return replace(block, refused=None)
    return block


def _check(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def origins_of_row(run_id: int, record: bytes) -> AnswerOrigins | None:
    """The record, or None with a line in the log where it is damaged."""
    try:
        return unpack(record)
    except ValueError as exc:
        log.warning("Run %s: %s; its answer is shown without.", run_id, exc)
        return None
