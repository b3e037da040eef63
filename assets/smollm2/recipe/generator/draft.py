"""A task before its wording: what the makers of tasks hand to the one who asks. Knows no wording."""

from __future__ import annotations

from dataclasses import dataclass, field

from generator.python_code import Function


@dataclass(frozen=True, slots=True)
class Draft:
    """The input block, the answer, what the wording's fields say, and what a follow-up may build on.

    `quotable` names the fields that a person may put in quotes. `rows` has the head first.
    """

    text: str
    answer: str
    fields: dict[str, str] = field(default_factory=dict)
    quotable: bool = False
    function: Function | None = None
    items: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    is_code: bool = False
