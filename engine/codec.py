"""Frozen dataclasses as JSON and back, with every type checked on the way in.

`load` takes nothing on trust: what people edit, other programs write and disks damage ends in a `ValueError` of one
sentence that names the location. pydantic checks; the classes know nothing of it, so that what imports them needs the
standard library only. Non-finite numbers are written as "inf", "-inf" and "nan": the text is JSON to every reader.

>>> from engine.config import Sampling
>>> load(Sampling, {"temperature": 0.5, "top_k": True}, "sampling")
Traceback (most recent call last):
...
ValueError: sampling.top_k must be a whole number; got true.
"""

import json
import logging
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache, partial, reduce
from operator import or_
from typing import Annotated, Any, NotRequired, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WrapValidator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from engine.options import shown

log = logging.getLogger(__name__)

T = TypeVar("T")

KEPT = "kept"
MAX_DEPTH = 20  # of what is kept: writing it again must not meet Python's limit
MAX_UNKNOWN_BYTES = 1_000_000  # of what one object of an import may keep; it is parsed whenever the object is read
_PLAIN = frozenset({str, int, bool, type(None)})  # what JSON has, as it is
_HALF = re.compile("[\ud800-\udfff]")
_NON_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_NAMES = {  # by the first word of pydantic's type of error
    "int": "a whole number",
    "greater": "a whole number",
    "less": "a whole number",
    "float": "a number",
    "finite": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "dict": "an object",
    "date": "a date with a time zone, such as 2026-01-31T09:30:00+00:00",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """A class whose objects keep what they do not know, in nested objects too: a newer version finds it again."""

    kept: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Keeping):
    """A class that `load` reads as `load_settings` does, nested or not."""


def dump(value: Any) -> Any:
    """A dataclass (nested ones, tuples, objects, dates and None included) as plain JSON values."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if is_dataclass(kind):
        data = {name: dump(getattr(value, name)) for name in _hints(kind)}
        return _merged(data, data.pop(KEPT)) if issubclass(kind, Keeping) else data
    if isinstance(value, list | tuple):
        return list(value) if _PLAIN.issuperset(map(type, value)) else [dump(item) for item in value]
    if isinstance(value, Mapping):
        return {name: dump(item) for name, item in value.items()}
    return date_text(value) if isinstance(value, datetime) else value


def dumps(value: Any) -> str:
    return json.dumps(dump(value), ensure_ascii=False, allow_nan=False)


def load(cls: type[T], data: Any, where: str, *, any_text: bool = False) -> T:
    """Build `cls` from what `dump` wrote; raises `ValueError`. A field that is missing takes its default.

    Text with half a character (a lone surrogate), which no file takes, passes with `any_text` only.
    """
    return cast(T, _checked(_adapter(cast(Any, cls)), data, where, any_text=any_text))


def loads(cls: type[T], text: Any, where: str) -> T:
    """`load` from JSON text."""
    return load(cls, parse(text, where), where)


def parse(text: Any, where: str) -> Any:
    """The values in a JSON text; raises `ValueError`."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"{where} is not JSON: {exc}.") from exc


def load_settings(cls: type[T], data: Any, where: str) -> T:
    """`load` for a class whose fields all have defaults: one that does not fit takes it, and the log says why.

    Raises `ValueError` where `data` is no object. Unknown fields are passed over, unless the class keeps them; one that
    could not be written again is left out, and the log says so.
    """
    return _settings(cls, data, where, strict=False)


def _settings(cls: type[T], data: Any, where: str, *, strict: bool) -> T:
    """`load_settings`; `strict` refuses unknown fields that could not be written again, or are too large."""
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be an object; got {shown(data)}.")
    values: dict[str, Any] = {}
    if issubclass(cls, Keeping):
        values[KEPT] = _split(cls, data, strict=strict)[1]
        if strict:
            _check_size(values[KEPT])
    for name, kind in _hints(cast(Any, cls)).items():
        if name in data and name != KEPT:
            try:
                if is_dataclass(kind):
                    values[name] = _settings(cast(type, kind), data[name], f"{where}.{name}", strict=strict)
                else:
                    values[name] = getattr(_checked(_object(cast(Any, cls)), {name: data[name]}, where), name)
            except ValueError as exc:
                log.warning("%s Its default is used.", str(exc).lstrip(".: "))
    return cls(**values)


def date_text(value: datetime) -> str:
    """ISO 8601 in UTC, always with microseconds, so that texts sort as the dates do."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _checked(adapter: TypeAdapter[Any], data: Any, where: str, *, any_text: bool = False) -> Any:
    try:
        return adapter.validate_python(data, context=any_text)
    except ValidationError as exc:
        raise ValueError(_sentence(exc.errors(include_url=False)[0], where)) from exc


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_type(cls))


@cache
def _object(cls: Any) -> TypeAdapter[Any]:
    """A dataclass each of whose fields must fit, settings too."""
    return TypeAdapter(_object_type(cls))


@cache
def _type(kind: Any) -> Any:
    """The type that pydantic checks for `kind`: strict, whole numbers of 64 bits, dates with a time zone."""
    if kind in _LEAVES:
        return _LEAVES[kind]
    if isinstance(kind, type) and issubclass(kind, Settings):
        return Annotated[dict[str, Any], AfterValidator(lambda data: _settings(kind, data, "", strict=True))]
    if is_dataclass(kind):
        return _object_type(kind)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return reduce(or_, map(_type, args))
    if origin is tuple:
        return Annotated[tuple[tuple(arg if arg is ... else _type(arg) for arg in args)], Field(fail_fast=True)]  # type: ignore[misc]
    return kind


def _object_type(cls: Any) -> Any:
    """A JSON object with the fields of `cls`, then an instance of it."""
    members: dict[str, Any] = {}
    for f in fields(cls):
        kind = _type(_hints(cls)[f.name])
        members[f.name] = kind if f.default is MISSING and f.default_factory is MISSING else NotRequired[kind]
    shape = TypedDict(cls.__name__, members)  # type: ignore[misc]
    shape.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    checked = Annotated[shape, AfterValidator(lambda values: cls(**values))]
    return Annotated[checked, BeforeValidator(partial(_set_aside, cls))] if issubclass(cls, Keeping) else checked


def _set_aside(cls: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    known, unknown = _split(cls, data, strict=True)
    _check_size(unknown)
    return known | {KEPT: unknown}


def _split(cls: Any, data: dict[str, Any], *, strict: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """(`data` without what `cls` and the dataclasses in it do not know, what was left out); `_merged` is its inverse.

    >>> from engine.config import GenerationRequest
    >>> _split(GenerationRequest, {"mode": "plain", "sampling": {"top_k": 5, "newer": 1}, "effort": 2}, strict=True)
    ({'mode': 'plain', 'sampling': {'top_k': 5}}, {'sampling': {'newer': 1}, 'effort': 2})
    """
    known: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    hints = _hints(cls)
    for name, value in data.items():
        if name not in hints or name == KEPT:
            try:
                _check_unknown(name, value)
                unknown[name] = value
            except ValueError as exc:
                if strict:
                    raise
                log.warning("The setting %s is left out: %s", shown(name), exc)
            continue
        inner = next((kind for kind in (hints[name], *get_args(hints[name])) if is_dataclass(kind)), None)
        if inner is None or not isinstance(value, dict):
            known[name] = value
            continue
        known[name], rest = _split(inner, value, strict=strict)
        if rest:
            unknown[name] = rest
    return known, unknown


def _merged(known: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
    """Both parts of `_split` in one; where both have a value, the known one holds."""
    both = {name: _merged(known[name], rest) for name, rest in unknown.items() if isinstance(known.get(name), dict)}
    return {**unknown, **known, **both}


def _check_unknown(name: str, value: Any) -> None:
    if not _is_shallow(value, MAX_DEPTH):
        raise ValueError(f"an unknown field is nested more than {MAX_DEPTH} levels deep.")
    if _HALF.search(json.dumps({name: value}, ensure_ascii=False)):
        raise ValueError("an unknown field holds half of a character (a lone surrogate); write the whole one.")


def _check_size(unknown: dict[str, Any]) -> None:
    if unknown and len(json.dumps(unknown, ensure_ascii=False).encode()) > MAX_UNKNOWN_BYTES:
        raise ValueError(f"the unknown fields are larger than {MAX_UNKNOWN_BYTES:,} bytes.")


def _is_shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in inner)


def _float(value: Any, check: Callable[[Any], float]) -> float:
    return _NON_FINITE[value] if isinstance(value, str) and value in _NON_FINITE else check(value)


def _text(value: str, info: ValidationInfo) -> str:
    if not info.context and _HALF.search(value):
        raise PydanticCustomError("surrogate", "half of a character")
    return value


def _date(value: Any) -> datetime:
    try:
        date = datetime.fromisoformat(value)
        if date.tzinfo is None:
            raise ValueError("no time zone")
        return date.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as exc:
        raise PydanticCustomError("date", "no date") from exc


_LEAVES: dict[Any, Any] = {
    int: Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)],
    float: Annotated[float, Field(strict=True, allow_inf_nan=False), WrapValidator(_float)],
    str: Annotated[str, Field(strict=True), AfterValidator(_text)],
    bool: Annotated[bool, Field(strict=True)],
    datetime: Annotated[datetime, PlainValidator(_date)],
}


def _sentence(error: ErrorDetails, where: str) -> str:
    """What is wrong and where, as `where` and the path below it."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"]]
    place, kind = where + "".join(steps), error["type"]
    if kind in ("missing", "extra_forbidden") and not isinstance(name := error["loc"][-1], int):
        what = f"lacks the field {name!r}" if kind == "missing" else f"has an unknown field {name!r}"
        return f"{where}{''.join(steps[:-1])} {what}."
    if kind == "value_error":
        return f"{place}: {error['ctx']['error']}"
    if kind == "surrogate":
        return f"{place} holds half of a character (a lone surrogate); write the whole one."
    if kind == "literal_error":
        allowed = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        return f"{place} must be one of {allowed}; got {shown(error['input'])}."
    if kind in ("missing", "too_long"):
        return f"{place} has a wrong number of entries; got {shown(error['input'])}."
    expected = _NAMES.get(kind.partition("_")[0])
    return f"{place} must be {expected}; got {shown(error['input'])}." if expected else f"{place}: {error['msg']}."
