"""JSON too large to be parsed at once: the elements of a list, or lines, one after the other."""

import json
from collections.abc import Generator, Iterator
from typing import Any, Protocol

CHUNK = 1_000_000  # characters
STEP = 8_000_000  # characters, by which what is parsed in one piece grows at most
LONGEST_CHAT = 50_000_000  # characters, of what is parsed in one piece: a chat with its images in it
MOST_CHAT_VALUES = 2_000_000  # a value takes up to some 200 bytes of memory, however few characters it has
TAIL = 1000  # characters behind a list in an object


class Readable(Protocol):
    """Text that is read from its beginning to its end; a read may bring less than was asked for, but not nothing."""

    def read(self, size: int = ..., /) -> str: ...

    def readline(self, size: int = ..., /) -> str: ...


class NotJSON(ValueError):
    """The text cannot be read; `str()` of it is the end of a sentence."""


def no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


_LEAVE_OUT, _FEWER = "leave it out of the export", "export fewer conversations at a time"
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
    if buffer.startswith("["):
        yield from _elements(text, buffer, 1)
    else:
        buffer += _rest(text, len(buffer))
        _expect_few_values(buffer, MOST_CHAT_VALUES, "there are", _FEWER)
        yield parsed(buffer)


def members(text: Readable) -> Iterator[Any]:
    """The elements of a list in an object; `text` begins behind the list's bracket, and nothing else follows the list.

    >>> import io
    >>> list(members(io.StringIO('{"a": 1}, 2]}')))
    [{'a': 1}, 2]
    """
    rest = yield from _elements(text, "", 0)
    while len(rest) < TAIL and (more := text.read(TAIL)):
        rest += more
    if rest.strip() != "}":
        raise NotJSON("it does not end behind its list of conversations")


def _elements(text: Readable, buffer: str, at: int) -> Generator[Any, None, str]:
    """The elements from there to the end of the list; returns what was read behind that."""
    while True:
        buffer, at = _skipped(text, buffer, at)
        if buffer[at : at + 1] == "]":
            return buffer[at + 1 :]
        try:
            value, at = _DECODER.raw_decode(buffer, at)
        except RecursionError as exc:
            raise NotJSON("it is nested too deep") from exc
        except ValueError as exc:
            buffer, at = buffer[at:], 0
            if len(buffer) > LONGEST_CHAT:
                raise NotJSON(f"one chat is longer than {LONGEST_CHAT:,} characters: {_LEAVE_OUT}") from exc
            more = text.read(min(max(CHUNK, len(buffer)), STEP))
            if not more:
                raise NotJSON(f"it is not JSON, or cut short ({exc})") from exc
            _expect_few_values(buffer, MOST_CHAT_VALUES)
            buffer += more
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
    while line := text.readline(LONGEST_CHAT + 1):
        if len(line) > LONGEST_CHAT:
            raise NotJSON(f"one line is longer than {LONGEST_CHAT:,} characters: {_LEAVE_OUT}")
        _expect_few_values(line, MOST_CHAT_VALUES, "one line has")
        if line.strip("\ufeff \t\r\n"):
            yield parsed(line)


def _rest(text: Readable, length: int) -> str:
    rest = ""
    while len(rest) + length <= LONGEST_CHAT and (more := text.read(LONGEST_CHAT - length + 1)):
        rest += more
    if len(rest) + length > LONGEST_CHAT:
        raise NotJSON(f"it is longer than {LONGEST_CHAT:,} characters in one piece: {_FEWER}")
    return rest


def _expect_few_values(text: str, most: int, what: str = "one chat has", advice: str = _LEAVE_OUT) -> None:
    """Raise `NotJSON` before text is parsed that would fill the memory; commas within strings count too."""
    if len(text) > most and sum(map(text.count, "{[,")) > most:
        raise NotJSON(f"{what} more than {most:,} values: {advice}")
