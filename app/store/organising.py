"""Many conversations at once: pinned, archived, labelled, deleted.

Every change is one transaction, and returns what brings it back.
"""

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.store.errors import NotFound
from app.store.store import Store
from app.store.text import clean_title

LABEL_LIMIT = 40  # characters
MOST_LABELS = 20  # of one conversation

Flag = Literal["pinned", "archived"]
Undo = Callable[[], None]

_THESE = "id IN (SELECT value FROM json_each(:ids)) AND deleted IS NULL"


@dataclass(frozen=True, slots=True)
class Label:
    """A label, and how many conversations that are not deleted have it."""

    name: str
    count: int


class Organising:
    """Reads and writes through the store at every call. `num_changes`: of the list, by which other pages see them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.num_changes = 0

    def note_change(self) -> None:
        """The list has changed."""
        with self._lock:
            self.num_changes += 1

    def labels(self) -> list[Label]:
        """All that any conversation has."""
        with self._store.transaction() as db:
            found = db.query(
                "SELECT l.name, count(*) AS number FROM labels l JOIN conversations c ON c.id = l.conversation_id "
                "WHERE c.deleted IS NULL GROUP BY l.name"
            )
            return sorted((Label(row["name"], row["number"]) for row in found), key=lambda each: each.name.casefold())

    def num_archived(self) -> int:
        with self._store.transaction() as db:
            found = db.query("SELECT count(*) AS number FROM conversations WHERE archived AND deleted IS NULL")
            return int(next(iter(found))["number"])

    def require(self, ids: Sequence[int]) -> None:
        """Raise `NotFound` unless all of these are there."""
        with self._store.transaction() as db:
            found = db.query(f"SELECT count(*) AS number FROM conversations WHERE {_THESE}", {"ids": json.dumps(ids)})
            if next(iter(found))["number"] != len(set(ids)):
                raise NotFound("Some of these chats were deleted meanwhile: choose them again.")

    def flag(self, ids: Sequence[int], flag: Flag, on: bool) -> Undo:
        """Pin or archive these, or end that."""
        with self._store.transaction() as db:
            self.require(ids)
            given = {"ids": json.dumps(ids), "on": int(on)}
            changing = f"{_THESE} AND {flag} <> :on"
            changed = [row["id"] for row in db.query(f"SELECT id FROM conversations WHERE {changing}", given)]
            db.execute(f"UPDATE conversations SET {flag} = :on WHERE {changing}", given)
        self.note_change()
        return lambda: self._set_flag(changed, flag, not on)

    def label(self, ids: Sequence[int], name: str, on: bool) -> Undo:
        """Give these a label, or take it away; raises `ValueError` for a name that cannot be one."""
        with self._store.transaction() as db:
            self.require(ids)
            (name,) = self.known([clean_label(name)])
            have = "SELECT conversation_id FROM labels WHERE name = :name"
            given = {"ids": json.dumps(ids), "name": name}
            changing = f"{_THESE} AND id {'NOT IN' if on else 'IN'} ({have})"
            changed = [row["id"] for row in db.query(f"SELECT id FROM conversations WHERE {changing}", given)]
            full = "SELECT 1 FROM labels WHERE conversation_id IN (SELECT value FROM json_each(?)) "
            full += f"GROUP BY conversation_id HAVING count(*) >= {MOST_LABELS}"
            if on and list(db.query(full, [json.dumps(changed)])):
                raise ValueError(f"A chat has {MOST_LABELS} labels at most: take another one away first.")
            self._set_label(changed, name, on)
        return lambda: self._set_label(changed, name, not on)

    def delete(self, ids: Sequence[int]) -> None:
        """Put these into the trash, all or none."""
        with self._store.transaction():
            for conversation_id in ids:
                self._store.delete(conversation_id)
        self.note_change()

    def restore(self, ids: Sequence[int]) -> list[int]:
        """Undo `delete` for those that are not gone for good, and return them; raises `NotFound` where all are."""
        with self._store.transaction() as db:
            given = json.dumps(list(ids))
            there = list(db.query("SELECT id FROM conversations WHERE id IN (SELECT value FROM json_each(?))", [given]))
            if not there:
                raise NotFound("These chats are gone for good and cannot be brought back.")
            for row in there:
                self._store.restore(row["id"])
        self.note_change()
        return [row["id"] for row in there]

    def known(self, names: Iterable[str]) -> list[str]:
        """The different ones of these names, each as it is written already, whatever its capitals."""
        there = [each.name for each in self.labels()]
        written = {name.casefold(): name for name in there}
        return list(dict.fromkeys(n if n in there else written.setdefault(n.casefold(), n) for n in names))

    def _set_flag(self, ids: Iterable[int], flag: Flag, on: bool) -> None:
        with self._store.transaction() as db:
            given = {"ids": json.dumps(list(ids)), "on": int(on)}
            db.execute(f"UPDATE conversations SET {flag} = :on WHERE {_THESE}", given)
        self.note_change()

    def _set_label(self, ids: Iterable[int], name: str, on: bool) -> None:
        given = {"ids": json.dumps(list(ids)), "name": name}
        these = f"SELECT id FROM conversations WHERE {_THESE}"
        with self._store.transaction() as db:
            if on:
                db.execute(
                    f"INSERT OR IGNORE INTO labels (conversation_id, name) SELECT id, :name FROM ({these})", given
                )
            else:
                db.execute(f"DELETE FROM labels WHERE name = :name AND conversation_id IN ({these})", given)
        self.note_change()


def clean_label(name: str) -> str:
    """A label as it is kept; raises `ValueError`."""
    name = clean_title(name)
    if not name:
        raise ValueError("The label is empty: write one first.")
    if len(name) > LABEL_LIMIT:
        raise ValueError(f"The label has {len(name)} characters; at most {LABEL_LIMIT} fit. Shorten it.")
    return name
