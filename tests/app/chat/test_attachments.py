"""What is attached stands in the prompt in stable words, on every branch, and is counted before it is sent."""

from pathlib import Path

import pytest

from app.chat.attachments import Attaching, Changes, with_attachments
from app.chat.chat import ChatService
from app.store.attachments import MOST
from app.store.store import Store
from engine.config import ModelSpec
from tests.documents import docx
from tests.scripted_answer import split_tokens
from tests.turns import answer, engine_of, finish, service

NOTES = 'Attached text "notes.txt":\n\nRemember the milk.\n\nEnd of "notes.txt".'


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def attaching(chat: ChatService) -> Attaching:
    return Attaching(engine_of(chat), chat._stores)


def asked(chat: ChatService) -> list[str]:
    return [message.text for message in engine_of(chat).requests[-1].messages if message.role == "user"]


def test_the_model_reads_what_is_attached_before_the_message_and_again_with_every_later_one(store: Store) -> None:
    chat, conversation_id = service(store)
    attaching(chat).add(conversation_id, "notes.txt", b"Remember the milk.\n")
    answer(chat, conversation_id, "What is it?")
    assert asked(chat) == [f"{NOTES}\n\nWhat is it?"]
    question, reply = store.path(conversation_id)
    assert question.text == "What is it?"
    assert attaching(chat).waiting(conversation_id) == []
    finish(chat.edit(conversation_id, question.id, "What is it about?"))
    assert asked(chat) == [f"{NOTES}\n\nWhat is it about?"]
    finish(chat.regenerate(conversation_id, reply.id))
    assert asked(chat) == [f"{NOTES}\n\nWhat is it?"]
    finish(chat.compare_last(conversation_id))
    assert asked(chat) == [f"{NOTES}\n\nWhat is it?"]
    answer(chat, conversation_id, "And now?")
    assert asked(chat) == [f"{NOTES}\n\nWhat is it?", "And now?"]


def test_a_message_may_be_nothing_but_what_is_attached(store: Store) -> None:
    chat, conversation_id = service(store)
    with pytest.raises(ValueError, match="The message is empty"):
        chat.send(conversation_id, " \n")
    attaching(chat).add(conversation_id, "notes.txt", b"Remember the milk.")
    finish(chat.compare(conversation_id, " \n"))
    assert asked(chat) == [NOTES]
    assert store.conversation(conversation_id).title == "notes.txt"
    question = store.path(conversation_id)[0]
    assert question.text == ""
    finish(chat.edit(conversation_id, question.id, ""))
    assert asked(chat) == [NOTES]


def test_tokens_are_counted_by_the_model_or_estimated_and_a_misfit_is_refused_before_it_is_sent(store: Store) -> None:
    chat, conversation_id = service(store, loaded=False)
    files = attaching(chat)
    files.add(conversation_id, "letter.docx", docx("one two three " * 40))
    (estimated,) = files.waiting(conversation_id)
    assert not estimated.exact
    files.refuse_misfit(conversation_id, "x", 10)  # nobody can count: the engine says it
    list(engine_of(chat).load(ModelSpec()))
    (counted,) = files.waiting(conversation_id)
    assert counted.exact
    assert counted.tokens == len(split_tokens(with_attachments("", [counted.attachment])))
    assert files.num_tokens(conversation_id) == counted.tokens
    files.refuse_misfit(conversation_id, "x", 10)
    info = engine_of(chat).info
    assert info is not None
    files.add(conversation_id, "long.txt", b"word " * info.context_length)
    with pytest.raises(ValueError, match="Remove an attachment, or load a model with a longer context"):
        files.refuse_misfit(conversation_id, "x", 10)


def test_many_characters_in_one_message_are_refused_and_what_was_attached_stays(store: Store) -> None:
    chat, conversation_id = service(store)
    files = attaching(chat)
    files.add(conversation_id, "a.txt", b"x" * 600_000)
    with pytest.raises(ValueError, match="1,200,000 characters"):
        files.add(conversation_id, "b.txt", b"x" * 600_000)
    assert [one.attachment.name for one in files.waiting(conversation_id)] == ["a.txt"]


def test_an_edited_message_has_other_attachments_and_the_old_version_keeps_its_own(store: Store) -> None:
    chat, conversation_id = service(store)
    files = attaching(chat)
    for name in ("a.txt", "b.txt"):
        files.add(conversation_id, name, f"the text of {name}".encode())
    finish(chat.send(conversation_id, "question"))
    question = store.path(conversation_id)[0]
    held = [files.hold(conversation_id, name, b"new text").id for name in ("b.txt", "c.txt")]
    with pytest.raises(ValueError, match="attach it again"):
        files.held(conversation_id + 1, held)
    changes = Changes((question.attachments[0].id,), files.held(conversation_id, held))
    finish(chat.edit(conversation_id, question.id, "question", changes))
    edited = store.path(conversation_id)[0]
    assert [one.name for one in edited.attachments] == ["b.txt", "b (2).txt", "c.txt"]
    assert [one.name for one in store.message(question.id).attachments] == ["a.txt", "b.txt"]
    asked = engine_of(chat).requests[-1].messages[0].text
    assert "the text of a.txt" not in asked
    assert asked.count("new text") == 2
    files.let_go(held)
    with pytest.raises(ValueError, match="attach it again"):
        files.held(conversation_id, held)


def test_an_edit_without_words_needs_an_attachment_and_takes_so_many(store: Store) -> None:
    chat, conversation_id = service(store)
    files = attaching(chat)
    files.add(conversation_id, "a.txt", b"text")
    finish(chat.send(conversation_id, "question"))
    question = store.path(conversation_id)[0]
    without = (question.attachments[0].id,)
    with pytest.raises(ValueError, match="empty"):
        chat.edit(conversation_id, question.id, "", Changes(without))
    added = tuple(files.hold(conversation_id, f"{number}.txt", b"text") for number in range(MOST))
    with pytest.raises(ValueError, match="remove some first"):
        chat.edit(conversation_id, question.id, "", Changes((), added))
    finish(chat.edit(conversation_id, question.id, "", Changes(without, added)))
    assert len(store.path(conversation_id)[0].attachments) == MOST
