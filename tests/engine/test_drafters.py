"""Which conversations are drafted from, without a model: texts become ids by their words' lengths."""

from collections.abc import Sequence

import pytest

from engine.config import GenerationRequest, Message
from engine.drafters import Drafters
from engine.drafting.drafter import NoDrafter


def lengths(texts: Sequence[str]) -> list[int]:
    return [len(word) for text in texts for word in text.split()]


def request(conversation: str | None, **options: object) -> GenerationRequest:
    asked = {"messages": (Message.of("user", "Hi"),), "conversation": conversation, **options}
    return GenerationRequest(**asked)  # type: ignore[arg-type]


@pytest.fixture
def drafters() -> Drafters:
    made = Drafters()
    made.begin(100, lengths)
    return made


def test_changes_wait_until_nobody_answers(drafters: Drafters) -> None:
    drafters.remember("1", ["one two three"])
    assert drafters.memory.num_tokens == 0
    drafters.catch_up()
    assert drafters.memory.num_tokens == 3
    drafters.forget("1")
    assert drafters.memory.num_tokens == 3
    drafters.catch_up()
    assert drafters.memory.num_tokens == 0


def test_changes_come_before_the_next_answer_and_in_order(drafters: Drafters) -> None:
    drafters.remember("1", ["one two three"])
    drafters.forget("1")
    drafters.remember("2", ["one two"])
    drafters.turn_to(request("3"), [])
    assert drafters.memory.num_tokens == 2


def test_the_previous_conversation_becomes_part_of_the_memory(drafters: Drafters) -> None:
    drafters.turn_to(request("1"), [])
    drafters.answered(request("1"))
    drafters.turn_to(request("1"), [5, 6, 7])
    assert drafters.memory.num_tokens == 0  # it is still the present one
    drafters.answered(request("1"))
    drafters.turn_to(request("2"), [5, 6, 7, 8])
    assert drafters.memory.num_tokens == 4


@pytest.mark.parametrize("forgotten", [True, False])
def test_a_previous_conversation_is_not_remembered_where_it_was_forgotten_or_has_no_memory(
    drafters: Drafters, forgotten: bool
) -> None:
    drafters.answered(request("1", memory=forgotten))
    if forgotten:
        drafters.forget("1")
    drafters.turn_to(request("2"), [5, 6, 7])
    assert drafters.memory.num_tokens == 0


def test_what_was_queued_for_one_model_is_not_given_to_the_next(drafters: Drafters) -> None:
    drafters.remember("1", ["one two three"])
    drafters.end()
    drafters.catch_up()
    drafters.begin(100, lengths)
    drafters.catch_up()
    assert drafters.memory.num_tokens == 0


def test_what_is_queued_while_a_model_loads_is_known_to_it(drafters: Drafters) -> None:
    drafters.end()
    drafters.remember("1", ["one two three"])
    drafters.begin(100, lengths)
    drafters.catch_up()
    assert drafters.memory.num_tokens == 3


def test_a_drafter_keeps_what_it_knows_until_a_conversation_is_forgotten(drafters: Drafters) -> None:
    assert isinstance(drafters.of(request("1", mode="plain")), NoDrafter)
    assert drafters.of(request("1")) is drafters.adaptive
    suffix = drafters.of(request("1", drafter="suffix"))
    assert drafters.of(request("2", drafter="suffix")) is suffix
    drafters.forget("2")
    drafters.catch_up()
    assert drafters.of(request("1", drafter="suffix")) is not suffix
    assert drafters.of(request("1")) is drafters.adaptive


@pytest.mark.parametrize("memory", [True, False])
def test_other_branches_are_drafted_from_by_their_own_conversation_alone(drafters: Drafters, memory: bool) -> None:
    branched = request("1", memory=memory, elsewhere=("another answer", "and one more"))
    home = drafters.memory if memory else drafters.adaptive.branches
    drafters.turn_to(branched, [])
    drafters.turn_to(branched, [])  # once more: nothing is absorbed twice
    assert home.num_tokens == 5
    assert drafters.memory.num_tokens + drafters.adaptive.branches.num_tokens == 5
    drafters.turn_to(request("2", memory=memory), [])
    assert drafters.memory.num_tokens + drafters.adaptive.branches.num_tokens == 0
    drafters.turn_to(branched, [])
    drafters.forget("1")
    drafters.catch_up()
    assert drafters.memory.num_tokens + drafters.adaptive.branches.num_tokens == 0
