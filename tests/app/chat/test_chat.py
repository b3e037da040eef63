"""Turns: what is asked of the engine and what is stored."""

import pytest

from app.chat.chat import ChatService
from app.store.records import ConversationSettings
from app.store.store import Store
from engine.config import GenerationRequest, Message, Mode, Sampling
from tests.turns import ANSWER, SAMPLED, WAIT_S, PlainEngine, answer, engine_of, finish, service, wait_until


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
            Message.of("system", "Be brief."),
            Message.of("user", "first"),
            Message.of("assistant", ANSWER),
            Message.of("user", "second"),
        ),
        mode="plain",
        exactness="fast",
        sampling=Sampling(seed=5),
        max_tokens=77,
        thinking=True,
        conversation=str(conversation_id),
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


@pytest.mark.parametrize("hold_after", [None, 8])
def test_leaving_a_loop_answers_again_with_a_penalty_for_that_answer_alone(
    store: Store, hold_after: int | None
) -> None:
    chat, conversation_id = service(store)
    engine = engine_of(chat)
    engine.hold_after = hold_after
    turn = chat.send(conversation_id, "go")
    if hold_after is None:
        finish(turn)
    else:
        while turn.state().num_rounds < 3:
            turn.wait(turn.state().sequence, WAIT_S)
    engine.hold_after = None
    again = chat.leave_loop(conversation_id, turn.message_id)
    finish(again)
    assert turn.done
    assert [request.sampling.repetition_penalty for request in engine.requests] == [1.0, 1.2]
    assert store.conversation(conversation_id).settings.sampling.repetition_penalty == 1.0
    assert store.path(conversation_id)[-1].run.sampling.repetition_penalty == 1.2
    assert store.path(conversation_id)[-1].sibling_count == 2


def test_a_warmer_answer_is_sampled_for_that_answer_alone(store: Store) -> None:
    for present, warmed in ((0, 0.7), (0.2, 0.7), (0.9, 0.9)):
        settings = ConversationSettings(sampling=Sampling(temperature=present))
        chat, conversation_id = service(store, settings)
        first = answer(chat, conversation_id)
        for warmer in (False, True):
            finish(chat.regenerate(conversation_id, first.id, warmer=warmer))
        assert [request.sampling.temperature for request in engine_of(chat).requests] == [present, present, warmed]
        assert store.conversation(conversation_id).settings.sampling.temperature == present


def test_an_answer_with_the_text_of_an_earlier_version_is_known(store: Store) -> None:
    chat, conversation_id = service(store, answers=(ANSWER, ANSWER, "another one"))
    first = answer(chat, conversation_id)
    turns = [chat.regenerate(conversation_id, first.id)]
    finish(turns[0])
    turns.append(chat.regenerate(conversation_id, first.id))
    finish(turns[1])
    same, other = (store.message(turn.message_id) for turn in turns)
    assert (store.message(first.id).repeats, same.repeats, other.repeats) == (False, True, False)


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
    assert engine_of(chat).requests[-1].messages == (Message.of("user", "new words"),)
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
    assert second.messages == (*first.messages, Message.of("assistant", "begun and"))
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
    assert [message.text for message in engine_of(chat).requests[-1].messages] == ["a question"]


def test_an_empty_conversation_has_nothing_to_compare(store: Store) -> None:
    chat, conversation_id = service(store)
    with pytest.raises(ValueError, match="nothing to compare yet"):
        chat.compare_last(conversation_id)


def test_a_stopped_comparison_keeps_what_came(store: Store) -> None:
    chat, conversation_id = service(store, hold_after=8)
    turn = chat.compare(conversation_id, "x")
    wait_until(lambda: bool(turn.state().adaptive.text))
    chat.stop(conversation_id)
    finish(turn)
    state = turn.state()
    assert state.verdict is not None
    assert not state.verdict.complete
    stored = store.message(turn.message_id)
    assert stored.status == "stopped"
    assert stored.text == state.adaptive.text
    assert ANSWER.startswith(stored.text)


def test_an_engine_that_cannot_compare_says_so_before_anything_is_kept(store: Store) -> None:
    chat = ChatService(PlainEngine(loaded=True), store)
    conversation_id = store.new_conversation(ConversationSettings()).id
    for compare in (lambda: chat.compare(conversation_id, "both ways"), lambda: chat.compare_last(conversation_id)):
        with pytest.raises(ValueError, match="cannot compare: send the message instead"):
            compare()
    assert store.path(conversation_id) == []
    assert answer(chat, conversation_id).status == "complete"


def test_what_other_branches_say_is_drafted_from_and_never_said(store: Store) -> None:
    chat, conversation_id = service(store)
    first = answer(chat, conversation_id, "The first wording")
    finish(chat.regenerate(conversation_id, first.id))
    question = store.path(conversation_id)[0]
    finish(chat.edit(conversation_id, question.id, "Another wording"))
    answer(chat, conversation_id, "And on")
    requests = engine_of(chat).requests
    others = ("The first wording", ANSWER, ANSWER)
    assert [request.elsewhere for request in requests] == [(), (ANSWER,), others, others]
    assert [message.text for message in requests[-1].messages] == ["Another wording", ANSWER, "And on"]


@pytest.mark.parametrize("begins", ["plain", "adaptive"])
def test_drafting_is_switched_in_mid_answer(store: Store, begins: Mode) -> None:
    chat, conversation_id = service(store, ConversationSettings(mode=begins), hold_after=8, answers=(" word" * 60,))
    turn = chat.send(conversation_id, "a question")
    wait_until(lambda: turn.state().num_rounds >= 2)
    turn.draft(begins == "plain")
    state = turn.state()
    assert state.mode != begins
    assert 0 < state.mode_since == state.num_rounds
    engine_of(chat).release()
    finish(turn)
    stored = store.message(turn.message_id)
    assert stored.run is not None
    assert stored.run.mode == "adaptive"  # it was drafted, in part
    sizes = stored.run.stats.draft_sizes
    drafted, plain = sizes[: state.mode_since], sizes[state.mode_since + 1 :]
    if begins == "plain":
        drafted, plain = plain, drafted
    assert max(drafted) > 0
    assert max(plain, default=0) == 0
    turn.draft(begins == "adaptive")  # after its end: nothing happens
    assert turn.state().mode != begins
