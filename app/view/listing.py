"""The list of conversations under its headings."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from app.store.dates import TRASH_DAYS
from app.store.organising import Label
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
    words: Sequence[str] = (),
    shelves: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The sidebar's list under its headings: of more than `LISTED` found the first, and a sentence about the others.

    `now` decides the days and carries the time zone they are seen in. `shelves`: see there.
    """
    groups: list[dict[str, Any]] = []
    for conversation in found[:LISTED]:
        day = conversation.updated.astimezone(now.tzinfo).date()
        label = "Pinned" if conversation.pinned else day_label(day, now.date())
        if not groups or groups[-1]["label"] != label:
            groups.append({"label": label, "items": []})
        title = conversation.title or NEW_CHAT
        item: dict[str, Any] = {"id": conversation.id, "title": title, "snippet": conversation.snippet}
        item |= {"labels": conversation.labels, "pinned": conversation.pinned, "archived": conversation.archived}
        if conversation.message_id is not None:
            item["message"] = conversation.message_id
        groups[-1]["items"].append(item)
    note = ""
    if not found:
        nothing = "Nothing here." if shelves and shelves["chosen"] else "Your conversations appear here."
        note = f"Nothing found for “{query}”." if query else nothing
    elif len(found) > LISTED:
        note = "There are more: add a word." if query else f"These are the newest {LISTED}. Search to find others."
    listed = {"groups": groups, "current": current, "note": note, "undo": undo, "words": list(words), "trash": False}
    return listed | {"shelves": shelves}


def shelves(labels: Sequence[Label], num_archived: int, label: str | None, *, archived: bool) -> dict[str, Any]:
    """What the list can be narrowed to: a label, or what is archived. `chosen`: whether it is."""
    names = [{"name": each.name, "count": each.count, "on": each.name == label} for each in labels]
    return {"labels": names, "archived": num_archived, "in_archive": archived, "chosen": archived or label is not None}


def undo_words(done: str, num_more: int) -> str:
    """What "Undo" would bring back.

    >>> undo_words("“Tea” was deleted", 2)
    '“Tea” was deleted (2 more can be undone).'
    """
    return f"{done} ({num_more} more can be undone)." if num_more else f"{done}."


def chats(number: int) -> str:
    """
    >>> chats(1), chats(3)
    ('1 chat', '3 chats')
    """
    return f"{number} chat{'' if number == 1 else 's'}"


def trash_list(found: Sequence[ConversationSummary], *, now: datetime, undo: str = "") -> dict[str, Any]:
    """The trash in place of the list, the newest deletion first."""
    items = [
        {"id": line.id, "title": line.title or NEW_CHAT, "snippet": _days_left(line.updated, now)} for line in found
    ]
    groups = [{"label": "Trash", "items": items}] if items else []
    note = "" if items else f"The trash is empty. What you delete stays here for {TRASH_DAYS} days."
    listed = {"groups": groups, "current": None, "note": note, "undo": undo, "words": [], "trash": True}
    return listed | {"shelves": None}


def _days_left(deleted: datetime, now: datetime) -> str:
    """How long a deleted conversation can still be brought back.

    >>> [_days_left(datetime(2026, 3, 1, 12), datetime(2026, month, 4, 12)) for month in (3, 4)]
    ['27 days left', 'until the next start']
    """
    left = TRASH_DAYS - (now - deleted).days
    return f"{left} day{'' if left == 1 else 's'} left" if left > 0 else "until the next start"
