"""The list of conversations under its headings."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from app.store.records import ConversationSummary

NEW_CHAT = "New chat"
LISTED = 200  # conversations; a longer list is slow to draw


def day_label(day: date, today: date) -> str:
    """The heading a conversation stands under.

    >>> day_label(date(2026, 3, 9), date(2026, 3, 10)), day_label(date(2025, 12, 1), date(2026, 3, 10))
    ('Yesterday', 'December 2025')
    """
    age = (today - day).days
    if age <= 0:
        return "Today"
    if age == 1:
        return "Yesterday"
    if age < 7:
        return "This week"
    if day.year == today.year:
        return f"{day:%B}"
    return f"{day:%B %Y}"


def conversation_list(
    found: Sequence[ConversationSummary],
    *,
    now: datetime,
    current: int | None,
    query: str = "",
    undo: str = "",
    num_undone: int = 0,
) -> dict[str, Any]:
    """The sidebar's list under its headings: of more than `LISTED` found the first, and a sentence about the others.

    `now` decides the days and carries the time zone they are seen in.
    """
    groups: list[dict[str, Any]] = []
    for conversation in found[:LISTED]:
        day = conversation.updated.astimezone(now.tzinfo).date()
        label = "Pinned" if conversation.pinned else day_label(day, now.date())
        if not groups or groups[-1]["label"] != label:
            groups.append({"label": label, "items": []})
        title = conversation.title or NEW_CHAT
        groups[-1]["items"].append({"id": conversation.id, "title": title, "snippet": conversation.snippet})
    note = ""
    if not found:
        note = f"Nothing found for “{query}”." if query else "Your conversations appear here."
    elif len(found) > LISTED:
        note = "There are more: add a word." if query else f"These are the newest {LISTED}. Search to find others."
    deleted = {"title": undo, "more": num_undone - 1} if undo else None
    return {"groups": groups, "current": current, "note": note, "undo": deleted}
