"""The memory over conversations as a person looks into it: what is known, forgotten, exported and imported.

To forget a conversation is to switch its memory off: else it would be learned again with its next answer.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from app.chat.memory import MemoryKeeper
from app.chat.queue import Asker, Queue
from app.store.errors import NotFound
from app.store.memory_texts import FileTexts, MemoryTexts, MemoryTextStore, read_file, switch_memory, write_file
from app.store.store import Store
from engine.api import EngineAPI, RemembersConversations
from engine.errors import EngineBusy, EngineError
from engine.events import MemoryView

IMPORTED = "m"  # before the number of an imported text, as its key

Key = int | str
"""A conversation's id, or the key of an imported text."""


class Remembered:
    """Every method may be called from any thread."""

    def __init__(self, engine: EngineAPI, store: Store, queue: Queue, keeper: MemoryKeeper) -> None:
        self._engine = engine
        self._store = store
        self._queue = queue
        self._keeper = keeper
        self._texts = MemoryTextStore(store)
        self._lock = threading.Lock()
        self._switched_off: list[int] = []  # what was forgotten last, for `undo`
        self._removed: list[MemoryTexts] = []
        self.num_changes = 0  # of which conversations are remembered

    def look(self, phrase: str = "") -> MemoryView:
        """What the engine knows now. Raises `EngineError`, also while an answer is written."""
        with self._queue.join(Asker(kind="page", name="memory")) as place:
            if self._queue.serving is not None and self._queue.serving.kind == "idle":
                place.wait()
            if place.ahead:
                raise EngineBusy("An answer is being written: look again when it has ended.")
            return self._memory.look(phrase)

    def title(self, key: str) -> str | None:
        """The title of what has this key, which may be empty; None where it is deleted."""
        if key.startswith(IMPORTED):
            return next((each.title for each in self._texts.all() if f"{IMPORTED}{each.id}" == key), None)
        try:
            return self._store.conversation(int(key)).title
        except (NotFound, ValueError):
            return None

    def refill(self) -> None:
        """Report what was imported to a fresh engine."""
        self._tell(self._texts.ids())

    def forget(self, key: str) -> None:
        """Take one conversation, or one imported text, out of the memory; raises `ValueError` where there is none."""
        if key.startswith(IMPORTED) and key[1:].isdecimal():
            self._forget([], [int(key[1:])])
        elif key.isdecimal():
            self._forget([int(key)], [])
        else:
            raise ValueError("There is nothing of that name in the memory: load the page again.")

    def forget_all(self) -> None:
        self._forget(None, self._texts.ids())

    def undo(self) -> None:
        """Bring back what was forgotten last."""
        with self._lock:
            switched_off, removed = self._switched_off, self._removed
            self._switched_off, self._removed = [], []
        switch_memory(self._store, switched_off, True)
        self.num_changes += 1
        self._keeper.take_in(switched_off[::-1])
        self._take([FileTexts(title=each.title, texts=each.texts) for each in removed])

    def export(self, conversation_id: int | None = None) -> str:
        """A file with what may be drafted from: of one conversation, or all, imported texts included."""
        if conversation_id is not None:
            title = self._store.conversation(conversation_id).title
            return write_file([FileTexts(title=title, texts=tuple(self._keeper.texts(conversation_id)))])
        found = [FileTexts(title=each.title, texts=each.texts) for each in self._texts.all()]
        for summary in reversed(self._store.conversations()):
            with suppress(NotFound):  # deleted meanwhile
                if texts := self._keeper.texts(summary.id):
                    found.append(FileTexts(title=summary.title, texts=tuple(texts)))
        return write_file(found)

    def take_in(self, text: str) -> int:
        """Add the texts of a file; returns how many were new. Raises `MemoryFileRefused`."""
        return self._take(read_file(text))

    def _take(self, texts: Sequence[FileTexts]) -> int:
        added = self._texts.add(texts)
        self._tell([each.id for each in added])
        return len(added)

    def _tell(self, text_ids: Sequence[int]) -> None:
        for text_id in text_ids:
            self._keeper.tell(f"{IMPORTED}{text_id}", partial(self._texts.texts, text_id))

    def _forget(self, conversation_ids: Sequence[int] | None, text_ids: Sequence[int]) -> None:
        switched_off = switch_memory(self._store, conversation_ids, False)
        self.num_changes += 1
        removed = self._texts.remove(text_ids)
        with self._lock:
            self._switched_off, self._removed = switched_off, removed
        keys = [*map(str, conversation_ids or switched_off), *(f"{IMPORTED}{text_id}" for text_id in text_ids)]
        for key in keys:
            self._keeper.forget(key)

    @property
    def _memory(self) -> RemembersConversations:
        if self._engine.memory is None:
            raise EngineError("This engine remembers no conversations.")
        return self._engine.memory
