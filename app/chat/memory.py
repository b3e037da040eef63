"""Which stored conversations the engine's drafts may draw on.

The engine's memory lives in its process and is rebuilt from the stored texts whenever a model is ready, with that
model's tokenizer. The texts never become part of a prompt: they can make an answer faster, and cannot change it.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from app.chat.attachments import with_attachments
from app.store.errors import NotFound, StoreError
from app.store.store import Store
from engine.api import EngineAPI

log = logging.getLogger(__name__)

ATTACHED_CHARS = 200_000  # of one conversation: what is attached beyond leaves room for others
LIMIT_CHARS = 1_000_000  # of the newest conversations; more than the engine keeps of common languages' text


class MemoryKeeper:
    """Reports to the engine what to remember and what to forget; every method may be called from any thread."""

    def __init__(self, engine: EngineAPI, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._lock = threading.Lock()  # held while one key is reported, so that no deletion comes between
        self._fill = 0  # the newest filling; an older one ends

    def refill(self) -> None:
        """Report the newest conversations to a fresh engine, in the background."""
        self._fill += 1
        self._start(lambda: [summary.id for summary in self._store.conversations()])

    def take_in(self, conversation_ids: Sequence[int]) -> None:
        """Report conversations that were just imported to the engine, the newest last, in the background."""
        self._start(lambda: conversation_ids[::-1])

    def remember(self, conversation_id: int) -> None:
        """Let other conversations draft from this one, unless it is deleted or switched out of the memory."""
        self.tell(str(conversation_id), lambda: self.texts(conversation_id))

    def tell(self, key: str, texts: Callable[[], Sequence[str]]) -> None:
        """Let conversations draft from what `texts` returns: read under the lock, so what is removed stays so."""
        with self._lock:
            found = texts()
            if found and self._engine.memory is not None:
                self._engine.memory.remember(key, found)

    def forget(self, key: int | str) -> None:
        """Take a conversation, or what was told under another key, out of the memory."""
        with self._lock:
            if self._engine.memory is not None:
                self._engine.memory.forget(str(key))

    def texts(self, conversation_id: int) -> list[str]:
        """What is said and attached on the branch that is shown, as the model reads it; nothing where the conversation
        is not to be remembered."""
        if not self._store.conversation(conversation_id).settings.memory:
            return []
        room, texts = ATTACHED_CHARS, []
        for message in self._store.path(conversation_id):
            taken = []
            for one in message.attachments:
                if len(one.text) <= room:
                    room -= len(one.text)
                    taken.append(one)
            texts.append(with_attachments(message.text, taken))
        return [text for text in texts if text.strip()]

    def _start(self, newest_first: Callable[[], Sequence[int]]) -> None:
        threading.Thread(target=self._report, args=(newest_first, self._fill), name="memory", daemon=True).start()

    def _report(self, newest_first: Callable[[], Sequence[int]], fill: int) -> None:
        """Report as many as there is room for; a later filling replaces this one."""
        try:
            chosen: list[int] = []
            room = LIMIT_CHARS
            for conversation_id in newest_first():
                with suppress(NotFound):  # deleted meanwhile
                    room -= sum(map(len, self.texts(conversation_id)))
                    if room < 0:
                        break
                    chosen.append(conversation_id)
            for conversation_id in reversed(chosen):  # the newest last: the engine drops the oldest first
                if fill != self._fill:
                    return
                with suppress(NotFound):  # deleted meanwhile
                    self.remember(conversation_id)
        except StoreError as exc:
            log.warning("The memory over conversations is incomplete: %s", exc)
