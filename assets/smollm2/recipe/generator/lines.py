"""Tasks on lines, lists and facts: count, pick, order anew, wrap, find. Knows no wording."""

from __future__ import annotations

import re
from collections.abc import Callable

from generator.draft import Draft
from generator.forms import csv_of, join_rows, list_form, records, table_of
from generator.pools import FIRST_NAMES, FOODS, MONTHS, OBJECTS, WEEKDAYS, Pools

FUNCTION_WORDS = frozenset(  # nobody looks for a sentence by these
    re.findall(
        r"\w+",
        "about after again also another because been before being between both could does down each ever "
        "every from have here into just like many more most much never next only other over same should some "
        "such than that their them then there these they this those through under until very want were what "
        "when where which while will with would your ",
    )
)
LEVELS = ("INFO", "WARNING", "ERROR", "DEBUG")
GREETINGS = ("Hi", "Hello", "Dear", "Hey", "Good morning")
CLOSINGS = ("Best", "Thanks", "Cheers", "Kind regards", "See you", "Best wishes", "Many thanks")


def log(pools: Pools, size: int) -> str:
    """Return lines of a log."""
    rng = pools.rng
    day = pools.value("date")
    return "\n".join(
        f"{day} {rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}:{rng.randint(0, 59):02d} {rng.choice(LEVELS)} "
        f"{pools.pick(OBJECTS)} {rng.choice(['started', 'failed', 'stopped', 'is ready', 'timed out', 'was saved'])}"
        for _ in range(size + 1)
    )


def timetable(pools: Pools, size: int) -> str:
    """Return times with what is then."""
    rng = pools.rng
    return "\n".join(
        f"{rng.randint(6, 21)}:{rng.choice(['00', '15', '30', '45'])} {rng.choice(['- ', '', ': '])}{pools.item()}"
        for _ in range(size + 1)
    )


def mail(pools: Pools, size: int) -> str:
    """Return a short mail."""
    rng = pools.rng
    body = " ".join(pools.sentence() for _ in range(max(1, size)))
    greeting = f"{rng.choice(GREETINGS)} {pools.pick(FIRST_NAMES)},"
    return f"{greeting}\n\n{body}\n\n{rng.choice(CLOSINGS)},\n{pools.pick(FIRST_NAMES)}"


def note(pools: Pools, size: int) -> str:
    """Return lines as people keep them for themselves."""
    rng = pools.rng
    makers: tuple[Callable[[], str], ...] = (
        lambda: f"call {pools.pick(FIRST_NAMES)} at {rng.randint(1, 12)}{rng.choice(['am', 'pm', ''])}",
        lambda: f"buy {rng.randint(2, 12)} {pools.pick(FOODS)}",
        lambda: f"{pools.item()} - {pools.value('price')}",
        lambda: f"{rng.choice(WEEKDAYS)}: {pools.item()}",
        lambda: f"pay {pools.value('price')} by {rng.randint(1, 28)} {rng.choice(MONTHS)}",
        lambda: pools.clause().lower(),
        lambda: f"{pools.pick(FIRST_NAMES)}: {pools.value('phone')}",
    )
    mark = rng.choice(["", "", "- ", "* "])
    return "\n".join(mark + rng.choice(makers)() for _ in range(size + 1))


def document(pools: Pools, size: int) -> str:
    """Return a log, a timetable, a mail or a note."""
    return pools.rng.choice([log, timetable, mail, note])(pools, size)


UNITS: dict[str, Callable[[str], int]] = {
    "lines": lambda text: len(text.split("\n")),
    "items": lambda text: len(re.split(r"\n|, ", text)),
    "words": lambda text: len(text.split()),
}


def count(pools: Pools, size: int) -> Draft:
    """The number of lines, items or words."""
    rng = pools.rng
    unit = rng.choices(list(UNITS), [5, 4, 1])[0]
    number = rng.randint(2, 3 + size)
    if unit == "words":
        text = pools.plain_words(number) if rng.random() < 0.5 else pools.written_sentence()
    elif unit == "items":
        items = pools.items(number)
        text = rng.choice(["\n".join, ", ".join])(items)
    else:
        text = rng.choice([log, timetable, note])(pools, number)
    return Draft(text, str(UNITS[unit](text)), {"unit": unit})


def pick_items(pools: Pools, size: int) -> Draft:
    """The first or last few items of a list, in its own form."""
    items = pools.items(max(4, size + 3))
    number = pools.rng.randint(2, len(items) - 1)
    form = pools.rng.choice(["\n".join, ", ".join, lambda some: "\n".join(f"- {item}" for item in some)])
    end = pools.rng.choice(["first", "last"])
    left = items[:number] if end == "first" else items[-number:]
    words = ["", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    named = words[number - 1] if number <= 9 and pools.rng.random() < 0.6 else str(number)
    return Draft(form(items), form(left), {"some": f"{end} {named}"}, items=tuple(left))


def reverse(pools: Pools, size: int) -> Draft:
    """A list from its end to its beginning."""
    items = pools.items(max(3, size + 2))
    form = pools.rng.choice(["\n".join, ", ".join, lambda some: "\n".join(f"- {item}" for item in some)])
    return Draft(form(items), form(items[::-1]), items=tuple(items[::-1]))


def unique(pools: Pools, size: int) -> Draft:
    """A list with what is said twice left out, each item at its first place."""
    rng = pools.rng
    items = pools.items(max(3, size + 1))
    many = list(items)
    for _ in range(rng.randint(1, 3)):
        many.insert(rng.randint(1, len(many)), rng.choice(items))
    once = list(dict.fromkeys(many))
    form = list_form(pools) if rng.random() < 0.8 else ", ".join
    return Draft(form(many), form(once), items=tuple(once))


def find_lines(pools: Pools, size: int) -> Draft:
    """The lines that hold a word."""
    while True:
        text = pools.rng.choice([log, note])(pools, size + 2)
        words = [
            word
            for word in re.findall(r"(?<![\w.:-])[A-Za-z]{4,}(?![\w.:-])", text)
            if word.lower() not in FUNCTION_WORDS
        ]
        if not words:
            continue
        word = pools.rng.choice(words)
        lines = text.split("\n")
        found = [line for line in lines if re.search(rf"\b{word}\b", line, re.IGNORECASE)]
        if len(found) < len(lines):
            return Draft(text, "\n".join(found), {"old": word}, quotable=True)


def wrap(pools: Pools, size: int) -> Draft:
    """Every item in quotes, or with a word or sign in front."""
    rng = pools.rng
    items = pools.items(max(2, size + 1))
    form = rng.choice(["\n".join, ", ".join])
    how = rng.choice(["quotes", "start", "end"])
    if how == "quotes":
        mark = rng.choice(['"', "'"])
        order = {"how": f"{'double' if mark == chr(34) else 'single'} quotes around each item"}
        changed = [f"{mark}{item}{mark}" for item in items]
    else:
        sign = rng.choice(["> ", "[ ] ", "Note: ", "* ", "x_"] if how == "start" else [";", "!", " (ok)", ","])
        order = {
            "how": f'"{sign.strip()}" at the {how} of each {"line" if form("ab") == "a" + chr(10) + "b" else "item"}'
        }
        changed = [f"{sign}{item}" if how == "start" else f"{item}{sign}" for item in items]
    return Draft(form(items), form(changed), order)


def column(pools: Pools, size: int) -> Draft:
    """All values of one field, a line each."""
    rows = records(pools, pools.rng.randint(2, size + 2), pools.rng.randint(2, 4))
    index = pools.rng.randrange(len(rows[0]))
    write = pools.rng.choice([csv_of, table_of, lambda some: join_rows(pools, some)])
    return Draft(write(rows), "\n".join(row[index] for row in rows[1:]), {"key": rows[0][index]})


def find_all(pools: Pools, size: int) -> Draft:
    """All addresses, times, prices, dates or numbers of a text, a line each."""
    rng = pools.rng
    kinds: dict[str, Callable[[], str]] = {
        "email addresses": lambda: pools.value("email"),
        "phone numbers": lambda: pools.value("phone"),
        "dates": lambda: pools.value("date"),
        "names": pools.full_name,
        "file names": pools.file_name,
        "links": pools.url,
    }
    kind = rng.choice(list(kinds))
    made = [kinds[kind]() for _ in range(rng.randint(1, min(4, size + 1)))]
    frames = [
        "{} is the first.",
        "Then there is {}.",
        "Ask about {} too.",
        "I also found {} yesterday.",
        "See {} as well.",
    ]
    rng.shuffle(frames)
    sentences = [frame.format(value) for frame, value in zip(frames, made, strict=False)]
    for _ in range(rng.randint(0, size)):
        sentences.insert(rng.randint(0, len(sentences)), f"The {pools.pick(OBJECTS)} is in the {pools.pick(OBJECTS)}.")
    return Draft(" ".join(sentences), "\n".join(made), {"kind": kind})


def remove_line(pools: Pools, size: int) -> Draft:
    """A text without the sentence or line that holds a word."""
    rng = pools.rng
    while True:
        sentences = list(dict.fromkeys(pools.sentence() for _ in range(size + 2)))
        index = rng.randrange(len(sentences))
        mark = rng.choice([" ", "\n"])
        text = mark.join(sentences)
        words = [
            word
            for word in re.findall(r"(?<![\w/.@-])[A-Za-z]{4,}(?![\w/@-])", sentences[index])
            if word.lower() not in FUNCTION_WORDS and len(re.findall(rf"\b{word}\b", text, re.IGNORECASE)) == 1
        ]
        if words and len(sentences) > 1:
            left = mark.join(sentences[:index] + sentences[index + 1 :])
            what = "line" if mark == "\n" else "sentence"
            return Draft(text, left, {"old": rng.choice(words), "what": what})
