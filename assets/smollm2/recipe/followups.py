"""Second and third turns: a question about the answer before, and its answer.

Knows what a task's draft tells; an answer once changed leaves what no longer fits behind.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

from generator.draft import Draft
from generator.edits import CASES, CASES_HELD_OUT, replace_whole, to_case, words_of
from generator.forms import LIST_FORMS, array_text, bulleted, csv_of, json_text, numbered, objects_of, table_of
from generator.pools import COMMON, FOODS, Pools
from wording import patterns

ITEM_FORMS = {
    "a numbered list": numbered,
    "a bullet list": bulleted,
    "JSON": array_text,
    "a JSON array": array_text,
    "one line with commas": ", ".join,
}
ROW_FORMS = {"JSON": "json", "a table": "table", "a markdown table": "table", "CSV": "csv"}


def again(pools: Pools, draft: Draft) -> tuple[dict[str, str], Draft] | None:
    """Say the answer again."""
    return {}, draft


def change_case(pools: Pools, draft: Draft) -> tuple[dict[str, str], Draft] | None:
    """Say a short answer in other letters."""
    case = pools.rng.choices(["upper", "lower", "title"], [6, 2, 1])[0]
    answer = to_case(draft.answer, case)
    if len(draft.answer) > 150 or answer == draft.answer:
        return None
    name = pools.rng.choice((CASES_HELD_OUT if pools.held_out else CASES)[case])
    return {"case": name}, Draft(draft.text, answer)


def replace_word(pools: Pools, draft: Draft) -> tuple[dict[str, str], Draft] | None:
    """Replace a word of the answer."""
    if draft.is_code or not (words := words_of(draft.answer)):
        return None
    old = pools.rng.choice(words)
    new = pools.pick(pools.rng.choice([FOODS, COMMON]))
    new = new.upper() if old.isupper() else new.capitalize() if old[0].isupper() else new
    if new == old:
        return None

    def change(text: str) -> str:
        return replace_whole(text, old, new)

    items = tuple(change(item) for item in draft.items)
    rows = tuple(tuple(change(value) for value in row) for row in draft.rows)
    changed = dataclasses.replace(draft, answer=change(draft.answer), items=items, rows=rows)
    return {"old": old, "new": new}, changed


def rename_variable(pools: Pools, draft: Draft) -> tuple[dict[str, str], Draft] | None:
    """Rename another variable of a function."""
    if draft.function is None:
        return None
    first = draft.fields["old"]
    left = [i for i in draft.function.used() if draft.function.names[i] != first]
    if not left:
        return None
    index = pools.rng.choice(left)
    taken = {*draft.function.names, draft.fields["new"]}
    fields = {
        "old": draft.function.names[index],
        "new": next(name for name in pools.identifiers(9) if name not in taken),
    }
    renamed = {index: fields["new"], draft.function.names.index(first): draft.fields["new"]}
    return fields, Draft(draft.text, draft.function.render(renamed), is_code=True)


def form_of_answer(draft: Draft) -> Callable[[list[str]], str] | None:
    """Return the form that the answer writes its items in; None where it is no plain list."""
    return next((form for form in LIST_FORMS.values() if draft.items and form(list(draft.items)) == draft.answer), None)


def add_item(pools: Pools, draft: Draft) -> tuple[dict[str, str], Draft] | None:
    """Add an item to the list that was answered."""
    if (form := form_of_answer(draft)) is None:
        return None
    new = pools.item()
    items = (*draft.items, new)
    return {"new": new}, dataclasses.replace(draft, answer=form(list(items)), items=items)


def remove_item(pools: Pools, draft: Draft) -> tuple[dict[str, str], Draft] | None:
    """Take an item off the list that was answered."""
    if (form := form_of_answer(draft)) is None or len(draft.items) < 3:
        return None
    old = pools.rng.choice(draft.items)
    items = tuple(item for item in draft.items if item != old)
    return {"old": old}, dataclasses.replace(draft, answer=form(list(items)), items=items)


def sort(pools: Pools, draft: Draft) -> tuple[dict[str, str], Draft] | None:
    """Put the list that was answered in alphabetical order."""
    items = tuple(sorted(draft.items, key=str.lower))
    if (form := form_of_answer(draft)) is None or items == draft.items:
        return None
    return {}, dataclasses.replace(draft, answer=form(list(items)), items=items)


def form(pools: Pools, draft: Draft) -> tuple[dict[str, str], Draft] | None:
    """Write the items or rows that were answered in another form."""
    if draft.items:
        name = pools.rng.choice(list(ITEM_FORMS))
        answer = ITEM_FORMS[name](list(draft.items))
    elif draft.rows:
        name = pools.rng.choice(list(ROW_FORMS))
        rows = [list(row) for row in draft.rows]
        objects = objects_of(rows)
        one = len(objects) == 1 and (draft.answer.startswith("{") or ":" in draft.text[:20])
        data: object = objects[0] if one else objects
        answer = {"json": json_text(data), "table": table_of(rows), "csv": csv_of(rows)}[ROW_FORMS[name]]
    else:
        return None
    return None if answer == draft.answer else ({"form": name}, dataclasses.replace(draft, answer=answer))


KINDS: dict[str, Callable[[Pools, Draft], tuple[dict[str, str], Draft] | None]] = {
    "again": again,
    "change_case": change_case,
    "replace_word": replace_word,
    "rename_variable": rename_variable,
    "add_item": add_item,
    "remove_item": remove_item,
    "sort": sort,
    "form": form,
}
SHARES = {"again": 1, "change_case": 3, "replace_word": 3, "rename_variable": 6, "form": 4}


def follow_up(pools: Pools, draft: Draft) -> tuple[str, Draft]:
    """Return a question about the answer before, and a draft with the new answer."""
    orders = patterns.FOLLOW_UPS_HELD_OUT if pools.held_out else patterns.FOLLOW_UPS
    weights = [SHARES.get(kind, 2) for kind in KINDS]
    for _ in itertools.repeat(None, 20):
        kind = pools.rng.choices(list(KINDS), weights)[0]
        made = KINDS[kind](pools, draft)
        if made is not None:
            break
    else:
        kind, made = "again", ({}, draft)
    order = patterns.order_of(pools.rng, orders[kind], pools.held_out, is_first=False)
    mark = "" if order[-1] in ".?" or pools.rng.random() < 0.3 else "."
    return order.format(**made[0]) + mark, made[1]
