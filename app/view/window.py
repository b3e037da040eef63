"""Of a long chat the lines that are drawn: the newest, and earlier ones where a person wants them. Pure."""

from collections.abc import Sequence
from typing import Any

from app.view.messages import Row, notes

SHOWN, STEP = 60, 30  # questions at least; by how many the first one moves, for then all lines are drawn anew
MORE = 240  # lines, at each request
ALL = 4000  # lines, where the browser is to search them
BEFORE = 6  # lines above a message that is looked for

Lines = Sequence[tuple[Row, tuple[str, ...]]]


def first_shown(lines: Lines, wanted: int | None = None) -> int:
    """The number of the first line that is drawn, a question; `wanted` is an earlier line that must be among them.

    It depends on questions alone, so it stays while an answer grows.
    """
    questions = [at for at, (row, _) in enumerate(lines) if row.message.role == "user"]
    begin = max(0, len(questions) - SHOWN) // STEP * STEP
    first = questions[begin] if begin else 0
    if wanted is not None:
        first = min(first, max(0, wanted))
    while first and lines[first][0].message.role != "user":
        first -= 1
    return first


def shown_notes(lines: Lines, first: int, running_id: int | None = None) -> list[dict[str, Any]]:
    """The notes of the lines that are drawn; the first of them says how many `earlier` messages are not."""
    hidden = sum(len(pieces) for _, pieces in lines[:first])
    shown = [note | {"row": note["row"] - hidden} for note in notes(lines, running_id) if note["row"] >= hidden]
    if first and shown:
        shown[0]["earlier"] = sum(row.last for row, _ in lines[:first])
    return shown
