"""What crosses the pipe between the page's process and the engine's: one JSON object a line, in both directions.

Commands go to the engine, replies come back; both carry the number of the command they belong to. A reply is a
`started` (once and first: whatever was printed before it is not protocol), an event, the end of a command,
an error, or a `state`, which comes unasked. Knows nothing of processes, threads and pipes.
"""

import json
from dataclasses import dataclass, fields
from typing import Any, Literal

from engine import codec
from engine.config import GenerationRequest, ModelSpec
from engine.errors import EngineError, from_type
from engine.events import (
    CompareEvent,
    Event,
    Finished,
    LaneEvent,
    LoadProgress,
    MemoryView,
    ModelInfo,
    Origins,
    PrefillProgress,
    Round,
    ServerProgress,
    TextDelta,
    Verdict,
)

Do = Literal["load", "generate", "compare", "cancel", "draft", "remember", "forget", "look", "count"]
Kind = Literal["started", "event", "end", "error", "state", "counts"]

MAX_LINE_BYTES = 64 * 2**20  # far above the longest answer; a line that never ends is damage, not a message
_SHOWN = 80  # characters of a damaged line that its sentence quotes


_EVENTS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (LoadProgress, PrefillProgress, Round, TextDelta, ServerProgress, Finished, Verdict, MemoryView)
}


_COUNTS: Any = tuple[int, ...] | None


class DamagedLine(Exception):
    """A line that is no message; `id` is its command's number where that much could be read."""

    def __init__(self, sentence: str, id: int | None = None) -> None:
        super().__init__(sentence)
        self.id = id


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Numbers rise; `cancel` and `draft` carry that of the command which is to end, or to draft or not from now on.

    These, `remember` and `forget` get no reply; a `count` gets `counts`, also while an answer runs.
    """

    id: int
    do: Do
    spec: ModelSpec | None = None  # of a load
    request: GenerationRequest | None = None  # of a generate or compare
    drafting: bool = False  # of a draft
    conversation: str = ""  # of a remember or forget
    texts: tuple[str, ...] = ()  # of a remember or count; of a look, the phrase

    def __post_init__(self) -> None:
        given: dict[str, object] = {
            "load": self.spec,
            "generate": self.request,
            "compare": self.request,
            "cancel": self.id,
        }
        given |= {"draft": self.id, "look": self.id, "count": self.texts}
        if not given.get(self.do, self.conversation):
            raise ValueError(f"{self.do} does not say what")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`id` None: it belongs to no command. `fatal`: the engine's process ends after this reply.

    A `state` says what is known of the model now, and as its event how far the rest is, if answers wait for it.
    """

    id: int | None
    kind: Kind
    event: LoadProgress | Event | CompareEvent | MemoryView | None = None
    info: ModelInfo | None = None  # with the end of a load, and with a state
    error: Exception | None = None  # an `EngineError` or a `ValueError`
    fatal: bool = False
    counts: tuple[int, ...] | None = None  # of the texts of a count; None: no model is loaded


def encode(message: Command | Reply) -> bytes:
    """A message as one line.

    Raises `TypeError` or `ValueError` where it holds what JSON cannot say (a tensor in an event).
    """
    if isinstance(message, Command):
        data = codec.dump(message)
    else:
        error = message.error
        data = {"id": message.id, "kind": message.kind, "info": codec.dump(message.info), "fatal": message.fatal}
        if message.kind == "counts":
            data["counts"] = message.counts
        if message.event is not None:
            data["event"] = _event_json(message.event)
        if error is not None:
            name = error.type if isinstance(error, EngineError) else ValueError.__name__
            data["error"] = {"type": name, "message": str(error)}
    # ASCII only: a lone surrogate in a prompt survives, and no line separator can hide in the text
    return json.dumps(data, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def decode_command(line: bytes) -> Command:
    """The command in `line`; raises `DamagedLine`."""
    data = _object(line)
    id = _number(data, line)
    try:
        return codec.load(Command, data, "the command", any_text=True)
    except (ValueError, RecursionError) as exc:
        raise DamagedLine(f"The engine was sent a line that is no command ({_why(exc)}): {_quoted(line)}.", id) from exc


def decode_reply(line: bytes) -> Reply:
    """The reply in `line`; raises `DamagedLine`."""
    data = _object(line)
    id = _number(data, line)
    try:
        return Reply(
            id=id,
            kind=data["kind"],
            event=_event(data["event"]) if data["kind"] == "event" or "event" in data else None,
            info=codec.load(ModelInfo, data["info"], "the model", any_text=True) if data["info"] else None,
            error=from_type(data["error"]["type"], data["error"]["message"]) if data["kind"] == "error" else None,
            fatal=data["fatal"],
            counts=codec.load(_COUNTS, data["counts"], "the counts") if data["kind"] == "counts" else None,
        )
    except (KeyError, TypeError, ValueError, RecursionError) as exc:
        raise DamagedLine(f"The engine sent a line that is no reply ({_why(exc)}): {_quoted(line)}.", id) from exc


def _event_json(event: LoadProgress | Event | CompareEvent | MemoryView) -> dict[str, Any]:
    """An event with its type's name; that of a lane as the event itself, with the lane's name."""
    inner = event.event if isinstance(event, LaneEvent) else event
    data: dict[str, Any] = {"type": type(inner).__name__, "lane": event.lane if isinstance(event, LaneEvent) else None}
    if isinstance(inner, Round) and not inner.likelihoods:
        return data | {"values": _round_json(inner)}
    return data | {"values": codec.dump(inner)}


_ROUND = tuple(f.name for f in fields(Round) if f.name not in ("origins", "loop"))
_ORIGINS = tuple(f.name for f in fields(Origins))


def _round_json(event: Round) -> dict[str, Any]:
    """What `codec.dump` gives, in a third of its time, which every round takes from the engine."""
    values = {name: getattr(event, name) for name in _ROUND}
    values["loop"] = codec.dump(event.loop)
    values["origins"] = None
    if event.origins is not None:
        values["origins"] = {name: getattr(event.origins, name) for name in _ORIGINS}
    return values


def _event(data: dict[str, Any]) -> LoadProgress | Event | CompareEvent | MemoryView:
    event = codec.load(_EVENTS[data["type"]], data["values"], "the event", any_text=True)
    return LaneEvent(lane=data["lane"], event=event) if data["lane"] else event


def _object(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise DamagedLine(f"A line between the page and the engine is not JSON: {_quoted(line)}.") from exc
    if not isinstance(data, dict):
        raise DamagedLine(f"A line between the page and the engine is no JSON object: {_quoted(line)}.")
    return data


def _number(data: dict[str, Any], line: bytes) -> int | None:
    id = data.get("id")
    if id is not None and (isinstance(id, bool) or not isinstance(id, int)):
        raise DamagedLine(f"A line between the page and the engine has no number: {_quoted(line)}.")
    return id


def _why(exc: Exception) -> str:
    return f"{exc.args[0]} is missing" if isinstance(exc, KeyError) else str(exc).rstrip(".")


def _quoted(line: bytes) -> str:
    text = line[: 4 * _SHOWN].decode("utf-8", "replace").strip()
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
