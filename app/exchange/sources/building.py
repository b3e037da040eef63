"""Messages of another program become a conversation of ours: a tree of turns, whatever the file's links are.

Nothing is taken on trust: parents may be missing or form a cycle, and texts, dates and roles may be of any type.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from app.exchange.own import FileAttachment, FileConversation, FileMessage
from app.store.attachments import MOST
from app.store.records import SYSTEM_LIMIT, ConversationSettings, now
from app.store.text import clean_text, clean_title

TITLE_WORDS = 60  # characters of the first message, for a chat without a title
MOST_MESSAGES, MOST_TEXT = 200_000, 50_000_000  # of one chat; the latter in characters
DATE_LENGTH = 40  # characters
_FIRST, _LAST = datetime(1980, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_SILLY = re.compile(r"(\d+)-(\d+)-(\d+)\s*@?\s*(\d+)h\s*(\d+)m(?:\s*(\d+)s)?")

Spoken = Literal["user", "assistant"]


class TooLarge(ValueError):
    """A chat is larger than memory is worth; `str()` of it is the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation of a file, and what of it cannot be kept: how often which."""

    conversation: FileConversation
    left_out: Counter[str]


@dataclass(slots=True)
class _Node:
    parent: str | None
    role: Spoken | None  # None: not kept; what follows it stands under its parent
    text: str
    created: datetime | None
    attachments: list[FileAttachment]


@dataclass(slots=True)
class _Turn:
    """A message of the conversation; several nodes may be parts of it."""

    parent: int | None
    role: Spoken
    created: datetime
    texts: list[str] = field(default_factory=list)
    attachments: list[FileAttachment] = field(default_factory=list)

    def goes_on_with(self, node: _Node) -> bool:
        return self.role == node.role and len(self.attachments) + len(node.attachments) <= MOST

    def take(self, node: _Node) -> None:
        self.texts.append(node.text)
        self.attachments += node.attachments

    def message(self, number: int) -> FileMessage:
        return FileMessage(
            id=number,
            parent=self.parent,
            role=self.role,
            text="\n\n".join(filter(None, self.texts)),
            token_ids=(),
            status="complete",
            error=None,
            created=self.created,
            runs=(),
            attachments=tuple(self.attachments),
        )


@dataclass(slots=True)
class Building:
    """Collects messages in the order of the file; a message's parent may come before or after it, or never."""

    nodes: dict[str, _Node] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    system: str = ""
    length: int = 0  # characters of all texts

    def add(
        self,
        key: str,
        parent: str | None,
        role: Spoken | None,
        text: str = "",
        created: datetime | None = None,
        attachments: Iterable[FileAttachment] = (),
    ) -> None:
        """Without text and attachments it is not kept, as without a role; raises `TooLarge`."""
        attached = list(attachments)
        self.length += len(text) + sum(len(one.text) for one in attached)
        if len(self.nodes) >= MOST_MESSAGES or self.length > MOST_TEXT:
            most = f"{MOST_MESSAGES:,} messages or {MOST_TEXT:,} characters"
            raise TooLarge(f"one chat has more than {most}: leave it out of the export")
        text = clean_text(text)
        if len(attached) > MOST:
            self.left_out["attached files"] += len(attached) - MOST
        kept = role if text.strip() or attached else None
        self.nodes[key] = _Node(parent, kept, text, created, attached[:MOST])

    def skip(self, key: str, parent: str | None, why: str = "") -> None:
        """Leave a message out, and say so where `why` names it."""
        self.add(key, parent, None)
        if why:
            self.left_out[why] += 1

    def found(
        self,
        title: Any,
        created: datetime | None,
        updated: datetime | None,
        tip: str | None,
        *,
        pinned: bool = False,
        archived: bool = False,
    ) -> Found | None:
        """The conversation, or None where it holds no message; `tip`: the last message of the branch that was shown."""
        messages, numbers = self._numbered(created or updated or now())
        if not messages:
            return None
        dates = [message.created for message in messages]
        created = created or min(dates)
        conversation = FileConversation(
            title=clean_title(title) if isinstance(title, str) and title.strip() else _title(messages),
            created=created,
            updated=max(updated or max(dates), created),
            pinned=pinned,
            archived=archived,
            settings=ConversationSettings(system=clean_text(self.system)[:SYSTEM_LIMIT]),
            tip=self._tip(tip, numbers) or messages[-1].id,
            messages=tuple(messages),
        )
        return Found(conversation, self.left_out)

    def _numbered(self, last: datetime) -> tuple[list[FileMessage], dict[str, int]]:
        """The kept messages, parents first, and under which number each one stands.

        One that goes on where its parent left off, as several parts of one answer do, becomes part of it, unless
        more files would be attached than to one message. One without a date has that of the message before it, `last`
        to begin with.
        """
        children: dict[str | None, list[str]] = {}
        for key, node in self.nodes.items():
            children.setdefault(node.parent if node.parent in self.nodes else None, []).append(key)
        for key in self._in_cycles(children):
            children.setdefault(None, []).append(key)
        turns: list[_Turn] = []
        numbers: dict[str, int] = {}
        seen: set[str] = set()
        waiting: list[tuple[str, int | None, bool]] = [(key, None, False) for key in reversed(children.get(None, []))]
        while waiting:
            key, above, alone = waiting.pop()
            if key in seen:
                continue
            seen.add(key)
            node = self.nodes[key]
            number = above
            if node.role is not None:
                last = node.created or last
                if not alone or above is None or not turns[above - 1].goes_on_with(node):
                    turns.append(_Turn(above, node.role, last))
                    number = len(turns)
                assert number is not None
                turns[number - 1].take(node)
            if number is not None:
                numbers[key] = number
            under = children.get(key, [])
            waiting += [(child, number, len(under) == 1) for child in reversed(under)]
        return [turn.message(number) for number, turn in enumerate(turns, 1)], numbers

    def _in_cycles(self, children: Mapping[str | None, list[str]]) -> list[str]:
        """One message of each circle of parents, by which it is entered."""
        reached: set[str] = set()
        found = []
        for start in (None, *self.nodes):
            if start is not None and start not in reached:
                found.append(start)
            waiting = [start] if start is not None else list(children.get(None, []))
            while waiting:
                key = waiting.pop()
                if key not in reached:
                    reached.add(key)
                    waiting += children.get(key, [])
        return found

    def _tip(self, key: str | None, numbers: Mapping[str, int]) -> int | None:
        return numbers.get(key) if key is not None else None


def _title(messages: list[FileMessage]) -> str:
    line = next((" ".join(line.split()) for line in messages[0].text.splitlines() if line.strip()), "")
    return clean_title(line if len(line) <= TITLE_WORDS else line[: TITLE_WORDS - 1] + "…")


# What a file may hold under a name


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def dict_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def key_of(value: Any) -> str | None:
    """An id, which may be a number."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def thought(text: str) -> str:
    """Reasoning as our own answers have it."""
    return f"<think>\n{text.strip()}\n</think>\n\n" if text.strip() else ""


def attachment(name: Any, text: Any) -> FileAttachment | None:
    """A text that was attached; None where there is none."""
    if not isinstance(text, str) or not text.strip():
        return None
    return FileAttachment(
        name=clean_title(text_of(name)) or "file",
        kind="text",
        size=len(text.encode("utf-8", "replace")),
        text=clean_text(text),
    )


def date_of(value: Any) -> datetime | None:
    """A date in any of the forms that these programs write: seconds or parts of them, ISO 8601, SillyTavern's.

    >>> date_of(1720535245.5) == date_of(1720535245500) == date_of("2024-07-09T14:27:25.500Z")
    True
    >>> date_of("2024-7-9@14h27m25s").isoformat(), date_of("July 9, 2024 2:27pm").isoformat(), date_of("soon")
    ('2024-07-09T14:27:25+00:00', '2024-07-09T14:27:00+00:00', None)
    """
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            found = _from_number(float(value))
        elif isinstance(value, str):
            value = value.strip()
            if len(value) > DATE_LENGTH:
                return None
            found = _from_text(value)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return found if _FIRST <= found <= _LAST else None


def _from_number(value: float) -> datetime:
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    while value > 1e11:  # milliseconds, microseconds or nanoseconds
        value /= 1000
    return datetime.fromtimestamp(value, UTC)


def _from_text(value: str) -> datetime:
    if silly := _SILLY.match(value):
        return datetime(*(int(part or 0) for part in silly.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
    for shape in ("%B %d, %Y %I:%M%p", "%B %d, %Y %I:%M %p"):
        try:
            return datetime.strptime(value, shape).replace(tzinfo=UTC)
        except ValueError:
            continue
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return _from_number(float(value))
    found = datetime.fromisoformat(value)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
