"""The list of conversations under its headings."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from app.store.dates import TRASH_DAYS
from app.store.organising import Label
from app.store.records import ConversationSummary
from app.texts import tr

LISTED = 200  # conversations; a longer list is slow to draw


def day_label(day: date, today: date) -> str:
    """The heading a conversation stands under.

    >>> day_label(date(2026, 3, 9), date(2026, 3, 10)), day_label(date(2025, 12, 1), date(2026, 3, 10))
    ('Yesterday', 'December 2025')
    """
    age = (today - day).days
    if age <= 0:
        return tr("dates.today")
    if age == 1:
        return tr("dates.yesterday")
    if age < 7:
        return tr("dates.this_week")
    if day.year == today.year:
        return month(day)
    return tr("dates.month_of", month=month(day), year=str(day.year))


def month(day: date) -> str:
    return tr("dates.months").split(",")[day.month - 1].strip()


def short_month(day: date) -> str:
    return tr("dates.months_short").split(",")[day.month - 1].strip()


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
        label = tr("list.pinned") if conversation.pinned else day_label(day, now.date())
        if not groups or groups[-1]["label"] != label:
            groups.append({"label": label, "items": []})
        title = conversation.title or tr("common.new_chat")
        item: dict[str, Any] = {"id": conversation.id, "title": title, "snippet": conversation.snippet}
        item |= {"labels": conversation.labels, "pinned": conversation.pinned, "archived": conversation.archived}
        if conversation.message_id is not None:
            item["message"] = conversation.message_id
        groups[-1]["items"].append(item)
    note = ""
    if not found:
        nothing = tr("list.nothing_here") if shelves and shelves["chosen"] else tr("list.empty")
        note = tr("list.not_found", query=query) if query else nothing
    elif len(found) > LISTED:
        note = tr("list.more_found") if query else tr("list.newest", limit=LISTED)
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
    return tr("undo.and_more", done=done, more=num_more) if num_more else tr("undo.said", done=done)


def chats(number: int) -> str:
    """
    >>> chats(1), chats(3)
    ('1 chat', '3 chats')
    """
    return tr("count.chats", count=number)


def done_words(act: str, number: int, title: str, label: str) -> str:
    """What was done with one chat of this title, or with several at once.

    >>> done_words("pin", 1, "Tea", ""), done_words("label", 3, "Tea", "work")
    ('“Tea” was pinned', '3 chats were labelled “work”')
    """
    if number == 1:
        title = title or tr("common.new_chat")
        match act:
            case "delete":
                return tr("undo.deleted", title=title)
            case "pin":
                return tr("undo.one_pin", title=title)
            case "unpin":
                return tr("undo.one_unpin", title=title)
            case "archive":
                return tr("undo.one_archive", title=title)
            case "unarchive":
                return tr("undo.one_unarchive", title=title)
            case "label":
                return tr("undo.one_label", title=title, label=label)
        return tr("undo.one_unlabel", title=title, label=label)
    several = chats(number)
    match act:
        case "delete":
            return tr("undo.many_deleted", chats=several)
        case "pin":
            return tr("undo.many_pin", chats=several)
        case "unpin":
            return tr("undo.many_unpin", chats=several)
        case "archive":
            return tr("undo.many_archive", chats=several)
        case "unarchive":
            return tr("undo.many_unarchive", chats=several)
        case "label":
            return tr("undo.many_label", chats=several, label=label)
    return tr("undo.many_unlabel", chats=several, label=label)


def trash_list(found: Sequence[ConversationSummary], *, now: datetime, undo: str = "") -> dict[str, Any]:
    """The trash in place of the list, the newest deletion first."""
    items = [
        {"id": line.id, "title": line.title or tr("common.new_chat"), "snippet": _days_left(line.updated, now)}
        for line in found
    ]
    groups = [{"label": tr("list.trash"), "items": items}] if items else []
    note = "" if items else tr("list.trash_empty", days=TRASH_DAYS)
    listed = {"groups": groups, "current": None, "note": note, "undo": undo, "words": [], "trash": True}
    return listed | {"shelves": None}


def _days_left(deleted: datetime, now: datetime) -> str:
    """How long a deleted conversation can still be brought back.

    >>> [_days_left(datetime(2026, 3, 1, 12), datetime(2026, month, 4, 12)) for month in (3, 4)]
    ['27 days left', 'until the next start']
    """
    left = TRASH_DAYS - (now - deleted).days
    return tr("list.days_left", count=left) if left > 0 else tr("list.until_start")
