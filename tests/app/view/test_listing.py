"""The list of conversations: days, headings, and what an empty or a cut list says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from app.store.records import ConversationSummary
from app.view import listing

NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


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
