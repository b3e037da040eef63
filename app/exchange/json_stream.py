"""JSON too large to be parsed at once: the elements of a list, or lines, one after the other."""

import json
from collections.abc import Iterator
from typing import Any, Protocol

CHUNK = 1_000_000  # characters
LONGEST = 200_000_000  # characters, of one element: an export of 10,000 chats of one program is about as long


class Readable(Protocol):
    """Text that is read from its beginning to its end; a read may bring less than was asked for, but not nothing."""

    def read(self, size: int = ..., /) -> str: ...

    def readline(self, size: int = ..., /) -> str: ...


class NotJSON(ValueError):
    """The text cannot be read; `str()` of it is the end of a sentence."""


def no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=no_constant)


def parsed(text: str) -> Any:
    """The value of a whole text."""
    try:
        return _DECODER.decode(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as exc:
        raise NotJSON(f"it is not JSON ({exc})") from exc


def elements(text: Readable) -> Iterator[Any]:
    """The elements of the list that the text is, or the one value that it is.

    >>> import io
    >>> list(elements(io.StringIO(' [{"a": 1}, [2]] '))), list(elements(io.StringIO('{"b": 3}')))
    ([{'a': 1}, [2]], [{'b': 3}])
    """
    buffer = text.read(CHUNK).lstrip("\ufeff \t\r\n")
    if not buffer:
        raise NotJSON("there is nothing")
    if not buffer.startswith("["):
        yield parsed(buffer + _rest(text, len(buffer)))
        return
    at = 1
    while True:
        buffer, at = _skipped(text, buffer, at)
        if buffer[at : at + 1] == "]":
            return
        try:
            value, at = _DECODER.raw_decode(buffer, at)
        except RecursionError as exc:
            raise NotJSON("it is nested too deep") from exc
        except ValueError as exc:
            if len(buffer) - at > LONGEST:
                raise NotJSON(f"one entry is longer than {LONGEST:,} characters") from exc
            more = text.read(max(CHUNK, len(buffer) - at))
            if not more:
                raise NotJSON(f"it is not JSON, or cut short ({exc})") from exc
            buffer, at = buffer[at:] + more, 0
            continue
        yield value


def _skipped(text: Readable, buffer: str, at: int) -> tuple[str, int]:
    """Behind spaces and a comma, with more of the text where the buffer has ended."""
    while True:
        while at < len(buffer) and buffer[at] in ", \t\r\n":
            at += 1
        if at < len(buffer):
            return (buffer[at:], 0) if at > CHUNK else (buffer, at)
        buffer, at = text.read(CHUNK), 0
        if not buffer:
            raise NotJSON("it is cut short")


def lines(text: Readable) -> Iterator[Any]:
    """The value on each line that is not empty."""
    while line := text.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise NotJSON(f"one line is longer than {LONGEST:,} characters")
        if line.strip("\ufeff \t\r\n"):
            yield parsed(line)


def _rest(text: Readable, length: int) -> str:
    rest = ""
    while len(rest) + length <= LONGEST and (more := text.read(LONGEST - length + 1)):
        rest += more
    if len(rest) + length > LONGEST:
        raise NotJSON(f"it is longer than {LONGEST:,} characters: export fewer conversations at a time")
    return rest
