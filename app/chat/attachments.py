"""What goes with a message: read, counted, and put into the prompt, always in the same words.

The same words each time, and before what the person writes, so that a later question about the same text finds the
prompt's beginning in the cache, and drafts can be copied out of it.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from app.documents.limits import TEXT_LIMIT, Unreadable
from app.documents.reading import read
from app.store.attachments import MOST, Attachments, another_name
from app.store.private import Stores
from app.store.records import Attachment, StoredMessage
from app.store.store import Store
from app.store.text import clean_text, clean_title
from engine.api import EngineAPI

PASTED = "Pasted text"
CHARS_PER_TOKEN = 4  # of English; an estimate where no model can count
_COUNTS_KEPT = 1000
MOST_HELD = 2 * MOST


@dataclass(frozen=True, slots=True)
class Waiting:
    """An attachment of the message that is being written; `exact`: a model has counted its tokens."""

    attachment: Attachment
    tokens: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """What an edited message has otherwise: some of its attachments are taken away, others come behind them."""

    without: tuple[int, ...] = ()
    added: tuple[Attachment, ...] = ()

    def of(self, message: StoredMessage) -> list[Attachment]:
        """The attachments that its new version has; raises `ValueError` where they are too many or too long."""
        found = [one for one in message.attachments if one.id not in self.without]
        for one in self.added:
            found.append(replace(one, name=another_name(one.name, {other.name for other in found})))
        if len(found) > MOST:
            raise ValueError(f"{len(found)} files are attached; one message takes {MOST}: remove some first.")
        if (total := sum(len(one.text) for one in found)) > TEXT_LIMIT:
            raise ValueError(
                f"The attachments have {total:,} characters of text; at most {TEXT_LIMIT:,} go with one message. "
                "Remove one first."
            )
        return found


def as_prompt(attachment: Attachment) -> str:
    """An attachment as the model reads it."""
    text = attachment.text.strip("\n")
    return f'Attached text "{attachment.name}":\n\n{text}\n\nEnd of "{attachment.name}".'


def with_attachments(text: str, attachments: Iterable[Attachment]) -> str:
    """A message as the model reads it: what is attached, then what the person wrote."""
    return "\n\n".join(filter(None, [*map(as_prompt, attachments), text]))


class Attaching:
    """Attaches files and pastes to messages that are being written; every method may be called from any thread."""

    def __init__(self, engine: EngineAPI, store: Store | Stores) -> None:
        self._engine = engine
        self._stores = store if isinstance(store, Stores) else Stores(store)
        self._counts: dict[tuple[str, int], int] = {}  # (model, attachment) -> tokens
        self._held: dict[int, tuple[int, Attachment]] = {}  # conversation and file, for a message that is being edited
        self._holding = threading.Lock()
        self._numbers = count(1)

    def add(self, conversation_id: int | None, name: str, data: bytes, *, pasted: bool = False) -> Attachment:
        """Attach a file's text, or a long paste; raises `ValueError` or `StoreError` in one sentence."""
        name = clean_title(name) or PASTED
        kind, text = read(name, data)
        kept = self._of(conversation_id)
        with self._stores.of(conversation_id).transaction():
            total = sum(len(other.text) for other in kept.waiting(conversation_id)) + len(text)
            if total > TEXT_LIMIT:
                raise Unreadable(
                    f"With “{name}” the attachments have {total:,} characters of text; at most {TEXT_LIMIT:,} go with "
                    "one message. Remove one first."
                )
            return kept.add(conversation_id, name, "pasted" if pasted else kind, len(data), text)

    def hold(self, conversation_id: int, name: str, data: bytes) -> Attachment:
        """Read a file for a message that is being edited: it goes with the edit, with a private chat that is left, or
        when others come; in memory alone."""
        name = clean_title(name) or PASTED
        kind, text = read(name, data)
        with self._holding:
            self._stores.of(conversation_id)  # may have been forgotten while the file was read
            held = Attachment(id=next(self._numbers), name=name, kind=kind, size=len(data), text=clean_text(text))
            self._held[held.id] = (conversation_id, held)
            for oldest in list(self._held)[:-MOST_HELD]:
                del self._held[oldest]
        return held

    def held(self, conversation_id: int, numbers: Sequence[int]) -> tuple[Attachment, ...]:
        """What is held for the conversation under these numbers; raises `ValueError` where one has gone."""
        with self._holding:
            found = [self._held.get(number) for number in dict.fromkeys(numbers)]
        files = tuple(one for of, one in filter(None, found) if of == conversation_id)
        if len(files) < len(found):
            raise ValueError("A file that you attached is not here any more: attach it again.")
        return files

    def let_go(self, numbers: Iterable[int]) -> None:
        """These are held no more: they stand with their message."""
        with self._holding:
            for number in numbers:
                self._held.pop(number, None)

    def forget(self, conversation_id: int) -> None:
        """Let go of what is held for a conversation."""
        with self._holding:
            self._held = {number: one for number, one in self._held.items() if one[0] != conversation_id}

    def text(self, attachment_id: int) -> str:
        """Raises `NotFound`."""
        return self._of(attachment_id).get(attachment_id).text

    def remove(self, attachment_id: int) -> None:
        self._of(attachment_id).remove(attachment_id)

    def waiting(self, conversation_id: int | None) -> list[Waiting]:
        """What goes with the message that is being written, with the tokens that it takes."""
        found = self._of(conversation_id).waiting(conversation_id)
        counts = self._count(found)
        return [
            Waiting(
                attachment, len(as_prompt(attachment)) // CHARS_PER_TOKEN if count is None else count, count is not None
            )
            for attachment, count in zip(found, counts, strict=True)
        ]

    def num_tokens(self, conversation_id: int | None) -> int:
        """How many tokens wait to be sent."""
        info, ids = self._engine.info, self._of(conversation_id).waiting_ids(conversation_id)
        counts = [self._counts.get((info.name if info else "", one)) for one in ids]
        if None in counts:
            return sum(one.tokens for one in self.waiting(conversation_id))
        return sum(count for count in counts if count is not None)

    def refuse_misfit(self, conversation_id: int | None, text: str, max_tokens: int) -> None:
        """Raise `ValueError` where the message with what is attached is longer than the loaded model can read.

        Where nobody can count, the engine refuses it.
        """
        info, waiting = self._engine.info, self.waiting(conversation_id)
        if info is None or not info.context_length or not waiting or not all(one.exact for one in waiting):
            return
        typed = self._engine.counts.count([clean_text(text)]) if self._engine.counts is not None else None
        needed = sum(one.tokens for one in waiting) + (typed[0] if typed else 0)
        room = room_for_prompt(info.context_length, max_tokens)
        if needed > room:
            raise ValueError(
                f"The message with its attachments takes {needed:,} tokens, and the model reads {room:,} at once. "
                "Remove an attachment, or load a model with a longer context."
            )

    def _of(self, id: int | None) -> Attachments:
        """Where this conversation's attachments are, or the attachment itself."""
        return Attachments(self._stores.of(id))

    def _count(self, attachments: list[Attachment]) -> list[int | None]:
        info, counter = self._engine.info, self._engine.counts
        if info is None or counter is None:
            return [None] * len(attachments)
        new = [one for one in attachments if (info.name, one.id) not in self._counts]
        counted = counter.count([as_prompt(one) for one in new]) if new else ()
        if counted is not None:
            if len(self._counts) > _COUNTS_KEPT:
                self._counts = {}
            self._counts |= {(info.name, one.id): count for one, count in zip(new, counted, strict=True)}
        return [self._counts.get((info.name, one.id)) for one in attachments]


def room_for_prompt(context_length: int, max_tokens: int) -> int:
    """How many tokens of a context a prompt may take: up to a quarter is kept for the answer, as the engine does."""
    return context_length - min(max_tokens, context_length // 4)
