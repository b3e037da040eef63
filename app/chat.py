"""A conversation's turns: what a person wants becomes messages in the store and one answer of the engine.

One turn at a time, because there is one engine; a second one is refused with `EngineBusy`. It knows nothing of the
page, and builds no prompt: that is the engine's.
"""

import logging
import secrets
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from app.records import Conversation, StoredMessage
from app.store import Store
from app.turn import CompareState, CompareTurn, Turn, TurnState
from engine.api import EngineAPI
from engine.config import GenerationRequest, Message, Sampling
from engine.errors import EngineBusy

__all__ = ["ChatService", "CompareState", "CompareTurn", "Turn", "TurnState", "clean_message", "title_for"]

log = logging.getLogger(__name__)

MESSAGE_LIMIT = 200_000  # characters
TITLE_LENGTH = 60
NUM_SEEDS = 2**32

AnyTurn = TypeVar("AnyTurn", Turn, CompareTurn)


class ChatService:
    """Sends, regenerates, edits, continues and compares; every method starts a turn and returns at once."""

    def __init__(self, engine: EngineAPI, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._lock = threading.Lock()  # held while a turn is being started
        self._turn: Turn | CompareTurn | None = None

    @property
    def running(self) -> Turn | CompareTurn | None:
        """The turn that is being answered, for a page to attach to."""
        turn = self._turn
        return turn if turn is not None and not turn.done else None

    def send(self, conversation_id: int, text: str) -> Turn:
        """Add the message after the tip and answer it."""
        text = clean_message(text)
        with self._lock:
            conversation = self._free(conversation_id)
            return self._answer(conversation, self._ask(conversation, conversation.tip_id, text))

    def edit(self, conversation_id: int, message_id: int, text: str) -> Turn:
        """Put another version of the user's message beside it and answer that; the old one stays."""
        text = clean_message(text)
        with self._lock:
            conversation = self._free(conversation_id)
            message = self._own(conversation, message_id)
            if message.role != "user":
                raise ValueError("Only your own messages can be edited: regenerate an answer instead.")
            return self._answer(conversation, self._ask(conversation, message.parent_id, text))

    def regenerate(self, conversation_id: int, message_id: int) -> Turn:
        """Make another answer beside this one, with a new seed; or the answer that a user's message lacks."""
        with self._lock:
            conversation = self._free(conversation_id)
            message = self._own(conversation, message_id)
            question_id = message.id if message.role == "user" else message.parent_id
            if question_id is None:
                raise ValueError("This answer has no question before it: send a message instead.")
            sampling = replace(conversation.settings.sampling, seed=_new_seed())
            return self._answer(conversation, question_id, sampling)

    def continue_answer(self, conversation_id: int, message_id: int) -> Turn:
        """Go on with an answer that was stopped or cut short, where nothing follows it yet."""
        with self._lock:
            conversation = self._free(conversation_id)
            message = self._own(conversation, message_id)
            if message.role != "assistant" or not message.text.strip():
                raise ValueError("There is no text to continue: regenerate the answer instead.")
            if self._store.has_children(message_id):
                raise ValueError("Messages follow this answer: regenerate it instead, or send a new message.")
            sampling = self._sampling(conversation)
            if message.run is not None and conversation.settings.seed is None:
                sampling = replace(sampling, seed=message.run.seed)
            messages = self._messages(conversation, message_id)
            request = self._request(conversation, messages, sampling, continue_final=True)
            with self._store.transaction():
                self._store.place_tip(message_id)
                self._store.update_message(message_id, message.text, message.token_ids, "streaming")
            turn = Turn(
                self._engine, self._store, request, conversation_id, message_id, (message.text, message.token_ids)
            )
            return self._start(turn)

    def compare(self, conversation_id: int, text: str) -> CompareTurn:
        """Add the message after the tip and answer it both ways; the adaptive answer stays."""
        text = clean_message(text)
        with self._lock:
            conversation = self._free(conversation_id)
            question_id = self._ask(conversation, conversation.tip_id, text)
            request = self._request(
                conversation, self._messages(conversation, question_id), self._sampling(conversation)
            )
            answer = self._store.add_message(conversation_id, question_id, "assistant", "", status="streaming")
            turn = CompareTurn(self._engine, self._store, request, conversation_id, answer.id)
            return self._start(turn)

    def stop(self) -> None:
        """Stop whatever runs."""
        if turn := self.running:
            turn.stop()

    def close(self, timeout: float | None = 10.0) -> None:
        """Stop the running turn and wait until its text is saved."""
        with self._lock:
            if turn := self.running:
                turn.stop()
                turn.join(timeout)

    # How a turn begins; the lock is held

    def _free(self, conversation_id: int) -> Conversation:
        if self.running:
            raise EngineBusy("An answer is being written: wait for its end or stop it first.")
        return self._store.conversation(conversation_id)

    def _own(self, conversation: Conversation, message_id: int) -> StoredMessage:
        message = self._store.message(message_id)
        if message.conversation_id != conversation.id:
            raise ValueError(f"Message {message_id} belongs to another conversation: load the page again.")
        return message

    def _ask(self, conversation: Conversation, parent_id: int | None, text: str) -> int:
        with self._store.transaction():
            question = self._store.add_message(conversation.id, parent_id, "user", text)
            self._store.set_title(conversation.id, title_for(text))
        return question.id

    def _answer(self, conversation: Conversation, question_id: int, sampling: Sampling | None = None) -> Turn:
        messages = self._messages(conversation, question_id)
        request = self._request(conversation, messages, sampling or self._sampling(conversation))
        answer = self._store.add_message(conversation.id, question_id, "assistant", "", status="streaming")
        return self._start(Turn(self._engine, self._store, request, conversation.id, answer.id))

    def _start(self, turn: AnyTurn) -> AnyTurn:
        self._turn = turn
        turn.start()
        return turn

    def _messages(self, conversation: Conversation, to: int) -> list[Message]:
        """The system prompt and the branch that ends in `to`; answers without a text are left out."""
        path = self._store.path(conversation.id, to)
        system = conversation.settings.system.strip()
        return [Message("system", conversation.settings.system)] * bool(system) + [
            Message(message.role, message.text) for message in path if message.text.strip()
        ]

    def _sampling(self, conversation: Conversation) -> Sampling:
        settings = conversation.settings
        if settings.seed is not None:
            return replace(settings.sampling, seed=settings.seed)
        return settings.sampling if settings.sampling.greedy else replace(settings.sampling, seed=_new_seed())

    @staticmethod
    def _request(
        conversation: Conversation, messages: Sequence[Message], sampling: Sampling, *, continue_final: bool = False
    ) -> GenerationRequest:
        settings = conversation.settings
        return GenerationRequest(
            messages=tuple(messages),
            mode=settings.mode,
            exactness=settings.exactness,
            sampling=sampling,
            max_tokens=settings.max_tokens,
            thinking=settings.thinking,
            continue_final=continue_final,
        )


def clean_message(text: str) -> str:
    """The message without control characters; raises `ValueError` where nothing is left or it is too long."""
    if not isinstance(text, str):
        raise ValueError(f"A message must be text; got {type(text).__name__}.")
    if len(text) > MESSAGE_LIMIT:
        raise ValueError(
            f"The message has {len(text):,} characters; at most {MESSAGE_LIMIT:,} fit. "
            "Shorten it, or send it in several parts."
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
    if not text.strip():
        raise ValueError("The message is empty: write something first.")
    return text


def title_for(text: str) -> str:
    """The message's first line with words in it, cut between two words."""
    line = next((" ".join(line.split()) for line in text.splitlines() if line.strip()), "")
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[:TITLE_LENGTH]
    return (cut.rsplit(" ", 1)[0] if " " in cut[TITLE_LENGTH // 2 :] else cut) + "…"


def _new_seed() -> int:
    return secrets.randbelow(NUM_SEEDS)
