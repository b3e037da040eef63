"""An import in words: what would come, how far it is, what came, and what did not."""

from collections.abc import Sequence
from typing import Any

from app.chat.imports import ImportState
from app.exchange.importing import Preview
from app.texts import decimal, tr
from app.view.figures import size
from app.view.listing import chats


def import_words(state: ImportState) -> dict[str, Any]:
    """The import's dialog: a heading, lines below it, how far it is, and which buttons it offers."""
    found = state.preview
    heading, lines = "", []
    if state.phase == "receiving":
        heading = tr("import.receiving")
    elif state.phase == "reading":
        heading = tr("import.reading", done=size(state.done), total=size(state.total))
    elif state.phase == "preview" and found is not None:
        heading = tr("import.can", chats=chats(found.chats)) if found.chats else tr("import.nothing_new")
        lines = [*_contents(found), *_passed_over(found), *_left_out(found, taken=False)]
    elif state.phase == "adding":
        heading = tr("import.adding", done=state.done, total=state.total)
    elif state.phase == "done" and found is not None:
        heading = tr("import.done", count=state.added)
        lines = [*_passed_over(found), *_left_out(found, taken=True)]
    elif state.phase == "failed":
        heading, lines = tr("import.failed"), [state.sentence]
    elif state.phase == "cancelled":
        heading = tr("import.cancelled")
    elif state.phase == "undone":
        heading = tr("import.undone", count=state.added)
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
        "add": tr("import.add", chats=chats(found.chats)) if found else "",
        "message": "",
    }


def _contents(found: Preview) -> list[str]:
    if not found.chats:
        return []
    parts = [tr("count.messages", count=found.messages)]
    if found.branches:
        parts.append(tr("count.versions", count=found.branches))
    if found.attachments:
        parts.append(tr("count.attachments", count=found.attachments))
    titles = ", ".join(tr("import.quoted", title=title or tr("common.new_chat")) for title in found.titles)
    more = found.chats - len(found.titles)
    listed = tr("import.more", titles=titles, more=more) if more > 0 else tr("import.titles", titles=titles)
    return [tr("import.from", programs=_joined(found.programs), parts=_joined(parts)), listed]


def _passed_over(found: Preview) -> list[str]:
    lines = []
    if found.here:
        lines.append(tr("import.here", count=found.here))
    if found.twice:
        lines.append(tr("import.twice", count=found.twice))
    if found.grown:
        lines.append(tr("import.grown", count=found.grown))
    if found.empty:
        lines.append(tr("import.empty", count=found.empty))
    return lines


def _left_out(found: Preview, *, taken: bool) -> list[str]:
    """What does not come along; `taken`: the rest is here."""
    if not found.left_out:
        return []
    what = ", ".join(f"{what} ({decimal(count, 0)})" for what, count in found.left_out)
    return [tr("import.left_out", what=what) if taken else tr("import.not_possible", what=what)]


def _joined(parts: Sequence[str]) -> str:
    """Parts of a sentence.

    >>> _joined(["a"]), _joined(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    if len(parts) < 2:
        return "".join(parts)
    return tr("figure.and", some=", ".join(parts[:-1]), last=parts[-1])
