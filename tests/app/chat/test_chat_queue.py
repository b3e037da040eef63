"""Turns of several conversations, other programs' answers and loads wait in one line."""

import threading

import pytest

from app.chat.loading import WAITING, Loader
from app.chat.queue import Asker, OtherPrograms, Queue, Waiting
from app.store.records import ConversationSettings
from app.store.store import Store
from app.view.compare import compare_sentence
from app.view.live import turn_live
from engine.config import ModelSpec
from engine.errors import EngineBusy
from tests.scripted import loaded_engine
from tests.turns import ANSWER, WAIT_S, engine_of, finish, service, wait_until

PROGRAM = Asker(kind="api", name="key")


def test_two_conversations_are_answered_one_after_the_other(store: Store) -> None:
    chat, first_id = service(store, hold_after=3)
    second_id = store.new_conversation(ConversationSettings()).id
    first, second = chat.send(first_id, "x"), chat.send(second_id, "y")
    wait_until(lambda: second.state().waiting == Waiting(ahead=1, serving="page"))
    live = turn_live(second.state())
    assert (live.running, live.sentence) == (True, "waiting in line: another conversation is being answered")
    assert (chat.running, chat.running_in(second_id), chat.num_running) == (first, second, 2)
    engine_of(chat).release()
    finish(first)
    finish(second)
    assert [request.messages[-1].text for request in engine_of(chat).requests] == ["x", "y"]
    assert [store.path(each)[-1].text for each in (first_id, second_id)] == [ANSWER, ANSWER]
    assert second.state().waiting is None
    assert chat.num_running == 0


@pytest.mark.parametrize("compared", [False, True])
def test_a_turn_that_waits_can_leave_and_the_other_goes_on(store: Store, compared: bool) -> None:
    chat, first_id = service(store, hold_after=3)
    second_id = store.new_conversation(ConversationSettings()).id
    first = chat.send(first_id, "x")
    second = chat.compare(second_id, "y") if compared else chat.send(second_id, "y")
    wait_until(lambda: second.state().waiting is not None)
    chat.stop(second_id)
    finish(second)
    assert second.state().done
    assert store.message(second.message_id).status == "stopped"
    assert not first.done
    engine_of(chat).release()
    finish(first)
    assert store.message(first.message_id).text == ANSWER
    assert len(engine_of(chat).requests) == 1


def test_an_answer_that_waited_to_go_on_can_still_do_so(store: Store) -> None:
    chat, first_id = service(store, hold_after=3)
    second_id = store.new_conversation(ConversationSettings()).id
    question = store.add_message(second_id, None, "user", "y")
    begun = store.add_message(second_id, question.id, "assistant", "begun and", status="stopped")
    first, second = chat.send(first_id, "x"), chat.continue_answer(second_id, begun.id)
    wait_until(lambda: second.state().waiting is not None)
    chat.stop(second_id)
    finish(second)
    left = store.message(begun.id)
    assert (left.text, left.status, left.error) == ("begun and", "stopped", None)
    engine_of(chat).release()
    finish(first)


def test_a_comparison_says_that_it_waits(store: Store) -> None:
    chat, first_id = service(store, hold_after=3)
    first = chat.send(first_id, "x")
    second = chat.compare(store.new_conversation(ConversationSettings()).id, "y")
    wait_until(lambda: second.state().waiting is not None)
    assert compare_sentence(second.state()) == "Waiting in line: another conversation is being answered."
    engine_of(chat).release()
    finish(first)
    finish(second)


def test_closing_ends_a_turn_that_waits(store: Store) -> None:
    chat, first_id = service(store, hold_after=3)
    first = chat.send(first_id, "x")
    second = chat.send(store.new_conversation(ConversationSettings()).id, "y")
    chat.close()
    assert first.done
    assert second.done
    assert store.message(second.message_id).status == "stopped"


def test_a_turn_waits_for_another_program(store: Store) -> None:
    chat, conversation_id = service(store)
    with chat._queue.join(PROGRAM):
        turn = chat.send(conversation_id, "x")
        wait_until(lambda: turn.state().waiting == Waiting(ahead=1, serving="api"))
        assert engine_of(chat).requests == []
    finish(turn)
    assert store.message(turn.message_id).text == ANSWER


def test_a_load_waits_for_the_answer_that_is_being_written() -> None:
    queue, engine = Queue(), loaded_engine()
    loader = Loader(engine, queue=queue)
    with queue.join(PROGRAM):
        loader.load(ModelSpec(model="other"))
        wait_until(lambda: loader.state().progress == WAITING)
        assert engine.specs == []
    state = loader.state()
    while state.running:
        state = loader.wait(state.sequence, WAIT_S)
    assert state.error is None
    assert engine.info is not None
    assert engine.info.name == "other"
    assert queue.serving is None


def test_a_load_that_waits_can_be_cancelled() -> None:
    queue, engine = Queue(), loaded_engine()
    loader = Loader(engine, queue=queue)
    with queue.join(PROGRAM):
        loader.load(ModelSpec(model="other"))
        wait_until(lambda: loader.state().progress == WAITING)
        loader.unload()
        assert not loader.state().running
        assert queue.num_waiting == 0
    assert engine.specs == []
    assert engine.info is not None  # the model that was there stays: it was in use


def test_pages_hear_seldom_of_other_programs() -> None:
    now_s = [0.0]
    queue = Queue()
    others = OtherPrograms(queue, lambda: now_s[0])
    assert (others.look(), others.busy) == (0, False)
    with queue.join(PROGRAM):
        assert (others.look(), others.busy) == (1, True)
    assert (others.look(), others.busy) == (1, True)  # too soon to say otherwise
    now_s[0] = 3.0
    assert (others.look(), others.busy) == (2, False)


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_an_answer_for_which_there_is_no_thread_fails_and_the_line_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, conversation_id = service(store)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(EngineBusy, match="no room for another answer"):
            chat.send(conversation_id, "x")
    failed = store.path(conversation_id)[-1]
    assert (failed.status, chat.num_running) == ("error", 0)
    again = chat.send(conversation_id, "y")
    finish(again)
    assert store.message(again.message_id).text == ANSWER


def test_a_load_for_which_there_is_no_thread_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, queue = loaded_engine(), Queue()
    loader = Loader(engine, lambda _: None, queue)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(EngineBusy, match="try again"):
            loader.load(ModelSpec())
    assert (loader.state().running, queue.serving) == (False, None)
    loader.load(ModelSpec())
    wait_until(lambda: not loader.state().running)
    assert loader.state().error is None
