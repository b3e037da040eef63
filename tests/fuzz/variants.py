"""Cheap variants of an input: what Hypothesis has thought of costs much more than trying what lies close to it."""

import random
from collections.abc import Callable
from typing import Any

Vary = Callable[[Any, random.Random], Any]

NUMBERS = (0, 1, -1, 2, 7, 255, 256, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, -(2**63), 2**64)
TEXTS = ("", "\0", "\n", "\r\n", " ", '"', "\\", "{", "}", "[", "]", "<", ">", "&", "%s", "`", "$", "é",
         "\u202e", "null", "a" * 300, "9" * 40, "<script>", "{{", "{%", "%}", "}}", "system", "data: ")  # fmt: skip


def varied(value: Any, rng: random.Random) -> Any:
    """A copy with one to three of its parts changed, each to another one of its type."""
    for _ in range(rng.randint(1, 3)):
        value = _changed(value, rng)
    return value


def at(*places: int) -> Vary:
    """Vary these parts of a tuple alone."""

    def vary(value: tuple[Any, ...], rng: random.Random) -> tuple[Any, ...]:
        chosen = rng.choice(places)
        return (*value[:chosen], varied(value[chosen], rng), *value[chosen + 1 :])

    return vary


def contents(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Vary what stands under one of the names."""
    if not value:
        return value
    name = rng.choice(sorted(value))
    return {**value, name: varied(value[name], rng)}


def _changed(value: Any, rng: random.Random) -> Any:
    """A copy in which something is changed: here, or deeper in one of the parts."""
    if isinstance(value, list | tuple | dict) and value and (isinstance(value, tuple) or rng.random() < 0.85):
        keys = sorted(value, key=str) if isinstance(value, dict) else range(len(value))
        key = rng.choice(keys)
        changed = _changed(value[key], rng)
        if isinstance(value, dict):
            return {**value, key: changed}
        return type(value)((*value[:key], changed, *value[key + 1 :]))
    return _CHANGES.get(type(value), lambda same, _: same)(value, rng)


def _number(value: int, rng: random.Random) -> int:
    return rng.choice((*NUMBERS, value + 1, value - 1, -value, rng.randrange(2**20)))


def _fraction(value: float, rng: random.Random) -> float:
    return rng.choice((0.0, -value, value * 2, 1e308, 5e-324, rng.random()))


def _sequence(value: Any, rng: random.Random, pieces: tuple[Any, ...]) -> Any:
    """Text or bytes, a stretch of which is left out, repeated, moved or written over."""
    start = rng.randint(0, len(value))
    end = min(len(value), start + rng.randint(0, 8))
    before, part, after = value[:start], value[start:end], value[end:]
    match rng.randrange(5):
        case 0:
            return before + after
        case 1:
            return before + part * rng.randint(2, 20) + after
        case 2:
            return after + before + part
        case 3:
            return before
    return before + rng.choice(pieces) + after


def _text(value: str, rng: random.Random) -> str:
    return str(_sequence(value, rng, TEXTS))


def _bytes(value: bytes, rng: random.Random) -> bytes:
    pieces = (bytes([rng.randrange(256)]), rng.choice(NUMBERS[:10]).to_bytes(8, "little", signed=True), b"\xff" * 8)
    return bytes(_sequence(value, rng, (*pieces, rng.choice(TEXTS).encode())))


def _list(value: list[Any], rng: random.Random) -> list[Any]:
    """A list of which something is left out, repeated or moved."""
    if not value:
        return value
    start, other = rng.randrange(len(value)), rng.randrange(len(value))
    match rng.randrange(3):
        case 0:
            return [*value[:start], *value[start + 1 :]]
        case 1:
            return [*value[:start], value[other], *value[start:]]
    return [*value[:start], value[other], *value[start + 1 :]]


def _dict(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A dict that lacks a key, or has under it what stands under another one."""
    if not value:
        return value
    keys = sorted(value, key=str)
    key, other = rng.choice(keys), rng.choice(keys)
    if rng.random() < 0.5:
        return {each: part for each, part in value.items() if each != key}
    return {**value, key: value[other]}


_CHANGES: dict[type, Vary] = {
    bool: lambda value, _: not value,
    int: _number,
    float: _fraction,
    str: _text,
    bytes: _bytes,
    list: _list,
    dict: _dict,
}
