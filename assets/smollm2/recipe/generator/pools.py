"""Words, names, identifiers and random strings that the tasks are written with.

Every pool is split by a hash of the word: one in eight is held out and used by no training task, so that
evaluation meets words which the tasks never showed. Knows nothing of tasks or wordings.
"""

from __future__ import annotations

import json
import keyword
import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WORDS: dict[str, list[str]] = json.loads((Path(__file__).parent / "words.json").read_text(encoding="utf-8"))
FIRST_NAMES = WORDS["first_names"]
SURNAMES = WORDS["surnames"]
CITIES = WORDS["cities"]
COUNTRIES = WORDS["countries"]
FOODS = WORDS["foods"]
OBJECTS = WORDS["objects"]
ANIMALS = WORDS["animals"]
ADJECTIVES = WORDS["adjectives"]
PAST_VERBS = WORDS["past_verbs"]
PLACES = WORDS["places"]
CONNECTIVES = WORDS["connectives"]
JOBS = WORDS["jobs"]
COLOURS = WORDS["colours"]
NOUN_IDENTIFIERS = WORDS["noun_identifiers"]
VERB_IDENTIFIERS = WORDS["verb_identifiers"]
MODULES = WORDS["modules"]
FIELDS = WORDS["fields"]
STATUSES = WORDS["statuses"]
SYLLABLES = WORDS["syllables"]
COMMON = (Path(__file__).parent / "common_words.txt").read_text(encoding="utf-8").split()
COMMON_IDENTIFIERS = [word for word in COMMON if not keyword.iskeyword(word)]
SHORT_NAMES = (*"ijknxysabcfdtpmvw", "tmp", "res", "val", "idx", "arr", "num", "cnt", "acc", "lst", "obj", "out", "err")
TO_DO = ("call", "buy", "clean", "write to", "pay", "fix", "visit", "book", "return", "pick up", "wash", "feed", "ask")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "March", "April", "May", "June", "July", "August", "October", "November", "December")
NOTICES = (  # sentences about facts: what people keep in notes, mails and tables
    "The {object} leaves at {time} from {place} {number}.",
    "Invoice {code} for {price} euros is due on {date}.",
    "Please contact {person} at {email}.",
    "{person} lives in {city} and works as a {job}.",
    "Visit {url} for details.",
    "The {job} of {city} opens on {weekday} at {time}.",
    "Your order {code} of {number} {food} has arrived.",
    "Call {phone} before {time} to book a {object}.",
    "The meeting with {person} is on {weekday}, {day} {month}.",
    "Flight {code} to {city} leaves from gate {number}.",
    "Room {number} is booked for {person} until {time}.",
    "We need {number} {food}, {number} {food} and a {adjective} {object}.",
    "The {adjective} {object} costs {price} in {city}.",
    "{name}, {name} and {name} bought {number} {food}.",
    'The sign says "{word} {word} {object}".',
    "On {day} {month} the temperature in {city} was {number} degrees.",
    "Send {number} copies of {code} to {person}, {number} {word} Street, {city}.",
    "The password is {code} and the user is {word}.",
    "Is the {object} {adjective} or {adjective}?",
    "{name} asked: where is the {adjective} {object}?",
    "From {city} to {city} it is {number} km.",
    "Version {version} was released in {month} {year}.",
    "Do not leave the {object} {place}!",
    "Every {weekday} {name} teaches {number} students {place}.",
    "My {animal} likes {food} and {food}, but not {food}.",
    "The file {file} has {number} lines.",
)


def is_held_out(word: str) -> bool:
    """Say whether a pool's word belongs to evaluation; stable over runs and machines."""
    return zlib.crc32(word.encode()) % 8 == 0


@dataclass(slots=True)
class Pools:
    """Draws words of one split, from a generator of its own.

    `sentences` are whole sentences of natural text to mix in; without them the grammar writes all.
    """

    rng: random.Random
    held_out: bool = False
    sentences: tuple[str, ...] = ()

    def pick(self, pool: list[str]) -> str:
        """Return a word of the pool's split, or any word where the split holds none."""
        for _ in range(100):
            word = self.rng.choice(pool)
            if is_held_out(word) == self.held_out:
                break
        return word

    def several(self, pool: list[str], num_words: int) -> list[str]:
        """Return distinct words; fewer where the split holds fewer."""
        available = [word for word in pool if is_held_out(word) == self.held_out]
        return self.rng.sample(available, min(num_words, len(available)))

    def pseudo_word(self) -> str:
        """Return a pronounceable word that means nothing."""
        return "".join(self.rng.choice(SYLLABLES) for _ in range(self.rng.randint(2, 4)))

    def random_code(self) -> str:
        """Return a string such as `QX-4821`, `7f3a9c` or `93417`."""
        kind = self.rng.randrange(4)
        if kind == 0:
            letters = "".join(self.rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(self.rng.randint(2, 3)))
            return f"{letters}-{self.rng.randint(10, 9999)}"
        if kind == 1:
            return "".join(self.rng.choice("0123456789abcdef") for _ in range(self.rng.randint(6, 12)))
        if kind == 2:
            return str(self.rng.randint(100, 9_999_999))
        return "".join(self.rng.choice("abcdefghijkmnpqrstuvwxyzABCDEFGHKLMNPQRST23456789") for _ in range(8))

    def full_name(self) -> str:
        """Return a first name and a surname."""
        surname = self.pick(SURNAMES) if self.rng.random() < 0.8 else self.pseudo_word().capitalize()
        return f"{self.pick(FIRST_NAMES)} {surname}"

    def identifier(self) -> str:
        """Return a Python identifier: a word, two joined, or an invented one."""
        kind = self.rng.random()
        if kind < 0.4:
            return self.pick(NOUN_IDENTIFIERS)
        if kind < 0.55:
            return self.pick(COMMON_IDENTIFIERS)
        if kind < 0.65:
            return f"{self.pick(COMMON)}_{self.pick(COMMON)}"
        if kind < 0.75:
            return f"{self.pick(NOUN_IDENTIFIERS)}_{self.pick(OBJECTS)}"
        if kind < 0.85:
            return f"{self.pick(ADJECTIVES)}_{self.pick(NOUN_IDENTIFIERS)}"
        if kind < 0.89:
            return f"{self.pick(OBJECTS)}{self.rng.randint(1, 9)}"
        if kind < 0.95:
            return self.rng.choice(SHORT_NAMES)
        return self.pseudo_word()

    def identifiers(self, num: int) -> list[str]:
        """Return distinct identifiers."""
        found: dict[str, None] = {}
        while len(found) < num:
            found[self.identifier()] = None
        return list(found)

    def function_name(self) -> str:
        """Return a name for a function."""
        if self.rng.random() < 0.1:
            return self.pseudo_word()
        return f"{self.pick(VERB_IDENTIFIERS)}_{self.identifier()}"

    def value(self, field: str) -> str:
        """Return a plausible value, as text, for a record's field."""
        rng = self.rng
        pools = {"city": CITIES, "country": COUNTRIES, "job": JOBS, "color": COLOURS, "status": STATUSES}
        if field in pools:
            return self.pick(pools[field])
        if field in ("name", "author", "owner"):
            return self.full_name() if rng.random() < 0.5 else self.pick(FIRST_NAMES)
        if field in ("age", "quantity", "level", "score", "weight"):
            return str(rng.randint(1, 99))
        if field == "phone":
            return f"555-{rng.randint(1000, 9999)}"
        if field == "email":
            return f"{self.pick(FIRST_NAMES).lower()}@{self.pseudo_word()}.com"
        if field == "price":
            return f"{rng.randint(1, 300)}.{rng.randint(0, 99):02d}"
        if field == "date":
            return f"20{rng.randint(10, 30)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        if field == "year":
            return str(rng.randint(1900, 2030))
        if field in ("id", "code", "model"):
            return self.random_code()
        if field in ("website", "path"):
            return self.url() if field == "website" else self.file_name()
        if field == "version":
            return self.version()
        if field in ("birthday", "deadline"):
            return f"{rng.randint(1, 28)} {rng.choice(MONTHS)}"
        if field in ("ticket", "invoice", "flight", "zip", "username"):
            return self.random_code()
        if field in ("height", "width", "length", "capacity", "floor", "room", "gate", "stock", "total", "discount"):
            return str(rng.randint(1, 2000))
        if field in ("destination", "origin", "venue"):
            return self.pick(CITIES)
        if field in ("teacher", "supplier"):
            return self.full_name()
        if field == "street":
            return f"{rng.randint(1, 200)} {self.pseudo_word().capitalize()} Street"
        return self.pick(OBJECTS) if rng.random() < 0.6 else f"{self.pick(ADJECTIVES)} {self.pick(OBJECTS)}"

    def item(self) -> str:
        """Return a short thing for a list."""
        kind = self.rng.random()
        if kind < 0.25:
            return self.pick(FOODS)
        if kind < 0.4:
            return self.pick(OBJECTS)
        if kind < 0.55:
            return f"{self.pick(ADJECTIVES)} {self.pick(OBJECTS)}"
        if kind < 0.65:
            return self.pick(ANIMALS)
        if kind < 0.75:
            return self.pick(CITIES)
        if kind < 0.85:
            return self.full_name() if self.rng.random() < 0.5 else self.pick(FIRST_NAMES)
        if kind < 0.89:
            return self.pseudo_word()
        if kind < 0.93:
            return self.plain_words(self.rng.randint(1, 4))
        return self.random_code() if self.rng.random() < 0.8 else self.file_name()

    def items(self, num: int) -> list[str]:
        """Return distinct items of a list, most often of one kind."""
        if self.rng.random() < 0.5:
            pool = self.rng.choice([FOODS, OBJECTS, ANIMALS, CITIES, COUNTRIES, FIRST_NAMES, ADJECTIVES, JOBS, COMMON])
            chosen = self.several(pool, num)
            if len(chosen) == num:
                return chosen
        if self.rng.random() < 0.08:
            return [str(number) for number in self.rng.sample(range(1000), num)]
        found: dict[str, None] = {}
        make = self.item if self.rng.random() < 0.8 else self.thing_to_do
        while len(found) < num:
            found[make()] = None
        return list(found)

    def thing_to_do(self) -> str:
        """Return an item of a list of things to do."""
        rng = self.rng
        verb = self.pick(VERB_IDENTIFIERS) if rng.random() < 0.3 else rng.choice(TO_DO)
        what = rng.choice([self.pick(OBJECTS), f"the {self.pick(OBJECTS)}", self.pick(FIRST_NAMES), self.pick(FOODS)])
        return f"{verb} {what}{rng.choice(['', '', f' {rng.choice(PLACES)}', f' on {rng.choice(WEEKDAYS)}'])}"

    def sentence(self) -> str:
        """Return a sentence: natural text where there is some, else the grammar's or a notice."""
        if self.sentences and self.rng.random() < 0.5:
            return self.rng.choice(self.sentences)
        return self.written_sentence() if self.rng.random() < 0.6 else self.notice()

    def notice(self) -> str:
        """Return a sentence with names, numbers, times, addresses or codes."""
        pick, rng = self.pick, self.rng
        makers: dict[str, Callable[[], str]] = {
            "object": lambda: pick(OBJECTS),
            "adjective": lambda: pick(ADJECTIVES),
            "animal": lambda: pick(ANIMALS),
            "food": lambda: pick(FOODS),
            "job": lambda: pick(JOBS),
            "city": lambda: pick(CITIES),
            "name": lambda: pick(FIRST_NAMES),
            "place": lambda: rng.choice(PLACES),
            "weekday": lambda: rng.choice(WEEKDAYS),
            "month": lambda: rng.choice(MONTHS),
            "day": lambda: str(rng.randint(1, 30)),
            "number": lambda: str(rng.randint(2, 400)),
            "year": lambda: str(rng.randint(1950, 2030)),
            "time": lambda: f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}",
            "price": lambda: self.value("price"),
            "date": lambda: self.value("date"),
            "phone": lambda: self.value("phone"),
            "email": lambda: self.value("email"),
            "person": self.full_name,
            "code": self.random_code,
            "url": self.url,
            "word": self.pseudo_word,
            "version": self.version,
            "file": self.file_name,
        }
        return re.sub(r"\{(\w+)\}", lambda match: makers[match[1]](), rng.choice(NOTICES))

    def url(self) -> str:
        """Return an address on the web."""
        rng = self.rng
        tail = rng.choice(["", f"/{self.pick(OBJECTS)}", f"/{self.pseudo_word()}?id={rng.randint(1, 9999)}"])
        return f"https://{rng.choice(['www.', ''])}{self.pseudo_word()}.{rng.choice(['com', 'org', 'net'])}{tail}"

    def version(self) -> str:
        """Return a version number."""
        return f"{self.rng.randint(0, 9)}.{self.rng.randint(0, 20)}.{self.rng.randint(0, 20)}"

    def file_name(self) -> str:
        """Return a path of one or two parts."""
        folder = f"{self.pick(OBJECTS)}/" if self.rng.random() < 0.5 else ""
        return f"{folder}{self.pick(NOUN_IDENTIFIERS)}.{self.rng.choice(['txt', 'py', 'csv', 'json', 'md'])}"

    def plain_words(self, num_words: int) -> str:
        """Return common English words in no order."""
        return " ".join(self.pick(COMMON) for _ in range(num_words))

    def written_sentence(self) -> str:
        """Return a sentence of the grammar."""
        text = self.clause()
        if self.rng.random() < 0.35:
            text += f" {self.rng.choice(CONNECTIVES)} {self.clause(start=False)}"
        return text + "."

    def clause(self, start: bool = True) -> str:
        """Return subject, verb, object and, often, a place or time."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.4:
            subject = self.pick(FIRST_NAMES)
        elif kind < 0.5:
            subject = self.full_name()
        elif kind < 0.9:
            the = "The" if start else "the"
            who = rng.choice([ANIMALS, JOBS])
            subject = (
                f"{the} {self.pick(ADJECTIVES)} {self.pick(who)}" if rng.random() < 0.6 else f"{the} {self.pick(who)}"
            )
        else:
            subject = self.pseudo_word().capitalize()
        noun = self.pick(OBJECTS) if rng.random() < 0.9 else self.pseudo_word()
        number = rng.random()
        if number < 0.55:
            thing = f"the {self.pick(ADJECTIVES)} {noun}" if rng.random() < 0.6 else f"the {noun}"
        elif number < 0.8:
            thing = f"{rng.randint(2, 99)} {self.pick(FOODS)}"
        elif number < 0.9:
            thing = f"{self.pick(FIRST_NAMES)}'s {noun}"
        else:
            thing = f"the {noun} {self.random_code()}"
        tail = f" {rng.choice(PLACES)}" if rng.random() < 0.7 else ""
        return f"{subject} {self.pick(PAST_VERBS)} {thing}{tail}"

    def short_text(self) -> str:
        """Return a few words in no order: next to nothing to copy around a change."""
        kinds = [self.item, self.identifier, self.pseudo_word, lambda: self.pick(OBJECTS), lambda: self.pick(COMMON)]
        kind = self.rng.choice(kinds)
        return " ".join(kind() for _ in range(self.rng.randint(2, 7)))

    def text_to_edit(self, size: int) -> str:
        """Return the text of an edit; the smallest are often no more than a few words."""
        if size <= 2 and self.rng.random() < 0.5:
            return self.short_text()
        return self.text(size)

    def text(self, num_sentences: int) -> str:
        """Return several different sentences as one paragraph."""
        return " ".join(dict.fromkeys(self.sentence() for _ in range(num_sentences)))
