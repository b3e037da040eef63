"""An answer that was cut short is continued from its token ids, not from its text."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.chat.chat import ChatService
from app.store.records import ConversationSettings, StoredMessage
from app.store.store import Store
from engine.config import ModelSpec
from engine.engine import Engine
from tests.models import byte_tokenizer
from tests.turns import answer, engine_of, finish, service

LENGTH = 24  # tokens


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def test_the_stored_ids_go_to_the_engine(store: Store) -> None:
    chat, conversation_id = service(store, answers=("begun and", " gone on", " and on"))
    begun = answer(chat, conversation_id)
    finish(chat.continue_answer(conversation_id, begun.id))
    longer = store.message(begun.id)
    finish(chat.continue_answer(conversation_id, begun.id))
    first, second, third = engine_of(chat).requests
    assert first.continued_ids == ()
    assert second.continued_ids == begun.token_ids
    assert third.continued_ids == longer.token_ids
    assert store.message(begun.id).text == "begun and gone on and on"


def test_a_message_without_ids_is_continued_from_its_text(store: Store) -> None:
    """Imported ones have none where another program wrote the file."""
    chat, conversation_id = service(store, answers=(" gone on",))
    question = store.add_message(conversation_id, None, "user", "a question")
    begun = store.add_message(conversation_id, question.id, "assistant", "begun and", status="stopped")
    finish(chat.continue_answer(conversation_id, begun.id))
    (request,) = engine_of(chat).requests
    assert (request.continue_final, request.continued_ids) == (True, ())
    assert store.message(begun.id).text == "begun and gone on"


def test_an_answer_cut_inside_its_first_character_is_continued(store: Store) -> None:
    chat, conversation_id = service(store, answers=("whole",))
    question = store.add_message(conversation_id, None, "user", "a question")
    begun = store.add_message(conversation_id, question.id, "assistant", "", status="stopped", token_ids=(175,))
    finish(chat.continue_answer(conversation_id, begun.id))
    (request,) = engine_of(chat).requests
    assert request.continued_ids == (175,)


def test_a_character_cut_in_half_becomes_whole(store: Store, tiny_model: Callable[..., Path]) -> None:
    """A random model says little but bytes that end inside characters."""
    engine = Engine()
    for _ in engine.load(ModelSpec(model=str(tiny_model("llama", chat=True)), device="cpu")):
        pass
    chat = ChatService(engine, store)

    def cut_at(length: int) -> StoredMessage:
        conversation_id = store.new_conversation(ConversationSettings(max_tokens=length)).id
        return answer(chat, conversation_id, "Où êtes-vous né?")

    whole = cut_at(LENGTH)
    starts = [whole.token_ids[:length] for length in range(4, LENGTH)]
    halved = [len(start) for start in starts if byte_tokenizer().decode(start).endswith("\ufffd")]
    assert halved
    for cut in map(cut_at, halved[:4]):
        rest = ConversationSettings(max_tokens=LENGTH - len(cut.token_ids))
        store.save_settings(cut.conversation_id, rest)
        finish(chat.continue_answer(cut.conversation_id, cut.id))
        stored = store.message(cut.id)
        assert (stored.text, stored.token_ids) == (whole.text, whole.token_ids)
    engine.close()
