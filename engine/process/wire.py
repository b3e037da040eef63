"""What crosses the pipe between the page's process and the engine's: one JSON object a line, in both directions.

Commands go to the engine, replies come back; both carry the number of the command they belong to. A reply is a
`hello` (once, when the pipe stands: whatever was printed before it is not protocol), an event, the end of a command,
or an error. Knows nothing of processes, threads and pipes.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from engine.config import GenerationRequest, ModelSpec
from engine.errors import EngineError, from_type
from engine.events import CompareEvent, Event, LoadProgress, ModelInfo, from_json, to_json

Do = Literal["load", "generate", "compare", "cancel", "remember", "forget"]
Kind = Literal["hello", "event", "end", "error"]

MAX_LINE_BYTES = 64 * 2**20  # far above the longest answer; a line that never ends is damage, not a message
_SHOWN = 80  # characters of a damaged line that its sentence quotes


class DamagedLine(Exception):
    """A line that is no message; `id` is its command's number where that much could be read."""

    def __init__(self, sentence: str, id: int | None = None) -> None:
        super().__init__(sentence)
        self.id = id


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Numbers rise; `cancel` carries the number of the command that is to end. `remember` and `forget` get no reply."""

    id: int
    do: Do
    spec: ModelSpec | None = None  # of a load
    request: GenerationRequest | None = None  # of a generate or compare
    conversation: str = ""  # of a remember or forget
    texts: tuple[str, ...] = ()  # of a remember


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`id` None: it belongs to no command. `fatal`: the engine's process ends after this reply."""

    id: int | None
    kind: Kind
    event: LoadProgress | Event | CompareEvent | None = None
    info: ModelInfo | None = None  # with the end of a load
    error: Exception | None = None  # an `EngineError` or a `ValueError`
    fatal: bool = False


def encode(message: Command | Reply) -> bytes:
    """A message as one line.

    Raises `TypeError` or `ValueError` where it holds what JSON cannot say (a tensor in an event).
    """
    data: dict[str, Any] = {"id": message.id}
    if isinstance(message, Command):
        data["do"] = message.do
        if message.spec is not None:
            data["spec"] = message.spec.to_json()
        if message.request is not None:
            data["request"] = message.request.to_json()
        if message.conversation:
            data |= {"conversation": message.conversation, "texts": message.texts}
    else:
        data["kind"] = message.kind
        if message.event is not None:
            data["event"] = to_json(message.event)
        if message.info is not None:
            data["info"] = message.info.to_json()
        if message.error is not None:
            known = isinstance(message.error, EngineError | ValueError)
            type_name = type(message.error).__name__ if known else EngineError.__name__
            data["error"] = {"type": type_name, "message": str(message.error), "fatal": message.fatal}
    # ASCII only: a lone surrogate in a prompt survives, and no line separator can hide in the text
    return json.dumps(data, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def decode_command(line: bytes) -> Command:
    """The command in `line`; raises `DamagedLine`."""
    data = _object(line)
    id = _number(data, line)
    try:
        do = data["do"]
        if id is None or do not in get_args(Do):
            raise ValueError(f"no such command: {do!r}")
        spec = ModelSpec.from_json(data["spec"]) if do == "load" else None
        request = GenerationRequest.from_json(data["request"]) if do in ("generate", "compare") else None
        if do not in ("remember", "forget"):
            return Command(id=id, do=do, spec=spec, request=request)
        conversation, texts = data["conversation"], tuple(data["texts"])
        if not all(isinstance(text, str) for text in (conversation, *texts)):
            raise ValueError("a conversation is remembered by its name and its texts")
        return Command(id=id, do=do, conversation=conversation, texts=texts)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise DamagedLine(f"The engine was sent a line that is no command ({_why(exc)}): {_quoted(line)}.", id) from exc


def decode_reply(line: bytes) -> Reply:
    """The reply in `line`; raises `DamagedLine`."""
    data = _object(line)
    id = _number(data, line)
    try:
        kind = data["kind"]
        if kind not in get_args(Kind):
            raise ValueError(f"no such reply: {kind!r}")
        event = from_json(data["event"]) if kind == "event" else None
        info = ModelInfo.from_json(data["info"]) if data.get("info") else None
        error = from_type(data["error"]["type"], data["error"]["message"]) if kind == "error" else None
        return Reply(
            id=id, kind=kind, event=event, info=info, error=error, fatal=bool(error and data["error"]["fatal"])
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise DamagedLine(f"The engine sent a line that is no reply ({_why(exc)}): {_quoted(line)}.", id) from exc


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
