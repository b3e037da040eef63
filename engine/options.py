"""Dataclass fields that say what they are for and which values they take. Standard library only.

A field made by `option` is declared once: its check, its flag, its key in a batch line and its control on the page are
derived from it.
"""

import json
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

KEY = "option"  # of a field's metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What a field says of itself. `help` has no default in it; `low` and `high` belong to the range."""

    help: str
    low: float = -math.inf
    high: float = math.inf
    metavar: str | None = None


def option(
    default: Any, help: str, *, low: float = -math.inf, high: float = math.inf, metavar: str | None = None
) -> Any:
    """A dataclass field with an `Option`."""
    return field(default=default, metadata={KEY: Option(help=help, low=low, high=high, metavar=metavar)})


def same(cls: type, name: str, default: Any) -> Any:
    """A field with the `Option` of a field of `cls`, and another default."""
    return field(default=default, metadata={KEY: options_of(cls)[name]})


def options_of(cls: type) -> dict[str, Option]:
    """The fields that have an `Option`, in order."""
    return {f.name: f.metadata[KEY] for f in fields(cls) if KEY in f.metadata}


def check(value: Any) -> None:
    """Check the fields of a dataclass by type and range; raises `ValueError` naming the one that does not fit.

    Checks names, numbers, text and booleans, and leaves all else to the class.

    >>> @dataclass
    ... class Knobs:
    ...     volume: int = option(3, "how loud", low=0, high=11)
    >>> check(Knobs(volume=12))
    Traceback (most recent call last):
    ...
    ValueError: volume must be between 0 and 11; got 12.
    """
    cls: type = type(value)
    for name, fits in _checks(cls):
        fits(name, getattr(value, name))


@cache
def _checks(cls: type) -> tuple[tuple[str, Callable[[str, Any], None]], ...]:
    found = ((f.name, _check_of(f.type, f.metadata.get(KEY, Option(help="")))) for f in fields(cls))
    return tuple((name, fits) for name, fits in found if fits is not None)


def _check_of(kind: Any, option: Option) -> Callable[[str, Any], None] | None:
    if get_origin(kind) in (Union, types.UnionType):
        inner = [_check_of(arg, option) for arg in get_args(kind) if arg is not type(None)]
        if len(inner) != 1 or inner[0] is None or type(None) not in get_args(kind):
            return None
        return _or_none(inner[0])
    if get_origin(kind) is Literal:
        return lambda name, value: _one_of(name, value, get_args(kind))
    if kind is int:
        return lambda name, value: _whole(name, value, option.low, option.high)
    if kind is float:
        return lambda name, value: _number(name, value, option.low, option.high)
    return {bool: _truth, str: _text}.get(kind)


def _or_none(fits: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    return lambda name, value: None if value is None else fits(name, value)


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {shown(value)}.")


def _number(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise ValueError(f"{name} must be a number; got {shown(value)}.")
    if not low <= value <= high:  # a whole number may be larger than any float
        raise ValueError(f"{name} must be between {low:g} and {high:g}; got {shown(value)}.")


def _whole(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number; got {shown(value)}.")
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}; got {shown(value)}.")


def _truth(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false; got {shown(value)}.")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text; got {shown(value)}.")


def shown(value: Any) -> str:
    """The value as JSON, cut to a line, for a sentence that refuses it.

    >>> shown(None), shown(True), shown("x" * 80)[-4:]
    ('null', 'true', 'x...')
    """
    try:
        text = json.dumps(value, ensure_ascii=True, default=repr)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
