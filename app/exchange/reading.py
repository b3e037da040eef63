"""Files with conversations, of whichever program, one conversation after the other.

What a file is follows from what stands in it, not from its name; a zip is read file by file and never unpacked.
"""

import io
import lzma
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TextIO

from app.exchange import own
from app.exchange.json_stream import CHUNK, NotJSON, elements, lines, members, parsed
from app.exchange.own import ImportRefused
from app.exchange.sources import chatgpt, jan, llama_cpp, lm_studio, open_webui, silly_tavern
from app.exchange.sources.building import Found, TooLarge

UNPACKED_LIMIT = 4_000_000_000  # bytes, of a zip
MOST_PACKED = 100  # times: text of people packs to a third, or a twentieth, but never to so little
SMALL = 1_000_000  # bytes, for which it does not matter
PROGRAMS = "Slipstream, ChatGPT, Open WebUI, LM Studio, llama.cpp, Jan or SillyTavern"
_OBJECTS = (chatgpt, open_webui, lm_studio, llama_cpp)
_LINES = (llama_cpp, silly_tavern, jan)
_THREAD = "thread.json"
# How our own files begin as they are written: their conversations are read one at a time. In another order of its keys
# such a file is read as one piece.
_OWN = re.compile(rf'\ufeff?\s*{{\s*"format":\s*"{own.FORMAT}",\s*"version":\s*(\d{{1,9}}),\s*"conversations":\s*\[')
_PROSE = re.compile(r"\ufeff?\s*(?=[^\s\[{])")  # how no JSON begins that we read
_NO_PROSE = ": Markdown, web pages and plain text cannot be imported, and of Slipstream's own files only JSON"
_HEAD = 300  # characters, of such a beginning
_DAMAGE = (  # what zipfile raises of a zip that is damaged, encrypted, or packed in a way that it does not know
    zipfile.BadZipFile,
    RuntimeError,
    NotImplementedError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)

Note = Callable[[int], None]  # takes how many bytes were read since the last call


@dataclass(frozen=True, slots=True)
class Entry:
    """A conversation with the program that wrote it, or None where it holds no message."""

    program: str
    found: Found | None


def read_file(path: Path, name: str, note: Note = lambda _: None) -> Iterator[Entry]:
    """The conversations of one file; raises `ImportRefused`."""
    try:
        if zipfile.is_zipfile(path):
            yield from _read_zip(path, name, note)
            return
        with path.open("rb") as raw, _text(raw, note) as text:
            if raw.read(2) == b"PK":
                raise ImportRefused(f"{name} is a damaged zip: export it, or copy it, again")
            raw.seek(0)
            yield from _refusing(_read_text(text), name)
    except OSError as exc:
        raise ImportRefused(f"{name} cannot be read ({exc.strerror or exc}): copy it elsewhere and try again") from exc


def _read_zip(path: Path, name: str, note: Note) -> Iterator[Entry]:
    read_any = prose = False
    try:
        with zipfile.ZipFile(path) as packed:
            prose = any(entry.filename.endswith((".md", ".html", ".txt")) for entry in packed.infolist())
            inside = [entry for entry in packed.infolist() if entry.filename.endswith((".json", ".jsonl"))]
            if sum(entry.file_size for entry in inside) > UNPACKED_LIMIT:
                raise ImportRefused(
                    f"{name} unpacks to more than {UNPACKED_LIMIT / 1e9:.0f} GB: export fewer conversations"
                )
            size = path.stat().st_size
            if any(entry.file_size > max(SMALL, MOST_PACKED * min(entry.compress_size, size)) for entry in inside):
                raise ImportRefused(
                    f"{name} unpacks to more than {MOST_PACKED} times its size, as chats hardly do: if you trust it, "
                    "unpack it and choose the files that were in it"
                )
            names = {entry.filename for entry in inside}
            for entry in inside:
                beside = str(PurePosixPath(entry.filename).with_name(_THREAD))
                thread = (
                    _parsed_member(packed, beside) if beside in names and entry.filename.endswith(".jsonl") else None
                )
                for found in _refusing(_read_member(packed, entry, thread), f"{name}, {entry.filename},", quiet=True):
                    read_any = True
                    yield found
                note(entry.compress_size)
    except _DAMAGE as exc:
        raise ImportRefused(f"{name} is damaged, locked or packed in an unusual way ({exc})") from exc
    if not read_any:
        more = _NO_PROSE if prose else ""
        raise ImportRefused(f"{name} holds no conversations of {PROGRAMS}{more}")


def _read_member(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, thread: Any) -> Iterator[Entry]:
    with packed.open(entry) as raw, _text(raw) as text:
        yield from _read_text(text, thread)


def _parsed_member(packed: zipfile.ZipFile, name: str) -> Any:
    with packed.open(name) as raw, _text(raw) as text:
        try:
            return parsed(text.read(CHUNK))
        except (NotJSON, UnicodeDecodeError):
            return None


class _Unknown(ImportRefused):
    """Nothing that we know."""


class _Prose(ImportRefused):
    """Text that is no data at all."""


def _refusing(entries: Iterator[Entry], name: str, *, quiet: bool = False) -> Iterator[Entry]:
    """The entries, with the file's name in what is wrong. `quiet`: what nobody knows holds no conversations."""
    try:
        yield from entries
    except _Unknown:
        if not quiet:
            raise ImportRefused(f"{name} is no export of {PROGRAMS}") from None
    except _Prose:
        raise ImportRefused(f"{name} is no export of {PROGRAMS}{_NO_PROSE}") from None
    except (NotJSON, TooLarge) as exc:
        raise ImportRefused(f"in {name} {exc}") from exc
    except UnicodeDecodeError as exc:
        raise ImportRefused(f"{name} is not text in UTF-8") from exc


def _read_text(text: "_Text", thread: Any = None) -> Iterator[Entry]:
    """What stands in a file: a list, an object, or lines of objects."""
    first_line = text.first_line()
    if first_line is not None:
        yield from _read_lines(lines(text), first_line, thread)
        return
    if (head := text.begins(_OWN)) is not None:
        own.check_version(int(head[1]))
        for number, value in enumerate(members(text)):
            yield Entry("Slipstream", Found(own.checked_conversation(value, number), Counter()))
        return
    if text.begins(_PROSE):
        raise _Prose("")
    read_any = False
    for value in elements(text):
        if (entries := _of_value(value)) is not None:
            read_any = True
            yield from entries
    if not read_any:
        raise _Unknown("")


def _of_value(value: Any) -> Iterable[Entry] | None:
    """What one object holds; None where nobody knows it."""
    if own.is_file(value):
        return [Entry("Slipstream", Found(one, Counter())) for one in own.checked_file(value).conversations]
    for program in _OBJECTS:
        if program.is_one(value):
            return [Entry(program.NAME, program.read(value))]
    return None


def _read_lines(values: Iterator[Any], first: Any, thread: Any) -> Iterator[Entry]:
    if llama_cpp.begins(first):
        yield from (Entry(llama_cpp.NAME, found) for found in llama_cpp.read_lines(values))
    elif silly_tavern.begins(first):
        yield Entry(silly_tavern.NAME, silly_tavern.read_lines(values))
    elif jan.begins(first):
        yield Entry(jan.NAME, jan.read_lines(values, thread))
    else:
        raise _Unknown("")


# Bytes to text


class _Text:
    """A file's text, which can be looked at before it is read."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._kept = ""

    def first_line(self) -> Any:
        """The object on the first line where the text is lines of objects, else None; nothing is lost."""
        while not self._kept.strip("\ufeff \t\r\n"):
            self._kept = self._text.readline(CHUNK)
            if not self._kept:
                return None
        try:
            value = parsed(self._kept)
        except NotJSON:
            return None
        return value if any(program.begins(value) for program in _LINES) else None

    def begins(self, head: re.Pattern[str]) -> re.Match[str] | None:
        """Whether the text begins so; then that much of it is read, else nothing is lost."""
        while len(self._kept) < _HEAD and (more := self._text.read(_HEAD)):
            self._kept += more
        if (found := head.match(self._kept)) is not None:
            self._kept = self._kept[found.end() :]
        return found

    def read(self, size: int = -1) -> str:
        kept, self._kept = self._kept, ""
        return kept or self._text.read(size)

    def readline(self, size: int = -1) -> str:
        kept, self._kept = self._kept, ""
        return kept if kept.endswith("\n") else kept + self._text.readline(size)


@contextmanager
def _text(raw: IO[bytes], note: Note = lambda _: None) -> Iterator[_Text]:
    counted = io.BufferedReader(_Counted(raw, note), 2**16)
    with io.TextIOWrapper(counted, encoding="utf-8", newline="\n") as text:
        yield _Text(text)


class _Counted(io.RawIOBase):
    """Bytes that are counted as they are read."""

    def __init__(self, raw: IO[bytes], note: Note) -> None:
        self._raw = raw
        self._note = note

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self._note(len(data))
        return len(data)
