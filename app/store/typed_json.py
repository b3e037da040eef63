"""Dataclasses to JSON and back, with every type checked on the way in.

`load` takes nothing on trust: what people edit, other programs write and disks damage ends in a `ValueError` that
names the place. Non-finite numbers are written as "inf", "-inf" and "nan", so the text is JSON to every reader.

>>> from engine.config import Sampling
>>> load(Sampling, {"temperature": 0.5, "top_k": True}, "sampling")
Traceback (most recent call last):
...
ValueError: sampling.top_k must be a whole number; got true.
"""

import json
import math
import types
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_NON_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", datetime: "a date"}


def dump(value: Any) -> Any:
    """A dataclass (nested ones, tuples, dates and None included) as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: dump(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    if isinstance(value, datetime):
        return date_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def dumps(value: Any) -> str:
    return json.dumps(dump(value), ensure_ascii=False, allow_nan=False)


def load(cls: type[T], data: Any, where: str) -> T:
    """Build `cls` from what `dump` wrote; raises `ValueError` naming the place where it does not fit."""
    return cast(T, _load(cls, data, where))


def loads(cls: type[T], text: Any, where: str) -> T:
    """`load` from JSON text."""
    try:
        data = json.loads(text)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"{where} is not JSON: {exc}.") from exc
    return load(cls, data, where)


def date_text(value: datetime) -> str:
    """ISO 8601 in UTC, always with microseconds, so that texts sort as the dates do."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def _load(kind: Any, data: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if data is None and type(None) in get_args(kind):
            return None
        inner = [arg for arg in get_args(kind) if arg is not type(None)]
        return _load(inner[0], data, where)  # unions here are all "X or None"
    if origin is Literal:
        if data not in get_args(kind) or not isinstance(data, str):
            raise ValueError(f"{where} must be one of {', '.join(get_args(kind))}; got {_shown(data)}.")
        return data
    if origin is tuple:
        return _load_tuple(get_args(kind), data, where)
    if is_dataclass(kind):
        return _load_dataclass(cast(type, kind), data, where)
    return _load_plain(kind, data, where)


def _load_plain(kind: type, data: Any, where: str) -> Any:
    if kind is float and isinstance(data, str) and data in _NON_FINITE:
        return _NON_FINITE[data]
    if kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        try:
            number = float(data)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    elif kind is int and isinstance(data, int) and not isinstance(data, bool):
        if -(2**63) <= data < 2**63:
            return data
    elif kind is str and isinstance(data, str):
        if not any("\ud800" <= character <= "\udfff" for character in data):
            return data
        raise ValueError(f"{where} holds half of a character (a lone surrogate); write the whole one.")
    elif kind is bool and isinstance(data, bool):
        return data
    elif kind is datetime and isinstance(data, str):
        return _load_date(data, where)
    raise ValueError(f"{where} must be {_NAMES[kind]}; got {_shown(data)}.")


def _load_date(data: str, where: str) -> datetime:
    try:
        value = datetime.fromisoformat(data)
        if value.tzinfo is None:
            raise ValueError("no time zone")
        return value.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError(
            f"{where} must be a date with a time zone, such as 2026-01-31T09:30:00+00:00; got {_shown(data)}."
        ) from exc


def _load_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise ValueError(f"{where} must be a list; got {_shown(data)}.")
    if kinds == (int, ...) and all(type(item) is int and -(2**63) <= item < 2**63 for item in data):
        return tuple(data)  # token ids and rounds are many: no place is worked out for each
    if kinds[-1] is Ellipsis:
        return tuple(_load(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(data))
    if len(data) != len(kinds):
        raise ValueError(f"{where} must have {len(kinds)} entries; it has {len(data)}.")
    return tuple(_load(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, data, strict=True)))


def _load_dataclass(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be an object; got {_shown(data)}.")
    hints = _hints(cls)
    unknown = sorted(str(name) for name in data if name not in hints)
    if unknown:
        raise ValueError(f"{where} has an unknown field {unknown[0]!r}; known are {', '.join(hints)}.")
    values = {}
    for f in fields(cls):
        if f.name in data:
            values[f.name] = _load(hints[f.name], data[f.name], f"{where}.{f.name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where} lacks the field {f.name!r}.")
    try:
        return cls(**values)
    except ValueError as exc:
        raise ValueError(f"{where}: {exc}") from exc


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _shown(data: Any) -> str:
    """The value as JSON, cut to a line."""
    try:
        text = json.dumps(data, ensure_ascii=True, default=repr)
    except (ValueError, RecursionError):
        text = type(data).__name__
    return text if len(text) <= 60 else text[:57] + "..."
