"""Turns: what is asked of the engine, what is stored, and what is kept when it stops, fails or ends early."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import turn as turn_module
from app.chat import ChatService, CompareTurn, Turn, clean_message, title_for
from app.records import Status
from app.store import ConversationSettings, DiskFull, NotFound, Store, StoredMessage
from engine.config import GenerationRequest, Message, Sampling
from engine.errors import ContextOverflow, EngineBusy, EngineCrashed
from engine.events import Event, TextDelta
from tests.scripted import ScriptedEngine

WAIT_S = 30  # how long a test waits before it fails; nothing is measured
ANSWER = "one two three four five six seven eight nine ten eleven twelve"
SAMPLED = ConversationSettings(sampling=Sampling(temperature=0.8, seed=1))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    before = set(threading.enumerate())
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()
    assert set(threading.enumerate()) <= before, "a turn left a thread behind"


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
    return chat._store.message(turn.message_id)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S / 0.01)):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("It did not happen.")


def test_an_answer_streams_and_is_stored_with_its_figures(store: Store) -> None:
    chat, conversation_id = service(store)
    turn = chat.send(conversation_id, "What is this?\nMore.")
    texts, sequence = [""], -1
    while not (state := turn.wait(sequence, WAIT_S)).done:
        assert state.sequence > sequence
        assert state.text.startswith(texts[-1])
        assert state.num_rounds == len(state.accepted_lengths) == len(state.draft_sizes)
        sequence = state.sequence
        texts.append(state.text)
    finish(turn)
    state = turn.state()
    assert state.finished is not None
    assert state.error is None
    assert (state.text, state.num_tokens, state.finished.stop_reason) == (ANSWER, 12, "eos")
    assert state.accepted_lengths == state.finished.stats.accepted_lengths
    assert state.prefill is not None
    assert state.prefill.done == state.prefill.total
    question, stored = store.path(conversation_id)
    assert (question.role, question.text, question.status) == ("user", "What is this?\nMore.", "complete")
    assert (stored.role, stored.text, stored.status) == ("assistant", ANSWER, "complete")
    assert stored.token_ids == state.finished.token_ids
    assert stored.run is not None
    assert (stored.run.stats, stored.run.model, stored.run.tier) == (state.finished.stats, "starter", "B")
    assert store.conversation(conversation_id).title == "What is this?"
    assert chat.running is None


def test_the_engine_is_asked_for_the_branch_with_the_conversations_settings(store: Store) -> None:
    settings = ConversationSettings(
        system="Be brief.", mode="plain", exactness="fast", max_tokens=77, thinking=True, sampling=Sampling(seed=5)
    )
    chat, conversation_id = service(store, settings)
    answer(chat, conversation_id, "first")
    answer(chat, conversation_id, "second")
    assert engine_of(chat).requests[-1] == GenerationRequest(
        messages=(
            Message("system", "Be brief."),
            Message("user", "first"),
            Message("assistant", ANSWER),
            Message("user", "second"),
        ),
        mode="plain",
        exactness="fast",
        sampling=Sampling(seed=5),
        max_tokens=77,
        thinking=True,
    )


def test_sampled_answers_take_new_seeds_and_keep_them(store: Store) -> None:
    chat, conversation_id = service(store, SAMPLED)
    first = answer(chat, conversation_id)
    second = answer(chat, conversation_id)
    seeds = [request.sampling.seed for request in engine_of(chat).requests]
    assert seeds[0] != seeds[1]
    assert [message.run.seed for message in (first, second) if message.run] == seeds
    fixed = ConversationSettings(sampling=Sampling(temperature=0.8), seed=42)
    store.save_settings(conversation_id, fixed)
    answer(chat, conversation_id)
    assert engine_of(chat).requests[-1].sampling.seed == 42


def test_regenerating_makes_a_sibling_with_a_new_seed(store: Store) -> None:
    chat, conversation_id = service(store, ConversationSettings(sampling=Sampling(temperature=1.0), seed=42))
    first = answer(chat, conversation_id)
    answer(chat, conversation_id, "later")
    turn = chat.regenerate(conversation_id, first.id)
    finish(turn)
    path = store.path(conversation_id)
    assert [message.id for message in path] == [first.parent_id, turn.message_id]
    assert (path[-1].sibling_index, path[-1].sibling_count) == (1, 2)
    requests = engine_of(chat).requests
    assert requests[-1].messages == requests[0].messages
    assert requests[-1].sampling.seed != 42
    assert len(store.all_messages(conversation_id)) == 5
    store.sibling(turn.message_id, -1)
    assert len(store.path(conversation_id)) == 4


def test_editing_branches_and_keeps_the_old_words(store: Store) -> None:
    chat, conversation_id = service(store)
    first = answer(chat, conversation_id, "old words")
    assert first.parent_id is not None
    turn = chat.edit(conversation_id, first.parent_id, "new words")
    finish(turn)
    assert [message.text for message in store.path(conversation_id)] == ["new words", ANSWER]
    assert engine_of(chat).requests[-1].messages == (Message("user", "new words"),)
    store.select(first.id)
    assert [message.text for message in store.path(conversation_id)] == ["old words", ANSWER]
    with pytest.raises(ValueError, match="Only your own messages"):
        chat.edit(conversation_id, first.id, "no")


def test_continuing_goes_on_where_the_answer_stopped(store: Store) -> None:
    chat, conversation_id = service(store, SAMPLED, answers=("begun and", " gone on"))
    begun = answer(chat, conversation_id)
    turn = chat.continue_answer(conversation_id, begun.id)
    finish(turn)
    assert turn.state().text == "begun and gone on"
    (_, stored) = store.path(conversation_id)
    assert (stored.id, stored.text, stored.status) == (begun.id, "begun and gone on", "complete")
    assert stored.token_ids[: len(begun.token_ids)] == begun.token_ids
    assert len(stored.token_ids) == 4
    first, second = engine_of(chat).requests
    assert second.continue_final
    assert second.messages == (*first.messages, Message("assistant", "begun and"))
    assert second.sampling == first.sampling  # the seed too: it goes on as if it had never stopped
    assert len(stored.runs) == 2


def test_what_cannot_be_continued_is_said(store: Store) -> None:
    chat, conversation_id = service(store, answers=("text", ""))
    first = answer(chat, conversation_id)
    empty = answer(chat, conversation_id)
    assert first.parent_id is not None
    for message_id in (first.parent_id, empty.id):
        with pytest.raises(ValueError, match="no text to continue"):
            chat.continue_answer(conversation_id, message_id)
    with pytest.raises(ValueError, match="Messages follow this answer"):
        chat.continue_answer(conversation_id, first.id)
    other = store.new_conversation(ConversationSettings()).id
    with pytest.raises(ValueError, match="belongs to another conversation"):
        chat.regenerate(other, first.id)
    answer(chat, conversation_id, "after the empty one")
    assert [m.role for m in engine_of(chat).requests[-1].messages] == ["user", "assistant", "user", "user"]


def test_a_comparison_keeps_the_adaptive_answer_and_both_runs(store: Store) -> None:
    chat, conversation_id = service(store, SAMPLED, diverge_at=3)
    turn = chat.compare(conversation_id, "both ways")
    finish(turn)
    state = turn.state()
    assert state.verdict is not None
    assert state.verdict.divergence is not None
    assert state.error is None
    assert state.adaptive.text == ANSWER
    assert state.plain.text != ANSWER
    assert state.adaptive.prefill == state.plain.prefill
    assert state.plain.prefill is not None
    stored = store.path(conversation_id)[-1]
    assert (stored.text, stored.status) == (ANSWER, "complete")
    assert [run.mode for run in stored.runs] == ["plain", "adaptive"]
    assert [run.verdict for run in stored.runs] == [None, state.verdict]
    assert len({run.seed for run in stored.runs}) == 1
    assert chat.running is None


def test_the_newest_question_is_compared_again_beside_its_answer(store: Store) -> None:
    chat, conversation_id = service(store, SAMPLED)
    first = answer(chat, conversation_id)
    turn = chat.compare_last(conversation_id)
    finish(turn)
    question, stored = store.path(conversation_id)
    assert (question.text, stored.id) == ("a question", turn.message_id)
    assert (stored.parent_id, stored.sibling_index, stored.sibling_count) == (first.parent_id, 1, 2)
    assert [run.mode for run in stored.runs] == ["plain", "adaptive"]
    assert [message.content for message in engine_of(chat).requests[-1].messages] == ["a question"]


def test_an_empty_conversation_has_nothing_to_compare(store: Store) -> None:
    chat, conversation_id = service(store)
    with pytest.raises(ValueError, match="nothing to compare yet"):
        chat.compare_last(conversation_id)


def test_a_stopped_comparison_keeps_what_came(store: Store) -> None:
    chat, conversation_id = service(store, hold_after=8)
    turn = chat.compare(conversation_id, "x")
    wait_until(lambda: bool(turn.state().adaptive.text))
    chat.stop()
    finish(turn)
    state = turn.state()
    assert state.verdict is not None
    assert not state.verdict.complete
    stored = store.message(turn.message_id)
    assert stored.status == "stopped"
    assert stored.text == state.adaptive.text
    assert ANSWER.startswith(stored.text)


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

    def late(request: GenerationRequest) -> Iterator[Event]:
        asked.set()
        assert stopped.wait(WAIT_S)
        return generate(request)  # forgets a cancel that came before it

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
    engine_of(chat).generate = lambda request: iter([TextDelta(text="half")])  # type: ignore[method-assign]
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
    assert state.error.startswith("The disk is full. The whole answer is still here")
    with pytest.raises(DiskFull):
        chat.send(conversation_id, "y")
    full = False
    finish(chat.send(conversation_id, "y"))
    assert [message.text for message in store.path(conversation_id)] == ["x", ANSWER, "y", ANSWER]
    assert [message.status for message in store.path(conversation_id)] == ["complete"] * 4


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
    for call in (chat.send, chat.compare, lambda c, t: chat.edit(c, 1, t)):
        with pytest.raises(ValueError, match=complaint):
            call(conversation_id, text)
    assert store.path(conversation_id) == []
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
