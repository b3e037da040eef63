"""Seeded, unlimited tasks whose answer repeats the input, wholly or with one change.

Every answer is computed, so that it can be checked exactly. Answers carry no preamble and no fence. `held_out`
tasks use wordings and words that no training task has. Knows nothing of tokens or training.

>>> task = make_task(random.Random(1), "numbered_list", size=3)
>>> task.family
'numbered_list'
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

import wordings
from pools import FIELDS, FOODS, OBJECTS, Pools
from python_code import Function, argument_value, write_call, write_function, write_snippet

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


@dataclass(frozen=True, slots=True)
class Draft:
    """A task before its wording: the input block, the answer and what the wording's fields say."""

    text: str
    answer: str
    fields: dict[str, str]
    function: Function | None = None
    items: tuple[str, ...] = ()


def ask(pools: Pools, family: str, draft: Draft) -> str:
    """Return the user's message: a wording joined with the input."""
    rng = pools.rng
    wording = rng.choice((wordings.HELD_OUT if pools.held_out else wordings.TRAIN)[family])
    fields = dict(draft.fields)
    if rng.random() < 0.35 and family in (
        "replace_word",
        "rename_variable",
        "quote",
        "add_item",
        "remove_item",
    ):
        mark = rng.choice(['"', "'", "`"])
        fields = {key: f"{mark}{value}{mark}" for key, value in fields.items()}
    if "{text}" in wording:
        return wording.format(text=draft.text, **fields)
    order = wording.format(**fields)
    one_line = "\n" not in draft.text
    if one_line and order.endswith(":") and rng.random() < 0.4:
        quoted = f'"{draft.text}"' if rng.random() < 0.2 and '"' not in draft.text else draft.text
        return f"{order} {quoted}"
    if "above" in order or rng.random() < 0.12:
        return f"{draft.text}\n\n{order.rstrip(':')}" + ("" if order[-1] in ".:?" else ".")
    if draft.function and rng.random() < 0.15:
        return f"{order}\n\n```python\n{draft.text}\n```"
    return f"{order}\n" + ("\n" if rng.random() < 0.75 else "") + draft.text


def make_list(pools: Pools, items: list[str]) -> str:
    """Return items as the user may write them: lines, dashes or one line with commas."""
    kind = pools.rng.random()
    if kind < 0.35:
        return "\n".join(f"- {item}" for item in items)
    return "\n".join(items) if kind < 0.65 else ", ".join(items)


def repeat(pools: Pools, size: int) -> Draft:
    """Any kind of text, said again."""
    kind = pools.rng.random()
    if kind < 0.5:
        text = pools.text(size)
    elif kind < 0.65:
        text = " ".join(pools.rng.choice([pools.pseudo_word, pools.random_code, pools.item])() for _ in range(2 * size))
    elif kind < 0.75:
        text = make_list(pools, pools.items(size + 1))
    elif kind < 0.9:
        text = write_function(pools, size).render()
    else:
        text = "\n".join(pools.sentence() for _ in range(size))
    return Draft(text, text, {})


def words_of(text: str) -> list[str]:
    """Return the distinct words of a text that a task may name."""
    return list(dict.fromkeys(re.findall(r"[A-Za-z]{3,}", text)))


def replace_whole(text: str, old: str, new: str) -> str:
    """Return the text with every whole word `old` replaced."""
    return re.sub(rf"\b{re.escape(old)}\b", lambda _: new, text)


def replace_word(pools: Pools, size: int) -> Draft:
    """One word replaced wherever it stands."""
    text = pools.text_to_edit(size)
    while not words_of(text):
        text = pools.text(size)
    old = pools.rng.choice(words_of(text))
    new = pools.pseudo_word() if pools.rng.random() < 0.3 else pools.pick(OBJECTS)
    new = new.capitalize() if old[0].isupper() else new
    return Draft(text, replace_whole(text, old, new), {"old": old, "new": new})


def rename_variable(pools: Pools, size: int) -> Draft:
    """A variable of a function renamed."""
    while True:
        function = write_snippet(pools) if size <= 2 and pools.rng.random() < 0.5 else write_function(pools, size)
        if function.used():
            break
    index = pools.rng.choice(function.used())
    new = next(name for name in pools.identifiers(8) if name not in function.names)
    fields = {"old": function.names[index], "new": new}
    return Draft(function.render(), function.render({index: new}), fields, function)


def change_argument(pools: Pools, size: int) -> Draft:
    """One keyword argument of a call given another value."""
    name, arguments = write_call(pools, pools.rng.randint(2, 2 + min(size, 4)))
    index = pools.rng.randrange(len(arguments))
    key, old = arguments[index]
    new = argument_value(pools)
    changed = [*arguments[:index], (key, new), *arguments[index + 1 :]]
    split = pools.rng.random() < 0.3
    target = f"{pools.identifier()} = " if pools.rng.random() < 0.4 else ""

    def render(pairs: list[tuple[str, str]]) -> str:
        if split:
            return f"{target}{name}(\n" + "".join(f"    {k}={v},\n" for k, v in pairs) + ")"
        return f"{target}{name}({', '.join(f'{k}={v}' for k, v in pairs)})"

    return Draft(render(arguments), render(changed), {"key": key, "old": old, "new": new})


def misspell(rng: random.Random, word: str) -> str:
    """Return the word with two letters exchanged, one dropped or one doubled."""
    place = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0 and word[place] != word[place + 1]:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return word[:place] + word[place + 1 :] if kind == 1 else word[: place + 1] + word[place:]


def fix_typo(pools: Pools, size: int) -> Draft:
    """A misspelled word, named with its correction, put right."""
    answer = pools.text_to_edit(size)
    while not (words := [word for word in words_of(answer) if len(word) > 3]):
        answer = pools.text(size)
    new = pools.rng.choice(words)
    old = misspell(pools.rng, new)
    return Draft(replace_whole(answer, new, old), answer, {"old": old, "new": new})


def list_draft(answer: Callable[[list[str]], str]) -> Callable[[Pools, int], Draft]:
    """Return a maker of tasks that write a list's items in another form."""

    def make(pools: Pools, size: int) -> Draft:
        items = pools.items(max(2, pools.rng.randint(size, size + 3)))
        text = make_list(pools, items)
        if answer(items) == text:
            text = "\n".join(items) if ", " in text else ", ".join(items)
        return Draft(text, answer(items), {}, items=tuple(items))

    return make


def numbered(items: list[str]) -> str:
    """Return items as a numbered list."""
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def add_item(pools: Pools, size: int) -> Draft:
    """An item appended to a list in the list's own form."""
    *items, new = pools.items(max(3, size + 2))
    state = pools.rng.getstate()
    text = make_list(pools, items)
    pools.rng.setstate(state)
    return Draft(text, make_list(pools, [*items, new]), {"new": new})


def remove_item(pools: Pools, size: int) -> Draft:
    """An item left out of a list, in the list's own form."""
    items = pools.items(max(3, size + 2))
    old = pools.rng.choice(items)
    state = pools.rng.getstate()
    text = make_list(pools, items)
    pools.rng.setstate(state)
    return Draft(text, make_list(pools, [item for item in items if item != old]), {"old": old})


def records(pools: Pools, num_records: int, num_fields: int) -> tuple[list[str], list[list[str]]]:
    """Return fields and rows of values."""
    fields = pools.rng.sample(FIELDS, num_fields)
    return fields, [[pools.value(field) for field in fields] for _ in range(num_records)]


def key_values(pools: Pools, fields: list[str], row: list[str]) -> str:
    """Return one record as lines, or as one line with commas."""
    separator = pools.rng.choice(["\n", "\n", "\n", ", "])
    mark = pools.rng.choice([": ", ": ", ": ", " = "])
    return separator.join(f"{field}{mark}{value}" for field, value in zip(fields, row, strict=True))


def comma_rows(fields: list[str], rows: list[list[str]]) -> str:
    """Return a head and rows with commas."""
    return "\n".join(", ".join(row) for row in [fields, *rows])


def to_json(pools: Pools, size: int) -> Draft:
    """Records as JSON: an object for one, an array of objects for rows; every value a string."""
    if pools.rng.random() < 0.6:
        fields, rows = records(pools, 1, pools.rng.randint(2, min(size + 2, 7)))
        data: object = dict(zip(fields, rows[0], strict=True))
        text = key_values(pools, fields, rows[0])
    else:
        fields, rows = records(pools, pools.rng.randint(1, size + 1), pools.rng.randint(2, 4))
        data = [dict(zip(fields, row, strict=True)) for row in rows]
        text = comma_rows(fields, rows)
    return Draft(text, json.dumps(data, indent=2), {})


def to_table(pools: Pools, size: int) -> Draft:
    """Rows with commas as a markdown table."""
    fields, rows = records(pools, pools.rng.randint(1, size + 1), pools.rng.randint(2, 4))
    lines = ["| " + " | ".join(row) + " |" for row in [fields, *rows]]
    lines.insert(1, "| " + " | ".join("---" for _ in fields) + " |")
    return Draft(comma_rows(fields, rows), "\n".join(lines), {})


def upper_case(pools: Pools, size: int) -> Draft:
    """Text in capitals."""
    text = pools.written_sentence() if size < 3 else pools.text(size // 2)
    return Draft(text, text.upper(), {})


def extract(pools: Pools, size: int) -> Draft:
    """One field's value out of a record."""
    fields, rows = records(pools, 1, pools.rng.randint(2, min(size + 2, 8)))
    index = pools.rng.randrange(len(fields))
    return Draft(key_values(pools, fields, rows[0]), rows[0][index], {"key": fields[index]})


def quote(pools: Pools, size: int) -> Draft:
    """The one sentence of a paragraph that holds a word."""
    sentences = list(dict.fromkeys(pools.sentence() for _ in range(size + 2)))
    text = " ".join(sentences)
    answer = pools.rng.choice(sentences)
    unique = [word for word in words_of(answer) if len(re.findall(rf"\b{word}\b", text)) == 1]
    if not unique:
        return quote(pools, size)
    return Draft(text, answer, {"old": pools.rng.choice(unique)})


MAKERS: dict[str, Callable[[Pools, int], Draft]] = {
    "repeat": repeat,
    "replace_word": replace_word,
    "rename_variable": rename_variable,
    "change_argument": change_argument,
    "fix_typo": fix_typo,
    "numbered_list": list_draft(numbered),
    "bullet_list": list_draft(lambda items: "\n".join(f"- {item}" for item in items)),
    "comma_list": list_draft(", ".join),
    "to_json": to_json,
    "to_json_list": list_draft(lambda items: json.dumps(items, indent=2)),
    "to_table": to_table,
    "upper_case": upper_case,
    "sort": list_draft(lambda items: "\n".join(sorted(items, key=str.lower))),
    "extract": extract,
    "quote": quote,
    "add_item": add_item,
    "remove_item": remove_item,
}
# Copying makes the model useful; capitals and sorting are beyond its size and get little.
SHARES = {
    "repeat": 3,
    "replace_word": 4,
    "rename_variable": 5,
    "change_argument": 3,
    "fix_typo": 3,
    "to_json": 3,
    "upper_case": 0.7,
    "sort": 0.7,
}
FAMILIES = tuple(MAKERS)
EDITS = ("replace_word", "rename_variable", "change_argument", "fix_typo", "add_item", "remove_item")


def follow_up(pools: Pools, family: str, draft: Draft) -> tuple[str, str] | None:
    """Return a second question about the first answer, and its answer; None where none fits."""
    rng, answer = pools.rng, draft.answer
    kind = rng.choice(list(wordings.FOLLOW_UPS))
    fields: dict[str, str] = {}
    if kind == "again":
        second = answer
    elif kind == "rename_variable" and family == kind and draft.function:
        left = [i for i in draft.function.used() if draft.function.names[i] != draft.fields["old"]]
        if not left:
            return None
        old = draft.function.names[rng.choice(left)]
        taken = {*draft.function.names, draft.fields["new"]}
        fields = {"old": old, "new": next(name for name in pools.identifiers(9) if name not in taken)}
        renamed = {draft.function.names.index(old): fields["new"]}
        second = draft.function.render(renamed | {draft.function.names.index(draft.fields["old"]): draft.fields["new"]})
    elif kind == "replace_word" and family not in ("rename_variable", "upper_case") and words_of(answer):
        fields = {"old": rng.choice(words_of(answer)), "new": pools.pick(FOODS)}
        second = replace_whole(answer, fields["old"], fields["new"])
    elif kind == "add_item" and draft.items and family in ("numbered_list", "bullet_list", "comma_list"):
        fields = {"new": pools.pick(FOODS)}
        mark = {"numbered_list": f"\n{len(draft.items) + 1}. ", "bullet_list": "\n- ", "comma_list": ", "}[family]
        second = answer + mark + fields["new"]
    elif kind == "upper_case" and len(answer) < 80 and rng.random() < 0.3:
        second = answer.upper()
    else:
        return None
    return rng.choice(wordings.FOLLOW_UPS[kind]).format(**fields), second


def make_task(
    rng: random.Random,
    family: str | None = None,
    size: int = 3,
    held_out: bool = False,
    sentences: tuple[str, ...] = (),
    turns: int | None = None,
) -> Task:
    """Return one task; `size` counts sentences, items or lines, and `turns` may force one or two."""
    if family is None:
        family = rng.choices(FAMILIES, [SHARES.get(name, 2) for name in FAMILIES])[0]
    pools = Pools(rng, held_out, sentences)
    draft = MAKERS[family](pools, size)
    messages = [("user", ask(pools, family, draft)), ("assistant", draft.answer)]
    if turns == 2 or (turns is None and rng.random() < 0.12):
        second = follow_up(pools, family, draft)
        if second:
            messages += [("user", second[0]), ("assistant", second[1])]
    return Task(family, tuple({"role": role, "content": content} for role, content in messages))
