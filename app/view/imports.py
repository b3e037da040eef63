"""An import in words: what would come, how far it is, what came, and what did not."""

from collections.abc import Sequence
from typing import Any

from app.chat.imports import ImportState
from app.exchange.importing import Preview
from app.view.figures import size


def import_words(state: ImportState) -> dict[str, Any]:
    """The import's dialog: a heading, lines below it, how far it is, and which buttons it offers."""
    found = state.preview
    heading, lines = "", []
    if state.phase == "receiving":
        heading = "Receiving the files"
    elif state.phase == "reading":
        heading = f"Reading the files: {size(state.done)} of {size(state.total)}"
    elif state.phase == "preview" and found is not None:
        heading = f"{_chats(found.chats)} can be imported" if found.chats else "There is nothing new to import"
        lines = [*_contents(found), *_passed_over(found), *_left_out(found, "Cannot be taken over")]
    elif state.phase == "adding":
        heading = f"Adding chats: {state.done:,} of {state.total:,}"
    elif state.phase == "done" and found is not None:
        heading = f"{_chats(state.added)} {'was' if state.added == 1 else 'were'} imported."
        lines = [*_passed_over(found), *_left_out(found, "Left out")]
    elif state.phase == "failed":
        heading, lines = "Nothing was imported", [state.sentence]
    elif state.phase == "cancelled":
        heading = "The import was cancelled. Nothing was changed."
    elif state.phase == "undone":
        heading = f"The import was undone: {_chats(state.added)} {'is' if state.added == 1 else 'are'} in the trash."
    share = state.done / state.total if state.phase in ("reading", "adding") and state.total else None
    return {
        "id": state.id,
        "phase": state.phase,
        "heading": heading,
        "lines": lines,
        "share": share,
        "can": {"preview": ["add"] if found and found.chats else [], "done": ["undo"] if state.added else []}.get(
            state.phase, []
        ),
        "add": f"Import {_chats(found.chats)}" if found else "",
        "message": "",
    }


def _chats(count: int) -> str:
    return "1 chat" if count == 1 else f"{count:,} chats"


def _number(count: int, one: str, many: str) -> str:
    return f"1 {one}" if count == 1 else f"{count:,} {many}"


def _contents(found: Preview) -> list[str]:
    if not found.chats:
        return []
    parts = [_number(found.messages, "message", "messages")]
    if found.branches:
        parts.append(_number(found.branches, "other version", "other versions"))
    if found.attachments:
        parts.append(_number(found.attachments, "attachment", "attachments"))
    more = f", and {found.chats - len(found.titles):,} more" if found.chats > len(found.titles) else ""
    titles = ", ".join(f"“{title}”" for title in found.titles)
    return [f"From {_joined(found.programs)}: {_joined(parts)}.", f"{titles}{more}."]


def _passed_over(found: Preview) -> list[str]:
    lines = []
    if found.here:
        lines.append(f"{_chats(found.here)} {'is' if found.here == 1 else 'are'} here already, and not imported again.")
    if found.twice:
        lines.append(f"{_chats(found.twice)} {'stands' if found.twice == 1 else 'stand'} in the files twice.")
    if found.grown:
        what = "has grown since it was imported: it is" if found.grown == 1 else "have grown: they are"
        lines.append(f"{_chats(found.grown)} {what} added beside what is here.")
    if found.empty:
        lines.append(f"{_chats(found.empty)} without a message {'is' if found.empty == 1 else 'are'} left out.")
    return lines


def _left_out(found: Preview, said: str) -> list[str]:
    if not found.left_out:
        return []
    return [f"{said}: {', '.join(f'{what} ({count:,})' for what, count in found.left_out)}."]


def _joined(parts: Sequence[str]) -> str:
    """Parts of a sentence.

    >>> _joined(["a"]), _joined(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
