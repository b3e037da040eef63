"""What is attached: first to the message that is being written in a conversation, then to the one that was sent.

Conversation None: the next chat, which has not begun.
"""

import json
from collections.abc import Collection

from app.store.errors import NotFound
from app.store.records import Attachment
from app.store.rows import attachment
from app.store.store import Store
from app.store.text import clean_text, clean_title

MOST = 20  # of one message

_WAITING = "message_id IS NULL AND conversation_id IS ?"


class Attachments:
    """Reads and writes through the store at every call."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def waiting(self, conversation_id: int | None) -> list[Attachment]:
        """Those of the message that is being written, in the order in which they came."""
        with self._store.transaction() as db:
            found = db.query(f"SELECT * FROM attachments WHERE {_WAITING} ORDER BY id", [conversation_id])
            return [attachment(row) for row in found]

    def waiting_ids(self, conversation_id: int | None) -> list[int]:
        with self._store.transaction() as db:
            found = db.query(f"SELECT id FROM attachments WHERE {_WAITING} ORDER BY id", [conversation_id])
            return [row["id"] for row in found]

    def add(self, conversation_id: int | None, name: str, kind: str, size: int, text: str) -> Attachment:
        """Attach a text to the message that is being written; one of the same name gets a number behind it.

        Raises `ValueError` where there are too many.
        """
        with self._store.transaction():
            if conversation_id is not None:
                self._store.conversation(conversation_id)
            names = {other.name for other in self.waiting(conversation_id)}
            if len(names) >= MOST:
                raise ValueError(f"{MOST} files are attached, which is as many as one message takes: remove one first.")
            return self.insert(
                conversation_id, None, another_name(clean_title(name) or "file", names), kind, size, text
            )

    def insert(
        self, conversation_id: int | None, message_id: int | None, name: str, kind: str, size: int, text: str
    ) -> Attachment:
        """Keep one, for a caller that has checked where it belongs."""
        row = {"name": clean_title(name), "kind": clean_title(kind), "size": size, "text": clean_text(text)}
        with self._store.transaction() as db:
            table = db["attachments"].insert(row | {"conversation_id": conversation_id, "message_id": message_id})
            return attachment({"id": int(table.last_pk)} | row)

    def get(self, attachment_id: int) -> Attachment:
        """One of any message of a conversation that is not deleted, or one that waits; raises `NotFound`."""
        with self._store.transaction() as db:
            found = list(
                db.query(
                    "SELECT * FROM attachments WHERE id = ? AND (conversation_id IS NULL OR conversation_id IN "
                    "(SELECT id FROM conversations WHERE deleted IS NULL))",
                    [_fitting(attachment_id)],
                )
            )
        if not found:
            raise NotFound("This attachment is not there any more: load the page again.")
        return attachment(found[0])

    def remove(self, attachment_id: int) -> None:
        """Take one away from the message that is being written; nothing happens where it was sent or is gone."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM attachments WHERE id = ? AND message_id IS NULL", [_fitting(attachment_id)])

    def send(self, conversation_id: int, message_id: int) -> None:
        """What waits in the conversation goes with this message."""
        with self._store.transaction() as db:
            values = [message_id, conversation_id]
            db.execute(f"UPDATE attachments SET message_id = ? WHERE {_WAITING}", values)

    def move(self, conversation_id: int) -> None:
        """What waits in the next chat waits in this one, which it has become."""
        with self._store.transaction() as db:
            db.execute(f"UPDATE attachments SET conversation_id = ? WHERE {_WAITING}", [conversation_id, None])

    def copy(self, from_id: int, to_id: int, without: Collection[int] = ()) -> None:
        """The message `to_id` of the same conversation has what the message `from_id` has, but for some of it."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO attachments (conversation_id, message_id, name, kind, size, text) "
                "SELECT conversation_id, ?, name, kind, size, text FROM attachments "
                "WHERE message_id = ? AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY id",
                [to_id, from_id, json.dumps(list(without))],
            )


def _fitting(number: int) -> int:
    """An id as SQLite takes it; one that is too large is that of nothing."""
    return number if abs(number) < 2**63 else 0


def another_name(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken.

    >>> another_name("a.txt", set()), another_name("a.txt", {"a.txt"}), another_name("notes", {"notes", "notes (2)"})
    ('a.txt', 'a (2).txt', 'notes (3)')
    """
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    number, other = 1, name
    while other in taken:
        number += 1
        other = f"{stem} ({number}){dot}{ending}"
    return other
