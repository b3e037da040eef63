"""Private chats: each in a store of its own in main memory, which writes no file and goes when the chat is left.

Ids say where something belongs: those of a private chat come from a range that no other chat has, in this process or
in an earlier one.
"""

import secrets
import threading
from pathlib import Path

from app.store.database import open_in_memory
from app.store.errors import NotFound
from app.store.records import ConversationSettings, now
from app.store.store import Store
from engine import codec

FIRST = 2**45  # no database on disk has so many messages; and JavaScript holds all that follow
FORGOTTEN = "This private chat was left, so it is forgotten: begin a new one."
SPAN = 2**20  # ids of one private chat
_RANGES = 2**32


def is_private(id: int | None) -> bool:
    """Whether this is the id of a private chat, or of something in it."""
    return id is not None and FIRST <= id < FIRST + _RANGES * SPAN


class Stores:
    """The store on disk, `kept`, and those of the private chats. Every method may be called from any thread."""

    def __init__(self, kept: Store) -> None:
        self.kept = kept
        self._private: dict[int, Store] = {}
        self._lock = threading.Lock()
        self._range = secrets.randbelow(_RANGES)

    def of(self, id: int | None) -> Store:
        """The store that holds this conversation, message or attachment; raises `NotFound` where that was forgotten."""
        if id is None or not is_private(id):
            return self.kept
        try:
            return self._private[(id - FIRST) // SPAN]
        except KeyError:
            raise NotFound(FORGOTTEN) from None

    def begin(self, settings: ConversationSettings) -> int:
        """Begin a private chat; returns its id."""
        store = Store(Path(":memory:"), open_in_memory())
        with self._lock:
            self._range = (self._range + 1) % _RANGES
            _begin_ids_behind(store, FIRST + self._range * SPAN)
            self._private[self._range] = store
        return store.new_conversation(settings).id

    def forget(self, conversation_id: int) -> Store | None:
        """Take the private chat away; its store is returned, to be closed when nothing writes to it any more."""
        with self._lock:
            return self._private.pop((conversation_id - FIRST) // SPAN, None)


def _begin_ids_behind(store: Store, first: int) -> None:
    """SQLite counts on from the greatest id: rows that nothing shows hold the beginning of the range."""
    date = codec.date_text(now())
    with store.transaction() as db:
        db.execute(
            "INSERT INTO conversations (id, title, created, updated, settings, pinned, deleted) "
            "VALUES (?, '', ?, ?, '{}', 0, ?)",
            [first, date, date, date],
        )
        db.execute(
            "INSERT INTO messages (id, conversation_id, role, text, token_ids, status, created) "
            "VALUES (?, ?, 'user', '', '[]', 'complete', ?)",
            [first, first, date],
        )
        db.execute(
            "INSERT INTO attachments (id, conversation_id, message_id, name, kind, size, text) "
            "VALUES (?, ?, ?, '', 'text', 0, '')",
            [first, first, first],
        )
