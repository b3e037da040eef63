"""SillyTavern: lines of JSON, the first names the two who speak; an answer's swipes are its versions."""

from collections.abc import Iterable, Iterator
from typing import Any

from app.exchange.sources.building import Building, Found, date_of, dict_of, list_of, text_of, thought

NAME = "SillyTavern"


def begins(line: Any) -> bool:
    """Whether this first line of a file names who speaks."""
    line = dict_of(line)
    return "user_name" in line and "character_name" in line and "mes" not in line


def read_lines(lines: Iterable[Any]) -> Found | None:
    entries = iter(lines)
    head, built = dict_of(next(entries, None)), Building()
    before: str | None = None
    for number, message in enumerate(map(dict_of, entries)):
        key = str(number)
        if message.get("is_system") is True:
            built.skip(key, before, "hidden messages")
            before = key
        elif message.get("is_user") is True:
            built.add(key, before, "user", text_of(message.get("mes")), date_of(message.get("send_date")))
            before = key
        else:
            before = _answer(built, key, before, message)
        extra = dict_of(message.get("extra"))
        if extra.get("image") or extra.get("media"):
            built.left_out["images"] += 1
        if extra.get("file") or extra.get("files"):
            built.left_out["attached files"] += 1
    return built.found(head.get("character_name"), date_of(head.get("create_date")), None, before)


def _answer(built: Building, key: str, parent: str | None, message: dict[str, Any]) -> str:
    """Add all versions of an answer; returns the one that was shown."""
    created, extra = date_of(message.get("send_date")), dict_of(message.get("extra"))
    shown = thought(text_of(extra.get("reasoning"))) + text_of(message.get("mes"))
    chosen = message.get("swipe_id")
    for at, text in _others(message):
        if at < (chosen if isinstance(chosen, int) else 0):
            built.add(f"{key}.{at}", parent, "assistant", text, created)
    built.add(key, parent, "assistant", shown, created)
    for at, text in _others(message):
        if at > (chosen if isinstance(chosen, int) else 0):
            built.add(f"{key}.{at}", parent, "assistant", text, created)
    return key


def _others(message: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """The versions that were not shown."""
    for at, swipe in enumerate(list_of(message.get("swipes"))):
        if isinstance(swipe, str) and swipe.strip() and swipe != message.get("mes"):
            yield at, swipe
