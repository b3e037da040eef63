"""Open WebUI: a list of chats, or one, each with a tree of messages."""

import html
import re
from collections.abc import Iterator
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

NAME = "Open WebUI"
_SPOKEN: dict[str, Spoken] = {"user": "user", "assistant": "assistant"}
_BEGIN, _END = "<details", "</details>"
_KIND = re.compile(r'\stype="(reasoning|tool_calls|code_interpreter)"')  # within one tag


def is_one(value: Any) -> bool:
    chat = dict_of(dict_of(value).get("chat"))
    return isinstance(chat.get("history"), dict) or isinstance(chat.get("messages"), list)


def read(value: dict[str, Any]) -> Found | None:
    chat = dict_of(value["chat"])
    built = Building(system=text_of(chat.get("system")) or text_of(dict_of(chat.get("params")).get("system")))
    history = dict_of(chat.get("history"))
    entries = dict_of(history.get("messages"))
    tip = key_of(history.get("currentId"))
    if entries:
        for key, message in entries.items():
            _message(built, str(key), key_of(dict_of(message).get("parentId")), dict_of(message))
    else:  # older ones are a list alone
        before = None
        for number, message in enumerate(list_of(chat.get("messages"))):
            _message(built, str(number), before, dict_of(message))
            before = tip = str(number)
    created = date_of(value.get("created_at")) or date_of(chat.get("timestamp"))
    marks = {"pinned": value.get("pinned") is True, "archived": value.get("archived") is True}
    return built.found(chat.get("title") or value.get("title"), created, date_of(value.get("updated_at")), tip, **marks)


def _message(built: Building, key: str, parent: str | None, message: dict[str, Any]) -> None:
    role, content = text_of(message.get("role")), message.get("content")
    if role == "system" and not built.system:
        built.system = text_of(content)
        built.skip(key, parent)
        return
    if role not in _SPOKEN:
        built.skip(key, parent, "system messages" if role == "system" else "tool results")
        return
    if isinstance(content, list):
        parts = [dict_of(part) for part in content]
        built.left_out["images"] += sum("image" in text_of(part.get("type")) for part in parts)
        content = "\n".join(filter(None, [text_of(part.get("text")) for part in parts]))
    text = _reasoned(built, text_of(content)) if role == "assistant" else text_of(content)
    files = []
    for one in map(dict_of, list_of(message.get("files"))):
        inside = dict_of(dict_of(one.get("file")).get("data"))
        if found := attachment(one.get("name"), inside.get("content")):
            files.append(found)
        else:
            built.left_out["images" if one.get("type") == "image" else "attached files"] += 1
    if message.get("error"):
        built.left_out["error messages"] += 1
    built.add(key, parent, _SPOKEN[role], text, date_of(message.get("timestamp")), files)


def _reasoned(built: Building, text: str) -> str:
    """An answer whose folded blocks are reasoning as ours is; calls of tools are left out."""
    reasoning, rest = [], []
    for kind, inner in _unfolded(text):
        if not kind:
            rest.append(inner)
        elif kind == "reasoning":
            lines = _unescaped(_without_summary(inner)).strip().split("\n")
            reasoning.append("\n".join(line.removeprefix("> ").removeprefix(">") for line in lines))
        else:
            built.left_out["tool calls"] += 1
    return thought("\n\n".join(reasoning)) + "".join(rest)


def _unfolded(text: str) -> Iterator[tuple[str, str]]:
    """The folded blocks with their kinds, and under "" what stands between them, in one pass.

    >>> list(_unfolded('a <details type="reasoning" done="true">b</details> c'))
    [('', 'a '), ('reasoning', 'b'), ('', 'c')]
    """
    done = at = 0  # what is told; what is looked at
    while (begin := text.find(_BEGIN, at)) >= 0 and (tag_end := text.find(">", begin)) >= 0:
        begin = text.rfind(_BEGIN, begin, tag_end)
        kind = _KIND.search(text, begin + len(_BEGIN), tag_end)
        at = tag_end + 1
        if kind is None or not text[begin + len(_BEGIN)].isspace():
            continue
        if (end := text.find(_END, at)) < 0:
            break
        yield "", text[done:begin]
        yield kind[1], text[at:end]
        done = end + len(_END)
        while text[done : done + 1].isspace():
            done += 1
        at = done
    yield "", text[done:]


def _without_summary(text: str) -> str:
    begin = text.find("<summary>")
    end = text.find("</summary>", begin) if begin >= 0 else -1
    return text if end < 0 else text[:begin].rstrip() + text[end + len("</summary>") :].lstrip()


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # "&#" with more digits than a number may have
        return text
