"""Turns: what is kept when they stop, fail or end early, who may begin one, and what a message may be."""

import threading

import pytest

from app.chat import turn as turn_module
from app.chat.chat import Turn, clean_message, title_for
from app.store.errors import DiskFull, NotFound
from app.store.records import ConversationSettings, Status, StoredMessage
from app.store.store import Store
from engine.api import Running, Work
from engine.config import GenerationRequest
from engine.errors import ContextOverflow, EngineBusy, EngineCrashed
from engine.events import Event, TextDelta
from tests.turns import ANSWER, WAIT_S, answer, engine_of, finish, service, wait_until


def test_stopping_keeps_what_came(store: Store) -> None:
    chat, conversation_id = service(store, hold_after=6)
    turn = chat.send(conversation_id, "x")
    wait_until(lambda: bool(turn.state().text))
    assert chat.running is turn
    turn.stop()
    finish(turn)
    state = turn.state()
    assert state.stopping
    assert state.finished is not None
    assert state.finished.stop_reason == "cancelled"
    stored = store.message(turn.message_id)
    assert (stored.status, stored.text, stored.token_ids) == ("stopped", state.text, state.finished.token_ids)
    assert 0 < len(stored.text) < len(ANSWER)
    assert stored.run is not None
    engine_of(chat).hold_after = None
    turn.stop()  # once more does nothing, now and to the next turn
    assert answer(chat, conversation_id, "next").status == "complete"


def test_a_stop_before_the_engine_has_begun_is_not_lost(store: Store) -> None:
    chat, conversation_id = service(store)
    engine = engine_of(chat)
    generate, asked, stopped = engine.generate, threading.Event(), threading.Event()

    def late(request: GenerationRequest) -> Running[Event]:
        asked.set()
        assert stopped.wait(WAIT_S)
        return generate(request)

    engine.generate = late  # type: ignore[method-assign]
    turn = chat.send(conversation_id, "x")
    assert asked.wait(WAIT_S)
    turn.stop()
    stopped.set()
    finish(turn)
    assert store.message(turn.message_id).status == "stopped"


def test_a_crash_keeps_the_partial_answer_and_the_next_message_works(store: Store) -> None:
    crash = EngineCrashed("The engine ended. The answer so far is kept; the model is being loaded again.")
    chat, conversation_id = service(store, fail_after=6, error=crash)
    turn = chat.send(conversation_id, "x")
    finish(turn)
    state = turn.state()
    assert state.error == str(crash)
    assert state.finished is None
    stored = store.message(turn.message_id)
    assert (stored.status, stored.error, stored.text) == ("interrupted", str(crash), state.text)
    assert 0 < len(stored.text) < len(ANSWER)
    assert len(stored.token_ids) > 1
    assert stored.runs == ()
    engine_of(chat).fail_after = None
    assert answer(chat, conversation_id, "again").text == ANSWER


def test_a_crash_while_continuing_keeps_the_text_before(store: Store) -> None:
    chat, conversation_id = service(store, answers=("begun",))
    begun = answer(chat, conversation_id)
    engine_of(chat).fail_after, engine_of(chat).error = 0, EngineCrashed("gone")
    finish(chat.continue_answer(conversation_id, begun.id))
    stored = store.message(begun.id)
    assert (stored.text, stored.token_ids, stored.status) == ("begun", begun.token_ids, "interrupted")


def test_an_engine_that_refuses_leaves_the_question_and_a_sentence(store: Store) -> None:
    refusal = ContextOverflow("The message has 9000 tokens; 2048 fit. Shorten it.")
    chat, conversation_id = service(store, fail_after=0, error=refusal)
    turn = chat.send(conversation_id, "x")
    finish(turn)
    question, stored = store.path(conversation_id)
    assert question.text == "x"
    assert (stored.status, stored.error, turn.state().error) == ("error", str(refusal), str(refusal))
    engine_of(chat).fail_after = None
    finish(chat.regenerate(conversation_id, question.id))
    assert [m.text for m in store.path(conversation_id)] == ["x", ANSWER]
    assert store.path(conversation_id)[-1].sibling_count == 2


def test_a_question_that_could_not_be_answered_does_not_make_the_next_one_fail(store: Store) -> None:
    chat, conversation_id = service(store)
    answer(chat, conversation_id, "a first one")
    engine_of(chat).error, engine_of(chat).fail_after = ContextOverflow("The last message is too long."), 0
    assert answer(chat, conversation_id, "far too long").status == "error"
    engine_of(chat).fail_after = None
    answer(chat, conversation_id, "a short one")
    asked = [message.text for message in engine_of(chat).requests[-1].messages]
    assert asked == ["a first one", ANSWER, "a short one"]
    assert [message.text for message in store.path(conversation_id) if message.role == "user"][1] == "far too long"


def test_without_a_model_the_question_is_kept(store: Store) -> None:
    chat, conversation_id = service(store, loaded=False)
    turn = chat.send(conversation_id, "x")
    finish(turn)
    assert turn.state().error is not None
    assert "No model is loaded" in str(turn.state().error)
    assert [m.status for m in store.path(conversation_id)] == ["complete", "error"]


def test_a_fault_of_our_own_is_a_sentence_and_in_the_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    chat, conversation_id = service(store, fail_after=6, error=ZeroDivisionError("oops"))
    turn = chat.send(conversation_id, "x")
    finish(turn)
    assert turn.state().error == "The answer ended with an internal error (ZeroDivisionError); the log says more."
    assert store.message(turn.message_id).status == "error"
    assert store.message(turn.message_id).text
    assert "oops" in caplog.text


def test_an_engine_that_just_ends_is_an_error(store: Store) -> None:
    chat, conversation_id = service(store)
    half = (TextDelta(text=text) for text in ("half",))
    engine_of(chat).generate = lambda request: Work(half, half.close)  # type: ignore[method-assign]
    turn = chat.send(conversation_id, "x")
    finish(turn)
    assert "without saying how" in str(turn.state().error)
    assert (store.message(turn.message_id).text, store.message(turn.message_id).status) == ("half", "error")


def test_one_turn_at_a_time(store: Store) -> None:
    chat, conversation_id = service(store, hold_after=3)
    first = answer_id = chat.send(conversation_id, "x").message_id
    messages = len(store.all_messages(conversation_id))
    for call in (
        lambda: chat.send(conversation_id, "y"),
        lambda: chat.compare(conversation_id, "y"),
        lambda: chat.edit(conversation_id, first, "y"),
        lambda: chat.regenerate(conversation_id, first),
        lambda: chat.continue_answer(conversation_id, first),
    ):
        with pytest.raises(EngineBusy, match="wait for its end or stop it first"):
            call()
    assert len(store.all_messages(conversation_id)) == messages
    turn = chat.running
    assert turn is not None
    engine_of(chat).release()
    finish(turn)
    assert store.message(answer_id).text == ANSWER


def test_a_page_that_comes_later_attaches_to_the_turn(store: Store) -> None:
    chat, conversation_id = service(store, hold_after=6)
    chat.send(conversation_id, "x")
    turn = chat.running
    assert isinstance(turn, Turn)
    wait_until(lambda: bool(turn.state().text))
    held = turn.state()
    assert turn.state() is held  # looking costs nothing while nothing comes
    assert turn.wait(held.sequence, timeout=0.01) is held
    engine_of(chat).release()
    assert turn.wait(held.sequence, WAIT_S).sequence > held.sequence
    finish(turn)
    assert turn.wait(10**9) is turn.state()  # over: nothing to wait for


def test_what_came_is_saved_while_the_engine_stands_still(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "SAVE_EVERY_S", 0.01)
    chat, conversation_id = service(store, hold_after=6)
    turn = chat.send(conversation_id, "x")
    wait_until(lambda: bool(turn.state().text))
    wait_until(lambda: store.message(turn.message_id).text == turn.state().text != "")
    stored = store.message(turn.message_id)
    assert stored.status == "streaming"
    assert len(stored.token_ids) == turn.state().num_tokens
    chat.close()
    finish(turn)
    assert store.message(turn.message_id).status == "stopped"


def test_a_slow_save_never_overwrites_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "SAVE_EVERY_S", 0.01)
    chat, conversation_id = service(store, hold_after=6)
    update, statuses = store.update_message, []

    def slow(message_id: int, text: str, token_ids: tuple[int, ...], status: Status, error: str | None = None) -> None:
        if status == "streaming":
            engine_of(chat).release()
            threading.Event().wait(0.2)  # time enough for the end to come first, if it may
        update(message_id, text, token_ids, status, error)
        statuses.append(status)

    monkeypatch.setattr(store, "update_message", slow)
    finish(chat.send(conversation_id, "x"))
    wait_until(lambda: len(statuses) >= 2)
    assert statuses[-1] == "complete"
    assert store.path(conversation_id)[-1].text == ANSWER


def test_a_full_disk_stops_nothing_and_the_answer_is_saved_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "SAVE_EVERY_S", 0.01)
    chat, conversation_id = service(store, hold_after=6)
    turn = chat.send(conversation_id, "x")
    update = store.update_message
    full = True

    def fail(*args: object, **options: object) -> None:
        if full:
            raise DiskFull("The disk is full.")
        update(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "update_message", fail)
    wait_until(lambda: turn.state().warning == "The disk is full.")
    engine_of(chat).release()
    finish(turn)
    state = turn.state()
    assert state.text == ANSWER
    assert state.error is not None
    assert state.error.startswith("The disk is full. The whole answer is still held here")
    with pytest.raises(DiskFull):
        chat.send(conversation_id, "y")
    full = False
    finish(chat.send(conversation_id, "y"))
    assert [message.text for message in store.path(conversation_id)] == ["x", ANSWER, "y", ANSWER]
    assert [message.status for message in store.path(conversation_id)] == ["complete"] * 4


def test_an_end_that_could_not_be_saved_is_saved_once_that_can_be(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to ask for anything more, and it is saved once."""
    monkeypatch.setattr(turn_module, "SAVE_EVERY_S", 0.01)
    chat, conversation_id = service(store)

    def fail(*_: object, **__: object) -> None:
        raise DiskFull("The disk is full.")

    with monkeypatch.context() as full:
        full.setattr(store, "update_message", fail)
        turn = chat.send(conversation_id, "x")
        finish(turn)
        assert not turn.saved
    wait_until(lambda: turn.saved)
    wait_until(lambda: turn.state().error is None)  # nobody is told any more that it is not saved
    answer = store.path(conversation_id)[-1]
    assert (answer.text, answer.status) == (ANSWER, "complete")
    assert len(store.all_messages(conversation_id)) == 2
    assert [run.mode for run in answer.runs] == ["adaptive"]


def test_an_unsaved_answer_that_was_deleted_for_good_stops_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, conversation_id = service(store)

    def fail(*_: object, **__: object) -> None:
        raise DiskFull("The disk is full.")

    with monkeypatch.context() as full:
        full.setattr(store, "update_message", fail)
        finish(chat.send(conversation_id, "x"))
    store.delete(conversation_id)
    store.empty_trash()
    other = store.new_conversation(ConversationSettings()).id
    finish(chat.send(other, "y"))
    assert store.path(other)[-1].text == ANSWER


def test_a_question_that_cannot_be_stored_is_refused_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    chat, conversation_id = service(store)
    add, calls = store.add_message, []

    def fail(*args: object, **options: object) -> StoredMessage:
        calls.append(args)
        if len(calls) == 2:
            raise DiskFull("The disk is full.")
        return add(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "add_message", fail)
    with pytest.raises(DiskFull):
        chat.send(conversation_id, "x")
    assert store.path(conversation_id) == []
    assert store.conversation(conversation_id).title == ""
    assert chat.running is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "message is empty"),
        (" \n\t ", "message is empty"),
        ("\0\x1b\x07", "message is empty"),
        ("x" * 2**20, r"1,048,576 characters; at most 200,000 fit"),
        (None, "must be text"),
    ],
)
def test_bad_messages_are_refused_and_leave_nothing(store: Store, text: str, complaint: str) -> None:
    chat, conversation_id = service(store)
    for call in (chat.send, chat.compare):
        with pytest.raises(ValueError, match=complaint):
            call(conversation_id, text)
    assert store.path(conversation_id) == []
    finish(chat.send(conversation_id, "x"))
    asked, answer = store.path(conversation_id)
    with pytest.raises(ValueError, match=complaint):
        chat.edit(conversation_id, asked.id, text)
    assert store.all_messages(conversation_id) == [asked, answer]
    with pytest.raises(NotFound):
        chat.send(99, "x")


def test_control_characters_go_and_everything_else_stays() -> None:
    assert clean_message("a\0b\x1b[31mc\r\nd\re\tf\x85\ud800") == "ab[31mc\nd\ne\tf?"
    for text in ("    indented\n", "👩‍👩‍👧 é 東京", "<|im_end|>", "a" * 200_000):
        assert clean_message(text) == text


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Short", "Short"),
        ("\n\n  first   line \nsecond", "first line"),
        ("word " * 30, ("word " * 12).strip() + "…"),
        ("x" * 100, "x" * 60 + "…"),
        ("東京" * 50, "東京" * 30 + "…"),
    ],
)
def test_titles_come_from_the_first_line(text: str, title: str) -> None:
    assert title_for(text) == title


def test_a_long_answer_with_a_page_that_looks_at_every_event(store: Store) -> None:
    chat, conversation_id = service(store, ConversationSettings(max_tokens=4000), answers=("word " * 4000,))
    turn = chat.send(conversation_id, "x")
    sequence = -1
    while not (state := turn.wait(sequence, WAIT_S)).done:
        sequence = state.sequence
    finish(turn)
    assert state.num_tokens == 4000
    assert len(store.message(turn.message_id).token_ids) == 4000


def test_closing_saves_what_runs(store: Store) -> None:
    chat, conversation_id = service(store, hold_after=6)
    turn = chat.send(conversation_id, "x")
    wait_until(lambda: bool(turn.state().text))
    chat.close()
    assert store.message(turn.message_id).status == "stopped"
    assert store.message(turn.message_id).text == turn.state().text != ""


def test_an_answer_that_cannot_be_saved_keeps_its_own_conversation_waiting_and_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, conversation_id = service(store)
    other = store.new_conversation(ConversationSettings()).id
    turn = chat.send(conversation_id, "x")
    finish(turn)

    def full() -> None:
        raise DiskFull("full")

    monkeypatch.setattr(turn, "save_end", full)
    with pytest.raises(DiskFull):
        chat.send(conversation_id, "y")
    assert answer(chat, other, "y").status == "complete"
