"""What is remembered, as the page draws it. Pure."""

from collections.abc import Callable
from typing import Any

from app.store.origins import Source
from app.texts import tr
from app.view.figures import size, tokens
from app.view.origins import kind_of, source_words
from engine.events import MemoryView

TitleOfKey = Callable[[str], str | None]


def remembered(view: MemoryView, title_of: TitleOfKey, conversation_id: int | None, phrase: str) -> dict[str, Any]:
    """Of one conversation, or of all; `phrase` is what was looked up, or empty."""
    only = None if conversation_id is None else str(conversation_id)
    used = sum(each.num_tokens for each in view.conversations)
    share = view.num_bytes / used if used else 0.0  # of the whole that a token takes, room for more included
    held = [
        {
            "key": each.conversation,
            "title": _title(title_of(each.conversation)),
            "imported": not each.conversation.isdecimal(),
            "tokens": each.num_tokens,
            "words": f"{tokens(each.num_tokens)}, {size(each.num_tokens * share)}",
        }
        for each in reversed(view.conversations)
        if only in (None, each.conversation)
    ]
    told: dict[str, Any] = {
        "held": held,
        "all": tr(
            "memory.all",
            tokens=tokens(used),
            chats=tr("count.chats_and_texts", count=len(view.conversations)),
            most=tokens(view.cap_tokens),
            size=size(view.num_bytes),
        ),
        "note": _note(view, title_of, only, bool(held)),
    }
    if phrase:
        told["proposals"] = [
            {
                "text": proposal.text or tr("memory.answer_ends"),
                "percent": round(100 * proposal.chance),
                "kind": kind_of(source := Source(proposal.source, proposal.place)),
                "words": source_words(source, title_of),
            }
            for proposal in view.proposals
        ]
        told["matches"] = [
            {
                "title": _title(title_of(match.conversation)),
                "times": match.times,
                "text": match.excerpt,
            }
            for match in reversed(view.matches)
            if only in (None, match.conversation)
        ]
    return told


def _title(title: str | None) -> str:
    return tr("origins.deleted_chat") if title is None else title or tr("origins.untitled")


def _note(view: MemoryView, title_of: TitleOfKey, only: str | None, held: bool) -> str:
    if view.cap_tokens == 0:
        return tr("memory.is_off")
    if view.joining and only in (None, view.joining) and not (only and held):
        if only:
            return tr("memory.this_joins")
        return tr("memory.other_joins", title=title_of(view.joining) or tr("origins.untitled"))
    if only and not held:
        return tr("memory.nothing_of_this")
    return "" if held or only else tr("memory.nothing")
