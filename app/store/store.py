"""Conversations on disk: a tree of messages each, the runs behind the answers, and app-wide settings.

One SQLite file, one connection, one lock; every method may be called from any thread. It knows neither the
engine nor the page. Every method raises `StoreError` (see `app.store.errors`) in one sentence when the file fails.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from app.store import purge, rows, search
from app.store.backups import Backups
from app.store.database import open_database, remove_copies, translated
from app.store.dates import ANY_DATE, trash_end
from app.store.errors import NotFound, StoreClosed
from app.store.records import (
    Attachment,
    Conversation,
    ConversationSettings,
    ConversationSummary,
    RunRecord,
    Status,
    StoredMessage,
    now,
)
from app.store.text import clean_text, clean_title
from app.store.tree import MessageTree
from engine import codec
from engine.config import Role

log = logging.getLogger(__name__)


class Store:
    """The application's database at `path`, created or migrated when it is opened; or `db`, which is open."""

    def __init__(self, path: Path, db: Database | None = None) -> None:
        self.file = Path(path)
        self._lock = threading.RLock()
        self._closed = False
        self._db = open_database(self.file) if db is None else db
        self.backups = Backups(self.file)
        self._cleaner = purge.Cleaner(self._connection, self.backups.renew)
        try:
            search.prepare(self._db)
            self._tidy()
        except BaseException:
            self._db.close()
            raise
        self._cleaner.start()

    def close(self) -> None:
        self.backups.stop()
        self._cleaner.stop()
        with self._lock:
            self._closed = True
            self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Database]:
        """A transaction around the block: all of it happens or nothing; nests."""
        with self._connection() as db, db.atomic():
            yield db

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Database]:
        with self._lock, translated(self.file):
            if self._closed:
                raise StoreClosed("Slipstream has ended, or this private chat was left: nothing more is saved.")
            yield self._db

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        with self._connection() as db:
            return list(db.query(sql, parameters))

    def _found(self, sql: str, id: int) -> list[dict[str, Any]]:
        """The row with this id; none for a number that is too large for SQLite."""
        return self._rows(sql, [id]) if abs(id) < 2**63 else []

    def _tidy(self) -> None:
        """At a start: what a killed process left streaming is interrupted, what has left the trash is gone for good."""
        with self.transaction() as db:
            db.execute("UPDATE messages SET status = 'interrupted' WHERE status = 'streaming'")
            purge.purge_rows(db, trash_end())
        purge.truncate_log(self._db)

    def finish_cleaning(self) -> None:
        """Wait until no deleted text is left in the files; otherwise that happens in the background."""
        self._cleaner.clean()

    def clean_soon(self) -> None:
        """Remove what is marked as deleted from the files, in the background."""
        self._cleaner.start()

    # Conversations

    def new_conversation(
        self,
        settings: ConversationSettings,
        title: str = "",
        *,
        created: datetime | None = None,
        pinned: bool = False,
        archived: bool = False,
        labels: Iterable[str] = (),
    ) -> Conversation:
        created = created or now()
        with self.transaction() as db:
            row = {
                "title": clean_title(title),
                "created": codec.date_text(created),
                "updated": codec.date_text(created),
                "settings": codec.dumps(settings),
                "pinned": int(pinned),
                "archived": int(archived),
            }
            conversation_id = int(db["conversations"].insert(row).last_pk)
            for name in dict.fromkeys(labels):
                db["labels"].insert({"conversation_id": conversation_id, "name": name})
            return self.conversation(conversation_id)

    def conversation(self, conversation_id: int) -> Conversation:
        """Raises `NotFound` if there is none or it was deleted."""
        with self._connection() as db:
            row = self._conversation_row(conversation_id)
            return rows.conversation(row, search.labels_of(db, [conversation_id]).get(conversation_id, ()))

    def conversations(
        self, query: str | None = None, limit: int = -1, *, archived: bool | None = None, label: str | None = None
    ) -> list[ConversationSummary]:
        """The pinned ones, then the newest, at most `limit` unless that is negative.

        With a query: those whose title, or one message or attachment, contains all its words, or parts of words, in
        any script.
        `archived`: only those that are, or are not; `label`: only those that have it.
        """
        with self._connection() as db:
            return search.conversations(db, query or "", limit, archived=archived, label=label)

    def conversation_ids(self) -> list[int]:
        """The ids of all that are not deleted, the oldest first."""
        return [row["id"] for row in self._rows("SELECT id FROM conversations WHERE deleted IS NULL ORDER BY id")]

    def rename(self, conversation_id: int, title: str) -> None:
        """Set the title that a person typed; raises `ValueError` for an empty one."""
        title = clean_title(title)
        if not title:
            raise ValueError("The title is empty: write one first.")
        with self.transaction() as db:
            self._set(conversation_id, title=title, first_words=0)
            purge.mark(db, purge.TITLES)
        self._cleaner.start()

    def set_title(self, conversation_id: int, title: str) -> None:
        """Set the title of a conversation that has none yet: its first words, until the model has a better one."""
        with self.transaction():
            if not self.conversation(conversation_id).title:
                self._set(conversation_id, title=clean_title(title), first_words=1)

    def has_first_words(self, conversation_id: int) -> bool:
        """Whether the title is the first words of the chat, and nothing better was found yet."""
        return bool(self._conversation_row(conversation_id)["first_words"])

    def with_first_words(self, newest: int) -> list[Conversation]:
        """Those of so many `newest` conversations whose title is their first words, the newest first."""
        sql = "SELECT id, first_words FROM conversations WHERE deleted IS NULL ORDER BY updated DESC, id DESC LIMIT ?"
        with self.transaction():
            return [self.conversation(row["id"]) for row in self._rows(sql, [newest]) if row["first_words"]]

    def improve_title(self, conversation_id: int, title: str | None) -> bool:
        """Put the model's title in the place of the first words; None: they stay for good.

        Nothing happens where a person was faster. Returns whether the title is another one now.
        """
        with self.transaction():
            if not self.has_first_words(conversation_id):
                return False
            values = {} if title is None else {"title": clean_title(title)}
            self._set(conversation_id, first_words=0, **values)
        return title is not None

    def pin(self, conversation_id: int, pinned: bool) -> None:
        self._set(conversation_id, pinned=int(pinned))

    def save_settings(self, conversation_id: int, settings: ConversationSettings) -> None:
        with self.transaction():
            kept = self.conversation(conversation_id).settings.kept  # of a newer version
            self._set(conversation_id, settings=codec.dumps(replace(settings, kept=kept)))

    def draft(self, conversation_id: int) -> str:
        """What was written into the message box of this conversation and not sent."""
        return str(self._conversation_row(conversation_id)["draft"])

    def save_draft(self, conversation_id: int, text: str) -> None:
        self._set(conversation_id, draft=clean_text(text))

    def touch(self, conversation_id: int, updated: datetime) -> None:
        """Set the date by which it is listed."""
        self._set(conversation_id, updated=codec.date_text(updated))

    def delete(self, conversation_id: int) -> None:
        """Put the conversation into the trash, from which `restore` brings it back for `TRASH_DAYS`."""
        self._set(conversation_id, deleted=codec.date_text(now()))

    def restore(self, conversation_id: int) -> None:
        """Undo `delete`."""
        with self.transaction() as db:
            changed = db.execute("UPDATE conversations SET deleted = NULL WHERE id = ?", [conversation_id]).rowcount
        if not changed:
            raise NotFound(f"Conversation {conversation_id} is gone for good and cannot be brought back.")

    def trash(self) -> list[ConversationSummary]:
        """What was deleted and can still be brought back, the newest first; `updated` is when it was deleted."""
        found = self._rows("SELECT id, title, deleted, pinned FROM conversations WHERE deleted IS NOT NULL")
        listed = [
            ConversationSummary(id=row["id"], title=row["title"], updated=rows.date(row, "deleted", "conversation"))
            for row in found
        ]
        return sorted(listed, key=lambda line: (line.updated, line.id), reverse=True)

    def empty_trash(self, conversation_id: int | None = None) -> None:
        """Remove what was deleted, or this conversation of it, for good: from every file."""
        with self.transaction() as db:
            purge.purge_rows(db, ANY_DATE, conversation_id)
        remove_copies(self.file)
        self._cleaner.start()

    def _set(self, conversation_id: int, **values: object) -> None:
        with self.transaction() as db:
            self._conversation_row(conversation_id)
            db["conversations"].update(conversation_id, values)

    def _conversation_row(self, conversation_id: int) -> dict[str, Any]:
        found = self._found("SELECT * FROM conversations WHERE id = ? AND deleted IS NULL", conversation_id)
        if not found:
            raise NotFound(f"There is no conversation {conversation_id}: it may have been deleted. Choose another one.")
        return found[0]

    # Messages

    def add_message(
        self,
        conversation_id: int,
        parent_id: int | None,
        role: Role,
        text: str,
        *,
        token_ids: Iterable[int] = (),
        status: Status = "complete",
        error: str | None = None,
        created: datetime | None = None,
    ) -> StoredMessage:
        """Add a message under `parent_id` (None: a first message) and make it the tip."""
        created = created or now()
        with self.transaction():
            self._conversation_row(conversation_id)
            if parent_id is not None and self._message_row(parent_id)["conversation_id"] != conversation_id:
                raise ValueError(f"Message {parent_id} belongs to another conversation than {conversation_id}.")
            message_id = self.insert_message(
                conversation_id, parent_id, role, text, token_ids=token_ids, status=status, error=error, created=created
            )
            goes_on = {"archived": 0} if role == "user" else {}  # another answer to the same question changes nothing
            self._set(conversation_id, tip_id=message_id, updated=codec.date_text(created), **goes_on)
            return self.message(message_id)

    def insert_message(
        self,
        conversation_id: int,
        parent_id: int | None,
        role: Role,
        text: str,
        *,
        token_ids: Iterable[int],
        status: Status,
        error: str | None,
        created: datetime,
    ) -> int:
        """Insert a message, for a caller that has checked the parent and sets the tip itself."""
        with self.transaction() as db:
            row = {
                "conversation_id": conversation_id,
                "parent_id": parent_id,
                "role": role,
                "text": _without_nul(text),
                "token_ids": rows.ids_text(token_ids),
                "status": status,
                "error": error,
                "created": codec.date_text(created),
            }
            return int(db["messages"].insert(row).last_pk)

    def update_message(
        self, message_id: int, text: str, token_ids: Iterable[int], status: Status, error: str | None = None
    ) -> None:
        values = {"text": _without_nul(text), "token_ids": rows.ids_text(token_ids), "status": status, "error": error}
        with self.transaction() as db:
            self._message_row(message_id)
            db["messages"].update(message_id, values)

    def add_run(self, message_id: int, run: RunRecord) -> int:
        """Returns the run's id."""
        with self.transaction() as db:
            self._message_row(message_id)
            return int(db["runs"].insert({"message_id": message_id, "record": codec.dumps(run)}).last_pk)

    def message(self, message_id: int) -> StoredMessage:
        """Raises `NotFound` where there is none."""
        with self._lock:
            tree = self._tree(self._message_row(message_id)["conversation_id"])
            return self._messages(tree, [message_id])[0]

    def path(self, conversation_id: int, to: int | None = None) -> list[StoredMessage]:
        """The messages from the root to the tip, or to the message `to`."""
        with self._lock:
            end = to if to is not None else self.conversation(conversation_id).tip_id
            if end is None:
                return []
            tree = self._tree(conversation_id)
            if end not in tree:
                raise NotFound(f"Conversation {conversation_id} has no message {end}: load the page again.")
            return self._messages(tree, tree.path(end))

    def all_messages(self, conversation_id: int) -> list[StoredMessage]:
        """Every message of every branch, parents before their children."""
        with self._lock:
            ids = [row["id"] for row in self._links(conversation_id)]
            return self._messages(self._tree(conversation_id), ids)

    def texts_elsewhere(self, conversation_id: int, path: Sequence[int]) -> list[str]:
        """What is said in the conversation by messages that are none of these, the oldest first."""
        found = self._rows(
            "SELECT text FROM messages WHERE conversation_id = ? AND text <> '' "
            "AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY id",
            [conversation_id, json.dumps(list(path))],
        )
        return [row["text"] for row in found]

    def select(self, message_id: int) -> int:
        """Show the branch of this message: its newest leaf becomes the tip, whose id is returned."""
        with self.transaction():
            conversation_id = self._message_row(message_id)["conversation_id"]
            tip_id = self._tree(conversation_id).newest_leaf(message_id)
            self._set(conversation_id, tip_id=tip_id)
            return tip_id

    def sibling(self, message_id: int, offset: int) -> int:
        """Select the version `offset` positions to the right of this one, or the last one, and return its id."""
        with self.transaction():
            siblings = self._tree(self._message_row(message_id)["conversation_id"]).siblings(message_id)
            chosen = siblings[min(max(siblings.index(message_id) + offset, 0), len(siblings) - 1)]
            self.select(chosen)
            return chosen

    def place_tip(self, message_id: int) -> None:
        """Make this message the tip, whatever follows it."""
        with self.transaction():
            self._set(self._message_row(message_id)["conversation_id"], tip_id=message_id)

    def has_children(self, message_id: int) -> bool:
        return bool(self._rows("SELECT 1 FROM messages WHERE parent_id = ? LIMIT 1", [message_id]))

    def _message_row(self, message_id: int) -> dict[str, Any]:
        found = self._found("SELECT id, conversation_id FROM messages WHERE id = ?", message_id)
        if not found:
            raise NotFound(f"There is no message {message_id}: its conversation may have been deleted.")
        return found[0]

    def _links(self, conversation_id: int) -> list[dict[str, Any]]:
        return self._rows("SELECT id, parent_id FROM messages WHERE conversation_id = ? ORDER BY id", [conversation_id])

    def _tree(self, conversation_id: int) -> MessageTree:
        return MessageTree((row["id"], row["parent_id"]) for row in self._links(conversation_id))

    def _messages(self, tree: MessageTree, ids: Sequence[int]) -> list[StoredMessage]:
        """The messages with these ids, in their order."""
        wanted = json.dumps(list(ids))
        found = self._rows("SELECT * FROM messages WHERE id IN (SELECT value FROM json_each(?))", [wanted])
        runs: dict[int, list[RunRecord]] = {}
        for row in self._rows(
            "SELECT * FROM runs WHERE message_id IN (SELECT value FROM json_each(?)) ORDER BY id", [wanted]
        ):
            runs.setdefault(row["message_id"], []).extend(rows.runs(row))
        attached: dict[int, list[Attachment]] = {}
        for row in self._rows(
            "SELECT * FROM attachments WHERE message_id IN (SELECT value FROM json_each(?)) ORDER BY id", [wanted]
        ):
            attached.setdefault(row["message_id"], []).append(rows.attachment(row))
        repeated = self._rows(
            "SELECT DISTINCT later.id FROM messages later JOIN messages earlier ON earlier.parent_id = later.parent_id "
            "AND earlier.id < later.id AND earlier.text = later.text "
            "WHERE later.id IN (SELECT value FROM json_each(?)) AND later.text != ''",
            [wanted],
        )
        repeats = {row["id"] for row in repeated}
        by_id = {
            row["id"]: rows.message(
                row, tree, runs.get(row["id"], []), attached.get(row["id"], []), repeats=row["id"] in repeats
            )
            for row in found
        }
        return [by_id[message_id] for message_id in ids]

    # App-wide settings

    def get_setting(self, key: str, default: Any = None) -> Any:
        """The JSON value kept under `key`; the default if there is none or it cannot be read."""
        found = self._rows("SELECT value FROM settings WHERE key = ?", [key])
        if not found:
            return default
        try:
            return json.loads(found[0]["value"])
        except (TypeError, ValueError, RecursionError) as exc:
            log.warning("The setting %s is damaged (%s); its default is used.", key, exc)
            return default

    def set_setting(self, key: str, value: Any) -> None:
        with self.transaction() as db:
            db["settings"].upsert({"key": key, "value": json.dumps(value, ensure_ascii=False)}, pk="key")


def _without_nul(text: str) -> str:
    """What a model writes is kept as it is, but for NUL: the search index would end there."""
    return text.replace("\0", "")
