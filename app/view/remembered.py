"""What is remembered, as the page draws it. Pure."""

from collections.abc import Callable
from typing import Any

from app.store.origins import Source
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
            "title": title_of(each.conversation) or "a chat that was deleted",
            "imported": not each.conversation.isdecimal(),
            "tokens": each.num_tokens,
            "words": f"{tokens(each.num_tokens)}, {size(each.num_tokens * share)}",
        }
        for each in reversed(view.conversations)
        if only in (None, each.conversation)
    ]
    told: dict[str, Any] = {
        "held": held,
        "all": f"{tokens(used)} in {_chats(len(view.conversations))}, of at most {tokens(view.cap_tokens)}; "
        f"{size(view.num_bytes)} of main memory",
        "note": _note(view, title_of, only, bool(held)),
    }
    if phrase:
        told["proposals"] = [
            {
                "text": proposal.text or "(the answer ends)",
                "percent": round(100 * proposal.chance),
                "kind": kind_of(source := Source(proposal.source, proposal.place)),
                "words": source_words(source, title_of),
            }
            for proposal in view.proposals
        ]
        told["matches"] = [
            {
                "title": title_of(match.conversation) or "a chat that was deleted",
                "times": match.times,
                "text": match.excerpt,
            }
            for match in reversed(view.matches)
            if only in (None, match.conversation)
        ]
    return told


def _chats(count: int) -> str:
    return "1 chat or text" if count == 1 else f"{count:,} chats and texts"


def _note(view: MemoryView, title_of: TitleOfKey, only: str | None, held: bool) -> str:
    if view.cap_tokens == 0:
        return "The memory is switched off: this start allows it no tokens."
    if view.joining and only in (None, view.joining) and not (only and held):
        name = "This chat" if only else f"“{title_of(view.joining) or 'Untitled'}”"
        return f"{name} joins when another chat is answered; until then it is drafted from as the open chat."
    if only and not held:
        return "Nothing of this chat is in the memory: it is left out, or has said nothing yet."
    return "" if held or only else "Nothing is remembered yet: chats join when another one is answered."
