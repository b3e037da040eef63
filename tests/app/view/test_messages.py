"""What is shown for a conversation: its lines, the notes under them, the footer of an answer."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.store.records import RunRecord, StoredMessage
from app.view import messages
from app.view.markdown import Markdown
from engine.config import Sampling
from engine.events import Verdict
from engine.metrics import GenerationStats, Loop
from tests.scripted_answer import EXACT

NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
STATS = GenerationStats(
    num_prompt_tokens=120,
    num_reused_tokens=100,
    num_tokens=214,
    num_committed=213,
    draft_sizes=(4,) * 69,
    accepted_lengths=(3,) * 36 + (1,) * 33,
    prefill_s=0.1,
    ttft_s=0.1,
    decode_s=2.21875,
    draft_s=0.01,
    plain_round_s=0.025,
)
RUN = RunRecord(
    model="starter",
    mode="adaptive",
    sampling=Sampling(temperature=0.8, seed=7),
    stop_reason="eos",
    stats=STATS,
    certificate=EXACT,
    created=NOW,
)


def message(id: int = 1, role: str = "assistant", text: str = "Hello.", **values: object) -> StoredMessage:
    defaults: dict[str, object] = {
        "conversation_id": 1,
        "parent_id": None,
        "token_ids": (),
        "status": "complete",
        "created": NOW,
    }
    return StoredMessage(id=id, role=role, text=text, **(defaults | values))  # type: ignore[arg-type]


def notes_of(path: list[StoredMessage], running_id: int | None = None) -> list[dict[str, Any]]:
    return messages.notes(messages.drawn(messages.rows(path), Markdown()), running_id)


def test_the_footer_people_copy() -> None:
    assert messages.footer(RUN) == "96 tok/s · 214 tokens · 3.1 per round · 2.4x est."


def test_the_speed_of_a_loop_is_marked_and_is_no_speedup() -> None:
    looping = replace(RUN, stats=replace(STATS, loop=Loop(start=39, period=7)))
    footer = "96 tok/s · 214 tokens · 3.1 per round · goes in circles from token 40 on"
    assert messages.footer(looping) == footer
    measured = replace(looping, verdict=Verdict(
        identical=True, num_compared=214, divergence=None, plain=STATS, adaptive=STATS, speedup=2.4, complete=True
    ))  # fmt: skip
    assert messages.footer(measured) == footer
    (note,) = notes_of([message(runs=(looping,))])
    assert note["again"]
    (note,) = notes_of([message(runs=(RUN,))])
    assert "again" not in note


def test_a_footer_says_what_is_not_known_or_off() -> None:
    plain = replace(RUN, mode="plain")
    assert messages.footer(plain) == "96 tok/s · 214 tokens · drafting off"
    unmeasured = replace(RUN, stats=replace(STATS, plain_round_s=None))
    assert messages.footer(unmeasured).endswith("3.1 per round")
    one = replace(STATS, num_tokens=1, num_committed=0, draft_sizes=(), accepted_lengths=(), decode_s=0.0)
    assert messages.footer(replace(RUN, stats=one)) == "1 token"
    assert messages.footer(replace(RUN, drafter="prompt-lookup")).endswith("x est. · prompt lookup")
    assert messages.footer(replace(RUN, dropped_turns=2)).endswith(" · the 2 oldest messages no longer fitted")


def test_a_measured_speedup_is_not_called_estimated() -> None:
    verdict = Verdict(
        identical=True, num_compared=214, divergence=None, plain=STATS, adaptive=STATS, speedup=2.61, complete=True
    )
    assert messages.footer(replace(RUN, verdict=verdict)).endswith(" · 2.6x measured")


def test_the_detail_has_counts_seed_and_acceptance() -> None:
    detail = messages.footer_detail(RUN)
    assert "141 of 276 tokens guessed ahead were right (51%)" in detail
    assert "seed 7" in detail
    assert "100 from the cache" in detail


def test_reasoning_is_cut_out_and_indentation_kept() -> None:
    assert messages.split_reasoning("  x = 1\n    y = 2") == [("  x = 1\n    y = 2", "")]
    assert messages.split_reasoning("<think>\nwhy\n</think>\n\n    code") == [("why", "closed"), ("    code", "")]
    assert messages.split_reasoning("I weigh it.\n</think>\n\nLeft.") == [("I weigh it.", "closed"), ("Left.", "")]
    assert messages.split_reasoning("<think></think>") == [("", "")]
    assert messages.split_reasoning("") == [("", "")]


@pytest.mark.parametrize(
    "text",
    [
        "a<think>b</think>c<think>d",
        "They begin with the tag `<think>` and go on.\n\nThis is part of the answer.",
        "Like this:\n\n```xml\n<think>\nhidden\n</think>\n```\n\nThat is all.",
        "It ends with `</think>`.",
    ],
)
def test_reasoning_tags_elsewhere_are_text(text: str) -> None:
    assert messages.split_reasoning(text) == [(text, "")]


def test_rows_know_their_message_and_only_answers_have_reasoning() -> None:
    path = [
        message(1, "system", "Be brief."),
        message(2, "user", "<think>mine</think>"),
        message(3, text="<think>hm</think>Yes."),
    ]
    lines = messages.rows(path)
    assert [(row.message.id, row.text, row.reasoning, row.last) for row in lines] == [
        (2, "<think>mine</think>", "", True),
        (3, "hm", "closed", False),
        (3, "Yes.", "", True),
    ]
    shown = messages.chat_messages(messages.drawn(lines, Markdown()))
    typed = '<p class="said">&lt;think&gt;mine&lt;/think&gt;</p>'
    assert shown[0] == {"role": "user", "content": [{"type": "text", "text": typed}]}
    assert shown[1]["metadata"] == {"title": "Reasoning", "status": "done"}
    assert "metadata" not in shown[2]


def test_a_long_answer_is_several_of_the_chats_messages_and_one_line() -> None:
    long = "\n\n".join("some words and more " * 40 for _ in range(12))
    path = [message(1, "user", "Q"), message(2, text=f"<think>hm\n\n{long}</think>{long}"), message(3, "user", "And?")]
    lines = messages.drawn(messages.rows(path), Markdown())
    shown = messages.chat_messages(lines)
    assert len(shown) > 5
    assert ["metadata" in each for each in shown].count(True) == 1, "reasoning is one box"
    assert [(note["row"], note["id"]) for note in messages.notes(lines)] == [
        (0, 1),
        (len(shown) - 2, 2),
        (len(shown) - 1, 3),
    ]
    assert messages.notes(lines)[1]["text"] == long


def test_reasoning_is_open_only_while_it_is_written() -> None:
    text = "<think>still"
    assert messages.rows([message(text=text, status="streaming")])[0].reasoning == "open"
    assert messages.rows([message(text=text, status="stopped")])[0].reasoning == "closed"


def test_an_answer_without_text_is_no_row_until_it_has_ended() -> None:
    assert messages.rows([message(text="", status="streaming")]) == []
    assert len(messages.rows([message(text="", status="error")])) == 1


def test_notes_stand_under_the_last_row_of_their_message() -> None:
    path = [
        message(1, "user", "Q", sibling_index=1, sibling_count=3),
        message(2, text="<think>a</think>b", runs=(RUN,)),
    ]
    assert [(note["row"], note["id"]) for note in notes_of(path)] == [(0, 1), (2, 2)]
    first, second = notes_of(path)
    assert (first["text"], first["editable"]) == ("Q", True)
    assert (second["text"], second["editable"]) == ("b", True)
    assert first["versions"] == {"at": 2, "of": 3}
    assert second["figures"].startswith("96 tok/s")
    assert "resume" not in second
    assert notes_of(path, running_id=2) == [first]


@pytest.mark.parametrize(
    ("status", "reason", "remark", "resume"),
    [
        ("complete", "eos", None, False),
        ("complete", "length", "reached the limit of new tokens", True),
        ("complete", "context", "the context is full", False),
        ("stopped", "cancelled", "stopped", True),
        ("interrupted", "cancelled", "interrupted: this part was kept", True),
    ],
)
def test_how_an_answer_ended_is_said(status: str, reason: str, remark: str | None, resume: bool) -> None:
    run = replace(RUN, stop_reason=reason)  # type: ignore[arg-type]
    (note,) = notes_of([message(status=status, runs=(run,))])
    assert note.get("remark") == remark
    assert note.get("resume", False) == resume


def test_an_answer_that_a_retry_repeats_says_why_and_offers_a_warmer_one() -> None:
    greedy = replace(RUN, sampling=Sampling())
    (note,) = notes_of([message(runs=(greedy,), sibling_count=2)])
    assert note["warmer"]
    assert note["remark"] == "temperature 0 always takes the likeliest token, so Retry repeats the answer"
    cool = replace(RUN, sampling=Sampling(temperature=0.2))
    (note,) = notes_of([message(runs=(cool,), sibling_count=2, repeats=True)])
    assert note["warmer"]
    assert note["remark"] == "the same answer again: at temperature 0.2 the likeliest tokens mostly win"
    warm = replace(RUN, sampling=Sampling(temperature=0.7))
    for other in (
        message(runs=(greedy,)),
        message(runs=(cool,), sibling_count=2),
        message(runs=(warm,), sibling_count=2, repeats=True),
    ):
        (note,) = notes_of([other])
        assert "warmer" not in note


def test_an_error_is_said_where_it_happened() -> None:
    (note,) = notes_of([message(text="", status="error", error="The disk is full.")])
    assert note["remark"] == "The disk is full."
    assert note["tone"] == "bad"
    assert "resume" not in note  # there is no text to continue


def test_only_the_newest_answer_can_be_continued() -> None:
    path = [message(1, status="stopped"), message(2, "user", "Q"), message(3, status="stopped")]
    assert [note["id"] for note in notes_of(path) if note.get("resume")] == [3]


def test_a_whole_answer_that_was_imported_is_not_to_be_continued_one_that_a_person_wrote_may_be() -> None:
    (note,) = notes_of([message(runs=())])
    assert "resume" not in note
    (note,) = notes_of([message(runs=(), sibling_count=2)])
    assert note["resume"]


def test_an_answer_cut_inside_its_first_character_can_be_continued() -> None:
    (note,) = notes_of([message(text="", token_ids=(175,), status="stopped")])
    assert note["resume"]
