"""llama.cpp's own page: lines of JSON, the first a session; formerly one JSON object for each conversation."""

from collections.abc import Iterable
from typing import Any

from app.exchange.sources.building import (
    Building,
    Found,
    Spoken,
    attachment,
    date_of,
    dict_of,
    key_of,
    list_of,
    text_of,
    thought,
)

NAME = "llama.cpp"
_SPOKEN: dict[str, Spoken] = {"user": "user", "assistant": "assistant"}


def is_one(value: Any) -> bool:
    return isinstance(dict_of(value).get("conv"), dict) and isinstance(value.get("messages"), list)


def begins(line: Any) -> bool:
    """Whether this first line of a file is a session."""
    return dict_of(line).get("type") == "session" and "id" in line


def read(value: dict[str, Any]) -> Found | None:
    built = Building()
    for message in value["messages"]:
        _message(built, dict_of(message))
    return _found(built, dict_of(value["conv"]))


def read_lines(lines: Iterable[Any]) -> Iterable[Found | None]:
    """Several sessions may stand in one file, one after the other."""
    session: dict[str, Any] | None = None
    built = Building()
    for line in map(dict_of, lines):
        if line.get("type") == "session":
            if session is not None:
                yield _found(built, session)
            session, built = line, Building()
        elif line.get("type") == "message" and session is not None:
            _message(built, dict_of(line.get("message")))
    if session is not None:
        yield _found(built, session)


def _found(built: Building, session: dict[str, Any]) -> Found | None:
    updated = date_of(session.get("lastModified"))
    return built.found(session.get("name"), None, updated, key_of(session.get("currNode")))


def _message(built: Building, message: dict[str, Any]) -> None:
    key, parent, role = key_of(message.get("id")), key_of(message.get("parent")), text_of(message.get("role"))
    if key is None:
        built.left_out["messages without an id"] += 1
        return
    content = text_of(message.get("content"))
    if role == "system":
        built.system = built.system or content
        built.skip(key, parent)
        return
    if role not in _SPOKEN:
        built.skip(key, parent, "tool results" if role == "tool" else "")
        return
    if message.get("toolCalls"):
        built.left_out["tool calls"] += 1
    files = []
    for extra in map(dict_of, list_of(message.get("extra"))):
        if found := attachment(extra.get("name"), extra.get("content")):
            files.append(found)
        else:
            built.left_out["images" if "image" in text_of(extra.get("type")).lower() else "attached files"] += 1
    reasoning = text_of(message.get("reasoningContent")) or text_of(message.get("thinking"))
    text = thought(reasoning) + content if content.strip() or not files else content
    built.add(key, parent, _SPOKEN[role], text, date_of(message.get("timestamp")), files)
