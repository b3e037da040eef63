"""Tasks whose answer is the input with one change: texts and code. Knows no wording."""

from __future__ import annotations

import random
import re

from generator.draft import Draft
from generator.forms import make_list
from generator.lines import document
from generator.pools import COMMON, OBJECTS, Pools
from generator.python_code import argument_value, write_call, write_function, write_snippet
from generator.real_code import write_piece

ORDINALS = ("first", "second", "third", "fourth")
CASES = {
    "upper": ("upper case", "uppercase", "capitals", "capital letters", "all caps", "upper-case letters", "CAPITALS"),
    "lower": ("lower case", "lowercase", "small letters", "lower-case letters"),
    "title": ("title case", "Title Case"),
}
CASES_HELD_OUT = {"upper": ("block capitals", "UPPER CASE"), "lower": ("lower-case",), "title": ("Title case",)}


def any_text(pools: Pools, size: int) -> str:
    """Return prose, random words and codes, a list, code or lines."""
    kind = pools.rng.random()
    if kind < 0.35:
        return pools.text(size)
    if kind < 0.5:
        return document(pools, size)
    if kind < 0.62:
        makers = [pools.pseudo_word, pools.random_code, pools.item, pools.identifier, pools.url]
        return " ".join(pools.rng.choice(makers)() for _ in range(2 * size))
    if kind < 0.67:
        return pools.plain_words(pools.rng.randint(2, 4 + 4 * size))
    if kind < 0.77:
        return make_list(pools, pools.items(size + 1))
    if kind < 0.9:
        return (write_piece(pools) if pools.rng.random() < 0.5 else write_function(pools, size)).render()
    return "\n".join(pools.sentence() for _ in range(size))


def repeat(pools: Pools, size: int) -> Draft:
    """Any kind of text, said again."""
    text = any_text(pools, size)
    return Draft(text, text)


def words_of(text: str) -> list[str]:
    """Return the distinct words of a text that a task may name."""
    return list(dict.fromkeys(re.findall(r"(?<![\w/.@-])[A-Za-z]{3,}(?![\w/@-])", text)))


def replace_whole(text: str, old: str, new: str) -> str:
    """Return the text with every whole word `old` replaced."""
    return re.sub(rf"\b{re.escape(old)}\b", lambda _: new, text)


def repeat_change(pools: Pools, size: int) -> Draft:
    """A number, time, name or code of a text exchanged for another of its kind."""
    rng = pools.rng
    while True:
        text = pools.text(size) if rng.random() < 0.6 else any_text(pools, size)
        found = re.findall(r"(?<![\w/.:-])(?:[A-Z][a-z]{2,}|[\w.:@-]*\d[\w.:@-]*\w|\d)(?![\w/:-])", text)
        if found:
            break
        size += 1
    old = rng.choice(found)
    new = old
    while new == old:
        if old.isdigit():
            new = str(rng.randint(1, 10 ** len(old)))
        elif ":" in old:
            new = f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}"
        elif old.isalpha():
            new = pools.full_name() if rng.random() < 0.1 else pools.pseudo_word().capitalize()
        else:
            new = pools.random_code()
    return Draft(text, replace_whole(text, old, new), {"old": old, "new": new}, quotable=True)


def replace_word(pools: Pools, size: int) -> Draft:
    """One word replaced wherever it stands; at times made to stand in several places."""
    rng = pools.rng
    text = pools.text_to_edit(size) if rng.random() < 0.65 else any_text(pools, size)
    while not words_of(text):
        text = pools.text(size)
    old = rng.choice(words_of(text))
    if rng.random() < 0.15:
        words = text.split(" ")
        for _ in range(rng.randint(1, 2)):
            words.insert(rng.randint(0, len(words)), old)
        text = " ".join(words)
    new = pools.pseudo_word() if rng.random() < 0.3 else pools.pick(rng.choice([OBJECTS, COMMON]))
    new = new.capitalize() if old[0].isupper() else new
    if rng.random() < 0.05 or new == old:
        new = f"{new} {pools.pick(OBJECTS)}"
    return Draft(text, replace_whole(text, old, new), {"old": old, "new": new}, quotable=True)


def list_pairs(pools: Pools, pairs: list[tuple[str, str]], templates: list[str]) -> str:
    """Return pairs as a person lists them."""
    template = pools.rng.choice(templates)
    return pools.rng.choice([", ", ", ", "; ", " and "]).join(template.format(*pair) for pair in pairs)


def replace_words(pools: Pools, size: int) -> Draft:
    """Two or three words replaced, which often stand several times in a few words."""
    rng = pools.rng
    num_pairs = rng.randint(2, 3)
    kind = rng.choice([lambda: pools.pick(COMMON), lambda: pools.pick(OBJECTS), pools.item, pools.identifier])
    if rng.random() < 0.3:
        text, olds = text_with_words(pools, size, num_pairs)
        words = re.split(r"(\w+)", text)
    else:
        olds = pools.several(COMMON, num_pairs)
        words = [*olds, *(rng.choice([*olds, kind()]) for _ in range(2 * size + 1))]
        rng.shuffle(words)
        words = re.split(r"(\w+)", rng.choice([" ", " ", ", ", "\n"]).join(words))
    news = [pools.pick(OBJECTS) if rng.random() < 0.7 else pools.pseudo_word() for _ in olds]
    exchange = dict(zip(olds, news, strict=True))
    answer = "".join(exchange.get(word, word) for word in words)
    templates = ["{} -> {}", "{} with {}", "{} by {}", '"{}" by "{}"', "{} → {}", "{} = {}", "{} to {}"]
    return Draft("".join(words), answer, {"pairs": list_pairs(pools, list(exchange.items()), templates)})


def rename_variable(pools: Pools, size: int) -> Draft:
    """A variable of a function renamed."""
    while True:
        if pools.rng.random() < 0.5:
            function = write_piece(pools)
        elif size <= 2 and pools.rng.random() < 0.5:
            function = write_snippet(pools)
        else:
            function = write_function(pools, size)
        if function.used():
            break
    index = pools.rng.choice(function.used())
    new = next(name for name in pools.identifiers(8) if name not in function.names)
    fields = {"old": function.names[index], "new": new}
    return Draft(
        function.render(), function.render({index: new}), fields, quotable=True, function=function, is_code=True
    )


def change_argument(pools: Pools, size: int) -> Draft:
    """One keyword argument of a call given another value."""
    name, arguments = write_call(pools, pools.rng.randint(2, 2 + min(size, 4)))
    index = pools.rng.randrange(len(arguments))
    key, old = arguments[index]
    new = argument_value(pools)
    changed = [*arguments[:index], (key, new), *arguments[index + 1 :]]
    is_split = pools.rng.random() < 0.3
    target = f"{pools.identifier()} = " if pools.rng.random() < 0.4 else ""
    other = write_snippet(pools).render() if pools.rng.random() < 0.2 else ""

    def render(pairs: list[tuple[str, str]]) -> str:
        if is_split:
            call = f"{target}{name}(\n" + "".join(f"    {k}={v},\n" for k, v in pairs) + ")"
        else:
            call = f"{target}{name}({', '.join(f'{k}={v}' for k, v in pairs)})"
        return f"{other}\n{call}" if other else call

    return Draft(render(arguments), render(changed), {"key": key, "old": old, "new": new}, is_code=True)


def change_position(pools: Pools, size: int) -> Draft:
    """One argument of a call, named by its place, given another value."""
    name = pools.function_name()
    values = [argument_value(pools) for _ in range(pools.rng.randint(2, min(4, size + 1)))]
    index = pools.rng.randrange(len(values))
    new = argument_value(pools)
    target = f"{pools.identifier()} = " if pools.rng.random() < 0.4 else ""
    text = f"{target}{name}({', '.join(values)})"
    answer = f"{target}{name}({', '.join([*values[:index], new, *values[index + 1 :]])})"
    return Draft(text, answer, {"key": ORDINALS[index], "new": new}, is_code=True)


def misspell(rng: random.Random, word: str) -> str:
    """Return the word with two letters exchanged, one dropped, one doubled or one wrong."""
    place = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0 and word[place] != word[place + 1]:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == 3:
        return word[:place] + rng.choice("aeiourstln".replace(word[place], "")) + word[place + 1 :]
    return word[:place] + word[place + 1 :] if kind == 1 else word[: place + 1] + word[place:]


def text_with_words(pools: Pools, size: int, num_words: int) -> tuple[str, list[str]]:
    """Return a text and so many of its words of four letters and more."""
    text = document(pools, size) if pools.rng.random() < 0.25 else pools.text_to_edit(size)
    while len(words := [word for word in words_of(text) if len(word) > 3]) < num_words:
        size += 1
        text = pools.text(size)
    return text, pools.rng.sample(words, num_words)


def spoil(pools: Pools, answer: str, words: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """Return the text with the words misspelled, and pairs of wrong and right."""
    text, pairs = answer, []
    for new in words:
        old = misspell(pools.rng, new)
        while old in words_of(text):
            old = misspell(pools.rng, new) + pools.rng.choice("aeiou")
        text = replace_whole(text, new, old)
        pairs.append((old, new))
    return text, pairs


def fix_typo(pools: Pools, size: int) -> Draft:
    """A misspelled word, named with its correction, put right."""
    answer, words = text_with_words(pools, size, 1)
    text, [(old, new)] = spoil(pools, answer, words)
    return Draft(text, answer, {"old": old, "new": new}, quotable=True)


def fix_typos(pools: Pools, size: int) -> Draft:
    """Two or three misspelled words, listed with their corrections, put right."""
    rng = pools.rng
    answer, words = text_with_words(pools, size, rng.randint(2, 3))
    text, pairs = spoil(pools, answer, words)
    templates = ["{} -> {}", "{} should be {}", '"{}" should be "{}"', "{} to {}", "{} = {}", "{} → {}"]
    return Draft(text, answer, {"pairs": list_pairs(pools, pairs, templates)})


def to_case(text: str, case: str) -> str:
    """Return the text in "upper", "lower" or "title" case.

    >>> to_case("the Old mill's 2nd door", "title")
    "The Old Mill's 2nd Door"
    """
    if case == "title":
        return re.sub(r"(?<![\w'])[a-z]", lambda match: match[0].upper(), text)
    return text.upper() if case == "upper" else text.lower()


def change_case(pools: Pools, size: int) -> Draft:
    """Text in capitals, in small letters, or with capitals at the words' beginnings."""
    rng = pools.rng
    case = rng.choices(["upper", "lower", "title"], [6, 2, 2])[0]
    kind = rng.random()
    if kind < 0.35:
        text = pools.text(max(1, size // 2))
    elif kind < 0.45:
        text = document(pools, max(1, size // 2))
    elif kind < 0.7:
        text = pools.plain_words(rng.randint(1, 3 + 2 * size))
    elif kind < 0.85:
        text = ", ".join(pools.items(size + 1))
    else:
        text = pools.short_text()
    if case == "lower" and rng.random() < 0.5:
        text = to_case(text, rng.choice(["upper", "title"]))
    names = (CASES_HELD_OUT if pools.held_out else CASES)[case]
    return Draft(text, to_case(text, case), {"case": rng.choice(names)})
