"""Tasks that write lists and records in another form, and tasks on lists. Knows no wording."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from generator.draft import Draft
from generator.pools import COMMON, FIELDS, OBJECTS, Pools

Rows = list[list[str]]


def numbered(items: list[str]) -> str:
    """Return items as a numbered list."""
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def bulleted(items: list[str]) -> str:
    """Return items with dashes."""
    return "\n".join(f"- {item}" for item in items)


NUMBER = re.compile(r"(0|[1-9]\d{0,8})(\.\d+)?")
UNQUOTED = "\ue000"  # marks a string that is written as the number it is


def json_text(data: object) -> str:
    """Return JSON as every answer has it."""
    return re.sub(f'"{UNQUOTED}([^"]*)"', r"\1", json.dumps(data, indent=2, ensure_ascii=False))


def json_value(text: str) -> str:
    """Return a value of a record for `json_text`: plain numbers are written without quotes, as they stand."""
    return f"{UNQUOTED}{text}" if NUMBER.fullmatch(text) else text


def table_of(rows: Rows) -> str:
    """Return rows, the head first, as a markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("---" for _ in rows[0]) + " |")
    return "\n".join(lines)


def csv_of(rows: Rows) -> str:
    """Return rows, the head first, with commas and no spaces."""
    return "\n".join(",".join(row) for row in rows)


def objects_of(rows: Rows) -> list[dict[str, str]]:
    """Return an object for each row after the head; a column of plain numbers is written without quotes."""
    head, *values = rows
    plain = [all(NUMBER.fullmatch(value) for value in column) for column in zip(*values, strict=True)]
    return [
        {key: json_value(value) if number else value for key, value, number in zip(head, row, plain, strict=True)}
        for row in values
    ]


def starred(items: list[str]) -> str:
    """Return items with stars."""
    return "\n".join(f"* {item}" for item in items)


def array(items: list[str]) -> str:
    """Return items as a JSON array on one line, numbers as numbers."""
    return json.dumps([int(item) for item in items] if all(map(str.isdecimal, items)) else items, ensure_ascii=False)


def array_text(items: list[str]) -> str:
    """Return items as a JSON array as every answer has it, numbers as numbers."""
    return json_text([json_value(item) for item in items] if all(map(str.isdecimal, items)) else items)


LIST_FORMS: dict[str, Callable[[list[str]], str]] = {
    "lines": "\n".join,
    "dashes": bulleted,
    "commas": ", ".join,
    "numbers": numbered,
    "stars": starred,
    "array": array,
}


def list_form(pools: Pools) -> Callable[[list[str]], str]:
    """Return a way in which people write lists."""
    return LIST_FORMS[pools.rng.choices(list(LIST_FORMS), [30, 30, 30, 10, 5, 5])[0]]


def make_list(pools: Pools, items: list[str]) -> str:
    """Return items as the user may write them."""
    return list_form(pools)(items)


def list_task(answer: Callable[[list[str]], str]) -> Callable[[Pools, int], Draft]:
    """Return a maker of tasks that write a list's items in another form."""

    def make(pools: Pools, size: int) -> Draft:
        items = pools.items(max(2, pools.rng.randint(size, size + 3)))
        text = answer(items)
        while text == answer(items):
            text = make_list(pools, items)
        return Draft(text, answer(items), items=tuple(items))

    return make


def json_to_list(pools: Pools, size: int) -> Draft:
    """A JSON array as a numbered list."""
    items = pools.items(max(2, pools.rng.randint(size, size + 3)))
    text = array_text(items) if pools.rng.random() < 0.6 else array(items)
    return Draft(text, numbered(items), items=tuple(items))


def sort(pools: Pools, size: int) -> Draft:
    """A list in alphabetical order, in its own form."""
    while True:
        items = pools.items(max(3, pools.rng.randint(size, size + 2)))
        ordered = sorted(items, key=str.lower)
        if ordered != items:
            break
    form = list_form(pools)
    return Draft(form(items), form(ordered), items=tuple(ordered))


def add_item(pools: Pools, size: int) -> Draft:
    """An item appended to a list in the list's own form."""
    *items, new = pools.items(max(3, size + 2))
    form = list_form(pools)
    return Draft(form(items), form([*items, new]), {"new": new}, quotable=True, items=(*items, new))


def remove_item(pools: Pools, size: int) -> Draft:
    """An item left out of a list, in the list's own form."""
    items = pools.items(max(3, size + 2))
    old = pools.rng.choice(items)
    left = [item for item in items if item != old]
    form = list_form(pools)
    return Draft(form(items), form(left), {"old": old}, quotable=True, items=tuple(left))


def merge(pools: Pools, size: int) -> Draft:
    """Two lists as one, in their own form."""
    items = pools.items(max(4, size + 3))
    middle = pools.rng.randint(2, len(items) - 2)
    form = list_form(pools)
    heads = pools.rng.choice(
        [("", ""), ("", ""), ("List 1:\n", "List 2:\n"), ("A:\n", "B:\n"), ("First:\n", "Second:\n")]
    )
    text = f"{heads[0]}{form(items[:middle])}\n\n{heads[1]}{form(items[middle:])}"
    return Draft(text, form(items), items=tuple(items))


def records(pools: Pools, num_records: int, num_fields: int) -> Rows:
    """Return a head of fields and rows of values."""
    fields = pools.rng.sample(FIELDS, num_fields)
    if pools.rng.random() < 0.2:  # what nobody has thought of
        fields[pools.rng.randrange(num_fields)] = pools.pick(pools.rng.choice([COMMON, OBJECTS]))
    if len(set(fields)) < num_fields:
        return records(pools, num_records, num_fields)
    if pools.rng.random() < 0.2:
        fields = [field.capitalize() for field in fields]
    return [fields, *([pools.value(field.lower()) for field in fields] for _ in range(num_records))]


def key_values(pools: Pools, rows: Rows) -> str:
    """Return one record as lines, or as one line with commas."""
    before, between = pools.rng.choice([("", "\n"), ("", "\n"), ("", "\n"), ("", ", "), ("- ", "\n")])
    mark = pools.rng.choice([": ", ": ", ": ", " = ", "="])
    return between.join(f"{before}{field}{mark}{value}" for field, value in zip(*rows, strict=True))


def join_rows(pools: Pools, rows: Rows) -> str:
    """Return rows as lines, all with the same separator."""
    separator = pools.rng.choice([", ", ","])
    return "\n".join(separator.join(row) for row in rows)


def blocks(pools: Pools, rows: Rows) -> str:
    """Return rows as records of `field: value` lines, an empty line between two."""
    mark = pools.rng.choice([": ", ": ", " = "])
    records = (
        "\n".join(f"{field}{mark}{value}" for field, value in zip(rows[0], row, strict=True)) for row in rows[1:]
    )
    return "\n\n".join(records)


def several_rows(pools: Pools, size: int) -> Rows:
    """Return a head and one to `size` + 1 rows of two to four values."""
    return records(pools, pools.rng.randint(1, size + 1), pools.rng.randint(2, 4))


def to_json(pools: Pools, size: int) -> Draft:
    """Records as JSON: an object for one, an array of objects for rows; plain numbers without quotes."""
    if pools.rng.random() < 0.6:
        rows = records(pools, 1, pools.rng.randint(2, min(size + 2, 7)))
        return Draft(key_values(pools, rows), json_text(objects_of(rows)[0]), rows=to_rows(rows))
    rows = several_rows(pools, size)
    form = pools.rng.choices([join_rows, lambda _, some: table_of(some), blocks], [5, 3, 3])[0]
    if form is blocks and len(rows) == 2:
        rows.append([pools.value(field.lower()) for field in rows[0]])
    return Draft(form(pools, rows), json_text(objects_of(rows)), rows=to_rows(rows))


def to_table(pools: Pools, size: int) -> Draft:
    """Rows with commas, JSON or one record as a markdown table."""
    kind = pools.rng.random()
    if kind < 0.2:
        rows = records(pools, 1, pools.rng.randint(2, min(size + 2, 5)))
        return Draft(key_values(pools, rows), table_of(rows), rows=to_rows(rows))
    rows = several_rows(pools, size)
    text = (
        join_rows(pools, rows) if kind < 0.75 else json_text(objects_of(rows)) if kind < 0.87 else blocks(pools, rows)
    )
    return Draft(text, table_of(rows), rows=to_rows(rows))


def to_csv(pools: Pools, size: int) -> Draft:
    """A table, JSON or one record as CSV."""
    kind = pools.rng.random()
    if kind < 0.2:
        rows = records(pools, 1, pools.rng.randint(2, min(size + 2, 5)))
        return Draft(key_values(pools, rows), csv_of(rows), rows=to_rows(rows))
    rows = several_rows(pools, size)
    text = table_of(rows) if kind < 0.6 else json_text(objects_of(rows)) if kind < 0.85 else blocks(pools, rows)
    return Draft(text, csv_of(rows), rows=to_rows(rows))


def to_lines(pools: Pools, size: int) -> Draft:
    """A JSON object, or one row of a table, as lines of field and value."""
    rows = records(pools, 1, pools.rng.randint(2, min(size + 2, 7)))
    kind = pools.rng.random()
    text = json_text(objects_of(rows)[0]) if kind < 0.7 else table_of(rows) if kind < 0.85 else join_rows(pools, rows)
    answer = "\n".join(f"{field}: {value}" for field, value in zip(*rows, strict=True))
    return Draft(text, answer, rows=to_rows(rows))


def extract(pools: Pools, size: int) -> Draft:
    """One field's value out of a record."""
    rows = records(pools, 1, pools.rng.randint(2, min(size + 2, 8)))
    index = pools.rng.randrange(len(rows[0]))
    kind = pools.rng.random()
    text = key_values(pools, rows) if kind < 0.7 else json_text(objects_of(rows)[0]) if kind < 0.9 else table_of(rows)
    return Draft(text, rows[1][index], {"key": rows[0][index]})


def to_rows(rows: Rows) -> tuple[tuple[str, ...], ...]:
    """Return rows that nobody can change."""
    return tuple(tuple(row) for row in rows)
