"""A private chat: answered like any other, and then nowhere."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.chat.services import Services
from app.chat.turn import Prepare, Turn
from app.exchange.own import export_json
from app.store.attachments import Attachments
from app.store.errors import NotFound
from app.store.figures import kept_runs
from app.store.private import is_private
from app.store.store import Store
from tests.scripted import ScriptedEngine
from tests.turns import WAIT_S, wait_until

WORDS = ("quixotic zebra", "quixotic yak", "quixotic file", "quixotic name")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    store = Store(tmp_path / "slipstream.db")
    services = Services(ScriptedEngine(loaded=True), store)
    yield services
    services.close()
    store.close()


def converse(services: Services) -> int:
    """A private chat with an attachment, a retry, an edited message, a comparison, a deleted end and a draft."""
    private = services.new_private()
    services.attachments.add(private, f"{WORDS[3]}.txt", WORDS[2].encode())
    answers = [services.chat.send(private, WORDS[0])]
    answers[0].join(WAIT_S)
    store = services.stores.of(private)
    question, answer = store.path(private)
    for begin in (
        lambda: services.chat.regenerate(private, answer.id),
        lambda: services.chat.edit(private, question.id, WORDS[1]),
        lambda: services.chat.compare(private, WORDS[0]),
    ):
        begin().join(WAIT_S)
    services.put_back(services.cut(private, store.path(private)[-1].id))
    services.save_draft(private, WORDS[0])
    services.take_draft(private, WORDS[0])
    return private


def test_a_private_chat_is_in_no_file_no_list_and_no_memory(services: Services, tmp_path: Path) -> None:
    private = converse(services)
    store = services.stores.of(private)
    assert is_private(private)
    assert all(is_private(message.id) for message in store.all_messages(private))
    assert len(store.all_messages(private)) == 7
    assert [one.name for one in store.path(private)[0].attachments] == [f"{WORDS[3]}.txt"]
    assert services.store.conversations() == services.store.trash() == []
    assert services.store.conversations("quixotic") == []
    assert kept_runs(services.store) == ([], 0)
    assert (services.draft(private), services.draft(None)) == ("", "")
    engine = services.engine
    assert isinstance(engine, ScriptedEngine)
    assert engine.remembered == {}
    assert all(request.private for request in engine.requests)
    assert "quixotic" not in export_json(services.store)
    assert "quixotic" in export_json(store, [private])
    assert not any(b"quixotic" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_private_chat_that_is_left_is_gone_at_once_and_lets_other_chats_be(services: Services) -> None:
    kept = services.new_conversation(services.fresh_settings())
    services.chat.send(kept, "Hello").join(WAIT_S)
    private, other = converse(services), converse(services)
    message = services.stores.of(private).path(private)[0].id
    services.leave(private)
    for id in (private, message):
        with pytest.raises(NotFound, match="forgotten"):
            services.stores.of(id)
    with pytest.raises(NotFound):
        services.chat.send(private, "Hello")
    services.leave(private)
    assert len(services.stores.of(other).path(other)) == 4
    assert len(services.store.path(kept)) == 2


def test_an_answer_that_is_written_ends_when_its_private_chat_is_left(services: Services) -> None:
    engine = services.engine
    assert isinstance(engine, ScriptedEngine)
    engine.hold_after = 3
    private = services.new_private()
    turn = services.chat.send(private, WORDS[0])
    services.leave(private)
    turn.join(WAIT_S)
    assert turn.done
    engine.hold_after = None
    kept = services.new_conversation(services.fresh_settings())
    assert services.chat.send(kept, "Hello").wait_done(WAIT_S)
    assert services.chat.running is None


def test_a_private_chat_that_is_left_while_its_message_is_added_is_forgotten_all_the_same(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, kept = services.new_private(), services.new_conversation(services.fresh_settings())
    start = services.chat._start

    def leaving(turn: Turn, prepare: Prepare | None = None) -> Turn:
        services.leave(private)
        return start(turn, prepare)

    monkeypatch.setattr(services.chat, "_start", leaving)
    turn = services.chat.send(private, WORDS[0])
    monkeypatch.undo()
    wait_until(lambda: services.chat.newest is None)  # it is let go of
    assert turn.saved
    assert services.chat.send(kept, "Hello").wait_done(WAIT_S)


def test_an_answer_whose_private_chat_is_closed_blocks_no_other(services: Services) -> None:
    engine = services.engine
    assert isinstance(engine, ScriptedEngine)
    engine.hold_after = 3
    private, kept = services.new_private(), services.new_conversation(services.fresh_settings())
    turn = services.chat.send(private, WORDS[0])
    services.stores.of(private).close()  # as where an answer would not end
    engine.release()
    turn.join(WAIT_S)
    assert (turn.saved, turn.state().error, services.chat.num_unsaved) == (True, None, 0)
    engine.hold_after = None
    assert services.chat.send(kept, "Hello").wait_done(WAIT_S)


def test_a_file_that_is_held_for_an_edit_goes_with_its_private_chat(services: Services) -> None:
    private, other = services.new_private(), services.new_conversation(services.fresh_settings())
    files = services.attachments
    held, of_other = files.hold(private, "a.txt", WORDS[2].encode()), files.hold(other, "b.txt", b"text")
    forgotten = threading.Event()
    services.when_forgotten(forgotten.set)
    services.leave(private)
    with pytest.raises(NotFound, match="forgotten"):
        files.hold(private, "late.txt", WORDS[2].encode())
    assert forgotten.wait(WAIT_S)
    for chat in (private, other):
        with pytest.raises(ValueError, match="attach it again"):
            files.held(chat, (held.id,))
    assert files.held(other, (of_other.id,)) == (of_other,)


def test_no_branch_of_a_private_chat_is_kept(services: Services) -> None:
    private = converse(services)
    with pytest.raises(ValueError, match="no branches"):
        services.branch(private, services.stores.of(private).path(private)[0].id)
    assert Attachments(services.store).waiting(None) == []
    assert services.store.conversations() == []
