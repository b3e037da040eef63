"""What is shown for a message, a list, a model: words and figures, without a page."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.chat.loading import LoadState, ModelState
from app.store.records import ConversationSummary, RunRecord, StoredMessage
from app.view import listing, messages, model
from engine.config import ModelSpec, Sampling
from engine.events import Certificate, LoadProgress, Verdict
from engine.metrics import GenerationStats
from tests.scripted import EXACT, FAST, scripted_info

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


def test_the_footer_people_copy() -> None:
    assert messages.footer(RUN) == "96 tok/s · 214 tokens · 3.1 per round · 2.4x est."


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
    assert "141 of 276 draft tokens accepted (51%)" in detail
    assert "seed 7" in detail
    assert "100 from the cache" in detail


def test_reasoning_is_cut_out_and_indentation_kept() -> None:
    assert messages.split_reasoning("  x = 1\n    y = 2") == [("  x = 1\n    y = 2", "")]
    assert messages.split_reasoning("<think>\nwhy\n</think>\n\n    code") == [("why", "closed"), ("    code", "")]
    assert messages.split_reasoning("a<think>b</think>c<think>d") == [
        ("a", ""),
        ("b", "closed"),
        ("c", ""),
        ("d", "open"),
    ]
    assert messages.split_reasoning("<think></think>") == [("", "")]
    assert messages.split_reasoning("") == [("", "")]


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
    shown = messages.chat_messages(lines)
    assert shown[0] == {"role": "user", "content": [{"type": "text", "text": "<think>mine</think>"}]}
    assert shown[1]["metadata"] == {"title": "Reasoning", "status": "done"}
    assert "metadata" not in shown[2]


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
    assert [(note["row"], note["id"]) for note in messages.notes(messages.rows(path))] == [(0, 1), (2, 2)]
    first, second = messages.notes(messages.rows(path))
    assert first["versions"] == {"at": 2, "of": 3}
    assert second["figures"].startswith("96 tok/s")
    assert "resume" not in second
    assert messages.notes(messages.rows(path), running_id=2) == [first]


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
    (note,) = messages.notes(messages.rows([message(status=status, runs=(run,))]))
    assert note.get("remark") == remark
    assert note.get("resume", False) == resume


def test_an_error_is_said_where_it_happened() -> None:
    (note,) = messages.notes(messages.rows([message(text="", status="error", error="The disk is full.")]))
    assert note["remark"] == "The disk is full."
    assert note["tone"] == "bad"
    assert "resume" not in note  # there is no text to continue


def test_only_the_newest_answer_can_be_continued() -> None:
    path = [message(1, status="stopped"), message(2, "user", "Q"), message(3, status="stopped")]
    assert [note["id"] for note in messages.notes(messages.rows(path)) if note.get("resume")] == [3]


def summary(id: int, updated: datetime, title: str = "T") -> ConversationSummary:
    return ConversationSummary(id=id, title=title, updated=updated)


def test_conversations_stand_under_their_days_in_the_reader_s_time_zone() -> None:
    found = [
        summary(5, NOW),
        summary(4, NOW - timedelta(hours=10)),
        summary(3, NOW - timedelta(days=3)),
        summary(2, NOW - timedelta(days=30)),
        summary(1, NOW - timedelta(days=400), title=""),
    ]
    shown = listing.conversation_list(found, now=NOW, current=4)
    assert [(group["label"], [item["id"] for item in group["items"]]) for group in shown["groups"]] == [
        ("Today", [5]),
        ("Yesterday", [4]),
        ("This week", [3]),
        ("February", [2]),
        ("February 2025", [1]),
    ]
    assert shown["groups"][-1]["items"][0]["title"] == "New chat"
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert listing.conversation_list(found, now=tokyo, current=4)["groups"][0]["items"][1]["id"] == 4  # 08:00 there


def test_an_empty_list_says_why() -> None:
    assert "appear here" in listing.conversation_list([], now=NOW, current=None)["note"]
    assert "“zebra”" in listing.conversation_list([], now=NOW, current=None, query="zebra")["note"]


def test_pinned_ones_have_a_heading_of_their_own() -> None:
    found = [
        replace(summary(3, NOW), pinned=True),
        summary(2, NOW - timedelta(days=3)),
        summary(1, NOW - timedelta(days=3)),
    ]
    labels = [group["label"] for group in listing.conversation_list(found, now=NOW, current=None)["groups"]]
    assert labels == ["Pinned", "This week"]


def test_a_list_that_is_cut_says_so() -> None:
    found = [summary(number, NOW) for number in range(listing.LISTED + 1)]
    whole = listing.conversation_list(found[:-1], now=NOW, current=None)
    cut = listing.conversation_list(found, now=NOW, current=None)
    assert (whole["note"], cut["groups"]) == ("", whole["groups"])
    assert "Search" in cut["note"]
    assert "add a word" in listing.conversation_list(found, now=NOW, current=None, query="a")["note"]


def test_the_badge_claims_no_more_than_the_probe_showed() -> None:
    info = scripted_info(ModelSpec())
    exact = model.badge(info, "exact")
    assert exact["label"] == "bit-exact"
    assert "(16)" in exact["explanation"]
    assert "costs 3%" in exact["explanation"]
    assert model.badge(info, "fast")["label"] == "equal up to rounding"
    all_widths = replace(info, exact=Certificate(setting="exact", tier="A", widths=(1, 2, 4)), exact_cost=1.0)
    assert "every width that was measured" in model.badge(all_widths, "exact")["explanation"]
    assert "costs" not in model.badge(all_widths, "exact")["explanation"]
    rounding = replace(info, exact=replace(FAST, setting="exact"))
    assert model.badge(rounding, "exact")["kind"] == "rounding"


def test_the_header_without_and_with_a_model() -> None:
    empty = model.page_header(None, "", None, "exact", "")
    assert (empty["title"], empty["model"], empty["badge"]) == ("New chat", "no model loaded", None)
    assert model.page_header(None, "", None, "exact", "loading weights 40 %")["model"] == "loading weights 40 %"
    raw = replace(scripted_info(ModelSpec(model="base")), has_chat_template=False)
    head = model.page_header(3, "Title", raw, "exact", "")
    assert head["model"] == "base (completes text, no chat template)"
    assert "12 M parameters, 49 MB" in head["model_detail"]


@pytest.mark.parametrize(
    ("progress", "sentence", "fraction"),
    [
        (LoadProgress(stage="weights", message="Reading", done=2, total=5), "loading weights 40 %", 0.4),
        (
            LoadProgress(stage="download", message="x", done=1_200_000_000, total=3_400_000_000),
            "downloading 1.2 GB of 3.4 GB",
            pytest.approx(0.353, abs=0.01),
        ),
        (LoadProgress(stage="find", message="Looking for it."), "looking for it", None),
    ],
)
def test_loading_is_said_in_words(progress: LoadProgress, sentence: str, fraction: float | None) -> None:
    live = model.load_live(ModelState(info=None, load=LoadState(running=True, progress=progress)))
    assert live is not None
    assert (live.sentence, live.progress) == (sentence, fraction)
