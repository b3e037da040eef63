"""Parts of a conversation: one that is cut off goes into the trash, one that branches off is copied.

What is cut off becomes a conversation of its own, deleted in the same step. So it stays for as long as everything
deleted does, can be brought back from the trash, and goes for good with all else.
"""

from dataclasses import dataclass

from app.store import purge
from app.store.attachments import Attachments
from app.store.errors import NotFound
from app.store.origins import OriginStore
from app.store.store import Store

_AT_ONCE = 500  # ids in one statement
_TABLES = (("messages", "id"), ("attachments", "message_id"))


@dataclass(frozen=True, slots=True)
class Part:
    """Messages that were cut off a conversation, where they hung, and what was shown of it."""

    conversation_id: int
    part_id: int  # the conversation that holds them in the trash
    root_id: int
    parent_id: int | None
    tip_id: int | None
    title: str


class Parts:
    """Reads and writes through the store at every call."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def cut(self, message_id: int) -> Part:
        """Take a message away with everything that follows it, on every branch; another version is shown, if any."""
        with self._store.transaction() as db:
            root = self._store.message(message_id)
            conversation = self._store.conversation(root.conversation_id)
            ids = self._under(message_id)
            title = conversation.title if root.parent_id is None else f"The end of {conversation.title}"
            part = self._store.new_conversation(conversation.settings, title)
            db.execute("UPDATE messages SET parent_id = NULL WHERE id = ?", [message_id])
            for start in range(0, len(ids), _AT_ONCE):
                some = ids[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                for table, column in _TABLES:
                    db.execute(f"UPDATE {table} SET conversation_id = ? WHERE {column} IN ({marks})", [part.id, *some])
            self._store.select(message_id)
            if conversation.tip_id in ids:
                left = [one.id for one in self._store.all_messages(conversation.id) if one.parent_id == root.parent_id]
                if left:
                    self._store.select(left[-1])
                else:
                    self._set_tip(conversation.id, root.parent_id)
            self._store.delete(part.id)
        return Part(conversation.id, part.id, message_id, root.parent_id, conversation.tip_id, conversation.title)

    def put_back(self, part: Part) -> None:
        """Undo `cut`; raises `NotFound` where the part is in the trash no more, or what it hung on is gone."""
        with self._store.transaction() as db:
            self._store.conversation(part.conversation_id)
            held = "SELECT 1 FROM conversations WHERE id = ? AND deleted IS NOT NULL"
            hangs = "SELECT 1 FROM messages WHERE id = ? AND conversation_id = ?"
            there = list(db.query(held, [part.part_id])) and (
                part.parent_id is None or list(db.query(hangs, [part.parent_id, part.conversation_id]))
            )
            if not there:
                raise NotFound("What was deleted here is not in the trash any more, or its place is gone.")
            for table, _ in _TABLES:
                where = [part.conversation_id, part.part_id]
                db.execute(f"UPDATE {table} SET conversation_id = ? WHERE conversation_id = ?", where)
            db.execute("UPDATE messages SET parent_id = ? WHERE id = ?", [part.parent_id, part.root_id])
            db.execute("DELETE FROM conversations WHERE id = ?", [part.part_id])
            purge.mark(db, purge.TITLES)
            if part.tip_id is not None and list(db.query(hangs, [part.tip_id, part.conversation_id])):
                self._set_tip(part.conversation_id, part.tip_id)
            else:  # what was shown then was deleted in another window
                self._store.select(part.root_id)

    def branch(self, message_id: int) -> int:
        """Copy the conversation as far as this message into one of its own, whose id is returned."""
        with self._store.transaction():
            end = self._store.message(message_id)
            conversation = self._store.conversation(end.conversation_id)
            copy = self._store.new_conversation(
                conversation.settings, f"{conversation.title} (branch)", labels=conversation.labels
            )
            attachments, parent_id = Attachments(self._store), None
            for message in self._store.path(conversation.id, message_id):
                added = self._store.add_message(
                    copy.id,
                    parent_id,
                    message.role,
                    message.text,
                    token_ids=message.token_ids,
                    status=message.status,
                    error=message.error,
                    created=message.created,
                )
                with self._store.transaction() as db:  # as they are, those too that cannot be read
                    copied = "SELECT ?, record FROM runs WHERE message_id = ? ORDER BY id"
                    db.execute(f"INSERT INTO runs (message_id, record) {copied}", [added.id, message.id])
                OriginStore(self._store).copy(message.id, added.id)
                for one in message.attachments:
                    attachments.insert(copy.id, added.id, one.name, one.kind, one.size, one.text)
                parent_id = added.id
            self._store.touch(copy.id, copy.created)
        return copy.id

    def _under(self, message_id: int) -> list[int]:
        """The message and all that follow it."""
        with self._store.transaction() as db:
            found = db.query(
                "WITH RECURSIVE under (id) AS (SELECT ? UNION ALL "
                "SELECT messages.id FROM messages JOIN under ON messages.parent_id = under.id) SELECT id FROM under",
                [message_id],
            )
            return [row["id"] for row in found]

    def _set_tip(self, conversation_id: int, tip_id: int | None) -> None:
        with self._store.transaction() as db:
            db.execute("UPDATE conversations SET tip_id = ? WHERE id = ?", [tip_id, conversation_id])
