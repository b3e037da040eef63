"""Jan: a folder for each thread, with `messages.jsonl` and the title in `thread.json` beside it."""

from collections.abc import Iterable
from typing import Any

from app.exchange.sources.building import Building, Found, Spoken, date_of, dict_of, key_of, list_of, text_of, thought

NAME = "Jan"
_SPOKEN: dict[str, Spoken] = {"user": "user", "assistant": "assistant"}


def begins(line: Any) -> bool:
    """Whether this first line of a file is a message of a thread."""
    line = dict_of(line)
    return "thread_id" in line and "role" in line and "content" in line


def is_thread(value: Any) -> bool:
    """Whether this is what stands beside the messages of a thread."""
    value = dict_of(value)
    return "id" in value and "title" in value and ("assistants" in value or value.get("object") == "thread")


def read_lines(lines: Iterable[Any], thread: Any = None) -> Found | None:
    thread, built, before = dict_of(thread), Building(), None
    for number, message in enumerate(map(dict_of, lines)):
        key = key_of(message.get("id")) or f"line {number}"
        role = text_of(message.get("role"))
        if role == "system" and not built.system:
            built.system = _text(built, message)
            built.skip(key, before)
        elif role not in _SPOKEN:
            built.skip(key, before, "system messages" if role == "system" else "tool results")
        else:
            if files := list_of(message.get("attachments")):
                built.left_out["attached files"] += len(files)
            built.add(key, before, _SPOKEN[role], _text(built, message), date_of(message.get("created_at")))
        before = key
    created = date_of(thread.get("created")) or date_of(thread.get("created_at"))
    return built.found(thread.get("title"), created, date_of(thread.get("updated")), before)


def _text(built: Building, message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts, thoughts = [], []
    for part in map(dict_of, list_of(content)):
        kind, inner = text_of(part.get("type")), part.get("text")
        text = text_of(inner) or text_of(dict_of(inner).get("value"))
        if kind == "text":
            texts.append(text)
        elif kind == "reasoning":
            thoughts.append(thought(text))
        elif kind:
            built.left_out["images" if "image" in kind else "tool calls"] += 1
    return "".join(thoughts + texts)
