"""What tests of turns share: a chat service over a scripted engine, and waiting without measuring."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from app.chat.chat import ChatService, CompareTurn, Turn
from app.store.records import ConversationSettings, StoredMessage
from app.store.store import Store
from engine.config import Sampling
from tests.scripted import ScriptedEngine

WAIT_S = 30  # how long a test waits before it fails; nothing is measured
ANSWER = "one two three four five six seven eight nine ten eleven twelve"
SAMPLED = ConversationSettings(sampling=Sampling(temperature=0.8, seed=1))


@dataclass
class PlainEngine(ScriptedEngine):
    """An engine that can neither compare nor remember."""

    compares = None  # type: ignore[assignment]
    memory = None  # type: ignore[assignment]


def service(store: Store, settings: ConversationSettings | None = None, **script: object) -> tuple[ChatService, int]:
    """A chat service on a scripted engine, and an empty conversation."""
    script = {"answers": (ANSWER,), "loaded": True, **script}
    chat = ChatService(ScriptedEngine(**script), store)  # type: ignore[arg-type]
    return chat, store.new_conversation(settings or ConversationSettings()).id


def engine_of(chat: ChatService) -> ScriptedEngine:
    assert isinstance(chat._engine, ScriptedEngine)
    return chat._engine


def finish(turn: Turn | CompareTurn) -> None:
    turn.join(WAIT_S)
    assert turn.done


def answer(chat: ChatService, conversation_id: int, text: str = "a question") -> StoredMessage:
    turn = chat.send(conversation_id, text)
    finish(turn)
    return chat._stores.kept.message(turn.message_id)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S / 0.01)):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("It did not happen.")
