"""Texts to draft from that belong to no conversation here, and the file in which such texts travel.

A file is taken whole or not at all, and nothing in it is trusted.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.store import purge
from app.store.records import now
from app.store.store import Store
from app.store.text import clean_text, clean_title
from engine import codec

FORMAT = "slipstream-memory"
VERSION = 1
MOST_TEXTS = 100_000  # of one file
LIMIT_CHARS = 20_000_000


class MemoryFileRefused(ValueError):
    """The file cannot be taken; one sentence says why. Nothing was changed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The file cannot be imported: {reason.rstrip('.')}. Nothing was changed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTexts:
    """What one conversation said."""

    title: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFile:
    format: str
    version: int
    conversations: tuple[FileTexts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTexts:
    """Texts that were imported."""

    id: int
    title: str
    texts: tuple[str, ...]


def write_file(conversations: Iterable[FileTexts]) -> str:
    file = MemoryFile(format=FORMAT, version=VERSION, conversations=tuple(conversations))
    return json.dumps(codec.dump(file), ensure_ascii=False, indent=1)


def read_file(text: str) -> list[FileTexts]:
    """The texts of a file, cleaned as typed ones are; raises `MemoryFileRefused`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise MemoryFileRefused("it is not JSON") from exc
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise MemoryFileRefused(f'it is no exported memory (it lacks "format": "{FORMAT}")')
    if data.get("version") != VERSION or isinstance(data.get("version"), bool):
        raise MemoryFileRefused(f"this Slipstream reads version {VERSION} of such files; import it with a newer one")
    try:
        file = codec.load(MemoryFile, data, "file")
    except (ValueError, RecursionError) as exc:
        raise MemoryFileRefused(str(exc)) from exc
    if sum(len(each.texts) for each in file.conversations) > MOST_TEXTS:
        raise MemoryFileRefused(f"it has more than {MOST_TEXTS:,} texts")
    if sum(len(text) for each in file.conversations for text in each.texts) > LIMIT_CHARS:
        raise MemoryFileRefused(f"it has more than {LIMIT_CHARS:,} characters")
    cleaned = [
        FileTexts(
            title=clean_title(each.title) or "Untitled",
            texts=tuple(text for text in map(clean_text, each.texts) if text.strip()),
        )
        for each in file.conversations
    ]
    found = [each for each in cleaned if each.texts]
    if not found:
        raise MemoryFileRefused("it holds no text")
    return found


class MemoryTextStore:
    """Imported texts on disk; every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, texts: Sequence[FileTexts]) -> list[MemoryTexts]:
        """Keep all of these; one that is here already, with the same texts, is not kept twice."""
        added = []
        known = {(each.title, each.texts) for each in self.all()}
        with self._store.transaction() as db:
            for each in texts:
                if (each.title, each.texts) in known:
                    continue
                known.add((each.title, each.texts))
                row = {
                    "title": each.title,
                    "texts": json.dumps(each.texts, ensure_ascii=False),
                    "created": codec.date_text(now()),
                }
                added.append(
                    MemoryTexts(id=int(db["memory_texts"].insert(row).last_pk), title=each.title, texts=each.texts)
                )
        return added

    def ids(self) -> list[int]:
        """The oldest first."""
        with self._store.transaction() as db:
            return [row["id"] for row in db.query("SELECT id FROM memory_texts ORDER BY id")]

    def texts(self, text_id: int) -> tuple[str, ...]:
        """What was imported under this id; nothing where it is removed."""
        with self._store.transaction() as db:
            found = list(db.query("SELECT texts FROM memory_texts WHERE id = ?", [text_id]))
        return tuple(str(text) for row in found for text in json.loads(row["texts"]))

    def all(self) -> list[MemoryTexts]:
        """The oldest first."""
        with self._store.transaction() as db:
            found = list(db.query("SELECT id, title, texts FROM memory_texts ORDER BY id"))
        return [
            MemoryTexts(id=row["id"], title=row["title"], texts=tuple(map(str, json.loads(row["texts"]))))
            for row in found
        ]

    def remove(self, ids: Sequence[int]) -> list[MemoryTexts]:
        """Remove these for good; returns what they were."""
        removed = [each for each in self.all() if each.id in set(ids)]
        with self._store.transaction() as db:
            for each in removed:
                db["memory_texts"].delete(each.id)
            if removed:
                purge.mark(db, purge.COPIES)
        self._store.clean_soon()
        return removed


def switch_memory(store: Store, conversation_ids: Sequence[int] | None, on: bool) -> list[int]:
    """Let these conversations, or all, be remembered or not; returns those whose setting changed."""
    with store.transaction() as db:
        which = "" if conversation_ids is None else "AND id IN (SELECT value FROM json_each(:ids))"
        given = {"ids": json.dumps(list(conversation_ids or ())), "word": "true" if on else "false"}
        kept = "coalesce(json_extract(settings, '$.memory'), 1)"
        changing = f"json_valid(settings) AND deleted IS NULL AND {kept} = {0 if on else 1} {which}"
        found = [row["id"] for row in db.query(f"SELECT id FROM conversations WHERE {changing}", given)]
        db.execute(
            f"UPDATE conversations SET settings = json_set(settings, '$.memory', json(:word)) WHERE {changing}", given
        )
    return found
