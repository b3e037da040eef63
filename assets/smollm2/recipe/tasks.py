"""Seeded, unlimited tasks whose answer repeats the input, wholly or with one change.

Every answer is computed, so that it can be checked exactly. Answers carry no preamble and no fence. `held_out`
tasks use wordings and words that no training task has. Knows nothing of tokens or training.

>>> task = make_task(random.Random(1), "numbered_list", size=3)
>>> task.family
'numbered_list'
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from followups import follow_up
from generator import edits, forms, lines, reading
from generator.draft import Draft
from generator.pools import Pools
from wording import patterns

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """A conversation that ends with the exact answer; every assistant turn is exact."""

    family: str
    messages: tuple[Message, ...]

    @property
    def answer(self) -> str:
        """Return the last turn's text."""
        return self.messages[-1]["content"]


MAKERS: dict[str, Callable[[Pools, int], Draft]] = {
    "repeat": edits.repeat,
    "repeat_change": edits.repeat_change,
    "replace_word": edits.replace_word,
    "replace_words": edits.replace_words,
    "rename_variable": edits.rename_variable,
    "change_argument": edits.change_argument,
    "change_position": edits.change_position,
    "fix_typo": edits.fix_typo,
    "fix_typos": edits.fix_typos,
    "numbered_list": forms.list_task(forms.numbered),
    "bullet_list": forms.list_task(forms.bulleted),
    "comma_list": forms.list_task(", ".join),
    "to_json": forms.to_json,
    "list_to_json": forms.list_task(forms.array_text),
    "to_table": forms.to_table,
    "to_csv": forms.to_csv,
    "to_lines": forms.to_lines,
    "json_to_list": forms.json_to_list,
    "change_case": edits.change_case,
    "sort": forms.sort,
    "extract": forms.extract,
    "quote": reading.quote,
    "answer_quote": reading.answer_quote,
    "add_item": forms.add_item,
    "remove_item": forms.remove_item,
    "merge": forms.merge,
    "count": lines.count,
    "pick_items": lines.pick_items,
    "reverse": lines.reverse,
    "unique": lines.unique,
    "find_lines": lines.find_lines,
    "wrap": lines.wrap,
    "column": lines.column,
    "find_all": lines.find_all,
    "remove_line": lines.remove_line,
    "answer_short": reading.answer_short,
}
# How often a family is drawn: what needs a change far from its order, or letters, takes the most practice.
SHARES = {
    "answer_quote": 1.5,
    "merge": 1.5,
    "remove_item": 3.0,
    "repeat": 2.0,
    "replace_word": 5.0,
    "replace_words": 6.0,
    "rename_variable": 5.0,
    "change_argument": 3.0,
    "fix_typo": 4.0,
    "fix_typos": 3.0,
    "repeat_change": 4.0,
    "to_json": 2.5,
    "change_case": 4.5,
    "sort": 4.0,
    "quote": 4.0,
    "extract": 2.5,
    "numbered_list": 1.5,
    "bullet_list": 1.0,
    "comma_list": 1.0,
    "add_item": 3.0,
    "change_position": 1.5,
    "to_lines": 1.0,
    "json_to_list": 1.0,
    "count": 4.0,
    "pick_items": 1.0,
    "reverse": 1.0,
    "unique": 1.0,
    "find_lines": 1.0,
    "wrap": 1.0,
    "column": 1.0,
    "find_all": 1.5,
    "remove_line": 1.0,
    "answer_short": 4.0,
}
FAMILIES = tuple(MAKERS)
WEIGHTS = tuple(SHARES.get(family, 2.0) for family in FAMILIES)


def ask(pools: Pools, family: str, draft: Draft) -> str:
    """Return the user's message: an order joined with the input."""
    rng = pools.rng
    fields = dict(draft.fields)
    if draft.quotable and rng.random() < 0.4:
        mark = rng.choice(['"', '"', "'", "`"])
        fields = {key: f"{mark}{value}{mark}" for key, value in fields.items()}
    order = patterns.first_order(rng, family, pools.held_out).format(**fields)
    text = draft.text
    if rng.random() < (0.25 if draft.is_code else 0.05):
        text = f"```{rng.choice(['python', '']) if draft.is_code else ''}\n{text}\n```"
    elif "\n" not in text and '"' not in text and not draft.is_code and family != "repeat" and rng.random() < 0.15:
        text = f'"{text}"'
    return join(rng, order, text, pools.held_out)


def join(rng: random.Random, order: str, text: str, held_out: bool) -> str:
    """Return order and input in one of the ways in which people put them together."""
    ended = order if order[-1] in "?.:" else order + "."
    note = rng.choice(patterns.NOTES_HELD_OUT if held_out else patterns.NOTES) if rng.random() < 0.12 else ""
    where = rng.random()
    if where < 0.12:
        return f"{text}\n\n{ended}" + (f" {note}" if note else "")
    if where < 0.16:
        return f"{rng.choice(patterns.LABELS)}\n{text}\n\n{ended}" + (f" {note}" if note else "")
    if note:
        return f"{ended} {note}\n\n{text}"
    if "\n" not in text and where < 0.35:
        return f"{order}{'' if order[-1] in '?:' else ':'} {text}"
    if where < 0.42:
        return f"{ended}\n\n{rng.choice(patterns.LABELS)}\n{text}"
    head = order if order[-1] == "?" else order + rng.choices([":", ".", ""], [6, 2, 1])[0]
    return f"{head}\n" + ("\n" if rng.random() < 0.7 else "") + text


def make_task(
    rng: random.Random,
    family: str | None = None,
    size: int = 3,
    held_out: bool = False,
    sentences: tuple[str, ...] = (),
    turns: int | None = None,
) -> Task:
    """Return one task; `size` counts sentences, items or lines, and `turns` may force one to three."""
    if family is None:
        family = rng.choices(FAMILIES, WEIGHTS)[0]
    pools = Pools(rng, held_out, sentences)
    draft = MAKERS[family](pools, size)
    messages = [("user", ask(pools, family, draft)), ("assistant", draft.answer)]
    if turns is None:
        turns = rng.choices([1, 2, 3], [60, 28, 12])[0]
    for _ in range(turns - 1):
        question, draft = follow_up(pools, draft)
        messages += [("user", question), ("assistant", draft.answer)]
    return Task(family, tuple({"role": role, "content": content} for role, content in messages))
