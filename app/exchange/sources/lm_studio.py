"""LM Studio: one `*.conversation.json` for each chat; a message has versions, and an answer has steps."""

from typing import Any

from app.exchange.sources.building import Building, Found, Spoken, date_of, dict_of, list_of, text_of, thought

NAME = "LM Studio"
_SPOKEN: dict[str, Spoken] = {"user": "user", "assistant": "assistant"}


def is_one(value: Any) -> bool:
    messages = list_of(dict_of(value).get("messages"))
    return bool(messages) and all(isinstance(dict_of(message).get("versions"), list) for message in messages)


def read(value: dict[str, Any]) -> Found | None:
    built = Building(system=text_of(value.get("systemPrompt")))
    created = date_of(value.get("createdAt"))
    before: str | None = None
    for number, message in enumerate(map(dict_of, value["messages"])):
        versions = list_of(message.get("versions"))
        chosen = message.get("currentlySelected", 0)
        if isinstance(chosen, bool) or not isinstance(chosen, int) or not 0 <= chosen < len(versions):
            chosen = max(0, len(versions) - 1)
        for at, version in enumerate(versions):
            _version(built, f"{number}.{at}", before, dict_of(version))
        if versions:
            before = f"{number}.{chosen}"
    return built.found(value.get("name"), created, date_of(value.get("userLastMessagedAt")), before)


def _version(built: Building, key: str, parent: str | None, version: dict[str, Any]) -> None:
    role = text_of(version.get("role"))
    if role == "system":
        built.system = built.system or _parts(built, version.get("content"))
        built.skip(key, parent)
    elif role not in _SPOKEN:
        built.skip(key, parent, "tool results")
    elif isinstance(steps := version.get("steps"), list):
        built.add(key, parent, _SPOKEN[role], "".join(_step(built, dict_of(step)) for step in steps))
    else:
        built.add(key, parent, _SPOKEN[role], _parts(built, version.get("content")))


def _step(built: Building, step: dict[str, Any]) -> str:
    kind = text_of(step.get("type"))
    if kind == "contentBlock":
        text = _parts(built, step.get("content"))
        return thought(text) if dict_of(step.get("style")).get("type") == "thinking" else text
    if kind not in ("debugInfoBlock", "status"):
        built.left_out["tool calls"] += 1
    return ""


def _parts(built: Building, content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in map(dict_of, list_of(content)):
        kind = text_of(part.get("type"))
        if kind == "text":
            texts.append(text_of(part.get("text")))
        elif kind == "file":
            built.left_out["images" if part.get("fileType") == "image" else "attached files"] += 1
        elif kind:
            built.left_out["tool calls"] += 1
    return "".join(texts)
