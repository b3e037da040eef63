"""An import: what files would bring is shown first, then added, then can be undone.

Files are read twice, so that memory never holds more than one conversation: once to count, once to add.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

from app.exchange.own import FileConversation, add
from app.exchange.reading import Note, read_file
from app.store.store import Store
from app.store.text import clean_text, clean_title
from engine.config import Role

TITLES_SHOWN = 5


class Cancelled(Exception):
    """A person has changed their mind."""


class Said(Protocol):
    """A message: in a file, or in the store."""

    @property
    def role(self) -> Role: ...
    @property
    def text(self) -> str: ...
    @property
    def attachments(self) -> Sequence["Attached"]: ...


class Attached(Protocol):
    """What is attached to a message."""

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What files hold. `branches`: versions of messages beyond one each."""

    programs: tuple[str, ...] = ()
    chats: int = 0
    messages: int = 0
    branches: int = 0
    attachments: int = 0
    titles: tuple[str, ...] = ()
    here: int = 0  # chats that are here already, with all that is said in them
    grown: int = 0  # chats that are here with less: they are added beside these
    twice: int = 0  # chats that stand in the files twice
    empty: int = 0
    left_out: tuple[tuple[str, int], ...] = ()  # what of the messages cannot be kept, and how often


@dataclass(slots=True)
class _Sums:
    programs: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    titles: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def preview(self) -> Preview:
        return Preview(
            programs=tuple(self.programs),
            titles=tuple(self.titles),
            left_out=tuple((what, count) for what, count in sorted(self.left_out.items()) if count > 0),
            **self.counts,
        )


def preview(store: Store, files: Sequence[tuple[Path, str]], note: Note, stop: threading.Event) -> Preview:
    """Count what the files (paths and names) would bring; raises `ImportRefused`, `Cancelled`."""
    sums = _Sums()
    for _ in _new_ones(store, files, note, stop, sums):
        pass
    return sums.preview()


def add_all(
    store: Store, files: Sequence[tuple[Path, str]], added: Callable[[int], None], stop: threading.Event
) -> None:
    """Add what is new, one conversation at a time, and tell each id to `added`; raises as `preview` does."""
    for conversation in _new_ones(store, files, lambda _: None, stop, _Sums()):
        added(add(store, conversation))


def _new_ones(
    store: Store, files: Sequence[tuple[Path, str]], note: Note, stop: threading.Event, sums: _Sums
) -> Iterator[FileConversation]:
    """The conversations that are not here yet; `sums` takes what is counted."""
    known = _Known(store)
    seen: set[frozenset[bytes]] = set()
    for path, name in files:
        for entry in read_file(path, name, note):
            if stop.is_set():
                raise Cancelled
            if entry.found is None:
                sums.counts["empty"] += 1
                continue
            conversation = entry.found.conversation
            said = _all_said(conversation)
            kind = "twice" if said in seen else known.kind(conversation, said)
            seen.add(said)
            if kind in ("here", "twice"):
                sums.counts[kind] += 1
                continue
            sums.counts["grown"] += kind == "grown"
            sums.programs[entry.program] += 1
            sums.left_out.update(entry.found.left_out)
            _count(conversation, sums)
            yield conversation


def _count(conversation: FileConversation, sums: _Sums) -> None:
    messages = conversation.messages
    parents = Counter(message.parent for message in messages)
    sums.counts["chats"] += 1
    sums.counts["messages"] += len(messages)
    sums.counts["branches"] += sum(count - 1 for count in parents.values())
    sums.counts["attachments"] += sum(len(message.attachments) for message in messages)
    if len(sums.titles) < TITLES_SHOWN:
        sums.titles.append(conversation.title)


# What is said in a conversation, whatever its ids and dates: a hash for each message with all that comes before it


def _hash(above: bytes, message: Said) -> bytes:
    said = [message.role, message.text.strip()]
    for one in message.attachments:
        said += [clean_title(one.name), clean_text(one.text)]  # as the store keeps them
    return hashlib.blake2b(above + "\0".join(said).encode("utf-8", "replace"), digest_size=16).digest()


def _all_said(conversation: FileConversation) -> frozenset[bytes]:
    hashes: dict[int | None, bytes] = {None: b""}
    for message in conversation.messages:
        hashes[message.id] = _hash(hashes[message.parent], message)
    return frozenset(hashes.values())


class _Known:
    """What is in the store already. Only conversations with the same date or title are compared."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._alike: dict[object, list[int]] = {}
        self._said: dict[int, frozenset[bytes]] = {}
        for conversation_id in store.conversation_ids():
            conversation = store.conversation(conversation_id)
            for sign in (conversation.created, conversation.title):
                self._alike.setdefault(sign, []).append(conversation_id)

    def kind(self, conversation: FileConversation, said: frozenset[bytes]) -> str:
        """ "here", "grown" or "new"."""
        kind = "new"
        alike = (self._alike.get(sign, []) for sign in (conversation.created, conversation.title))
        for conversation_id in dict.fromkeys(chain.from_iterable(alike)):
            known = self._said_in(conversation_id)
            if said <= known:
                return "here"
            if known < said and len(known) > 1:
                kind = "grown"
        return kind

    def _said_in(self, conversation_id: int) -> frozenset[bytes]:
        if conversation_id not in self._said:
            hashes: dict[int | None, bytes] = {None: b""}
            for message in self._store.all_messages(conversation_id):
                hashes[message.id] = _hash(hashes[message.parent_id], message)
            self._said[conversation_id] = frozenset(hashes.values())
        return self._said[conversation_id]
