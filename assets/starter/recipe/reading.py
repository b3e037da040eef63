"""Tasks that find a sentence of the input and repeat it. Knows no wording."""

from __future__ import annotations

import re
from collections.abc import Callable

from draft import Draft
from edits import words_of
from pools import ADJECTIVES, ANIMALS, CITIES, COLOURS, FIRST_NAMES, FOODS, JOBS, OBJECTS, WEEKDAYS, Pools

FACTS = (  # a sentence, and questions that it answers; `{a}` is what tells it from the others
    ("{a} lives in {city}.", ("Where does {a} live?", "In which city does {a} live?")),
    ("{a} works as a {job} in {city}.", ("What does {a} do?", "What is {a}'s job?", "Where does {a} work?")),
    ("{a} bought {number} {food} on {weekday}.", ("What did {a} buy?", "When did {a} buy the {food}?")),
    ("{a} has a {adjective} {animal}.", ("What animal does {a} have?", "Which pet does {a} have?")),
    ("{a} likes {food} best.", ("What does {a} like?", "What food does {a} like best?")),
    ("{a} arrives at {time} on {weekday}.", ("When does {a} arrive?", "At what time does {a} arrive?")),
    ("{a} is {number} years old.", ("How old is {a}?", "What is {a}'s age?")),
    ("{a}'s phone number is {phone}.", ("What is {a}'s phone number?", "How can I call {a}?")),
    ("You can write to {a} at {email}.", ("What is {a}'s email?", "How can I write to {a}?")),
    ("The {b} costs {price} euros.", ("How much is the {b}?", "What does the {b} cost?")),
    ("The {b} is {colour}.", ("What color is the {b}?", "Which color does the {b} have?")),
    ("The {b} stands in {city}.", ("Where is the {b}?", "In which city is the {b}?")),
    ("{a} lost the {b} in {city}.", ("Who lost the {b}?", "Where was the {b} lost?", "What did {a} lose?")),
    ("The {b} belongs to {a}.", ("Who owns the {b}?", "Whose is the {b}?", "What belongs to {a}?")),
    ("The {b} was built in {year}.", ("When was the {b} built?", "How old is the {b}?")),
    ("The {b} opens at {time}.", ("When does the {b} open?", "At what time does the {b} open?")),
)


def quote(pools: Pools, size: int) -> Draft:
    """The one sentence of a paragraph that holds a word."""
    while True:
        sentences = list(dict.fromkeys(pools.sentence() for _ in range(size + 1)))
        text = pools.rng.choice([" ", " ", "\n"]).join(sentences)
        answer = pools.rng.choice(sentences)
        unique = [word for word in words_of(answer) if len(re.findall(rf"\b{word}\b", text)) == 1]
        if unique and len(sentences) > 1:
            return Draft(text, answer, {"old": pools.rng.choice(unique)}, quotable=True)


def answer_quote(pools: Pools, size: int) -> Draft:
    """The one sentence of a paragraph that answers a question."""
    rng = pools.rng
    num_facts = rng.randint(2, size + 2)
    people, things = pools.several(FIRST_NAMES, num_facts), pools.several(OBJECTS, num_facts)
    facts = rng.choices(FACTS, k=min(num_facts, len(people), len(things)))
    values: dict[str, Callable[[], str]] = {
        "city": lambda: pools.pick(CITIES),
        "job": lambda: pools.pick(JOBS),
        "number": lambda: str(rng.randint(2, 90)),
        "food": lambda: pools.pick(FOODS),
        "weekday": lambda: rng.choice(WEEKDAYS),
        "adjective": lambda: pools.pick(ADJECTIVES),
        "animal": lambda: pools.pick(ANIMALS),
        "time": lambda: f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}",
        "phone": lambda: pools.value("phone"),
        "email": lambda: pools.value("email"),
        "price": lambda: pools.value("price"),
        "colour": lambda: pools.pick(COLOURS),
        "year": lambda: str(rng.randint(1700, 2025)),
    }
    sentences, questions = [], []
    for (sentence, ways), person, thing in zip(facts, people, things, strict=False):
        filled = {name: make() for name, make in values.items()} | {"a": person, "b": thing}
        sentences.append(sentence.format(**filled))
        questions.append(rng.choice(ways).format(**filled))
    index = rng.randrange(len(sentences))
    return Draft(" ".join(sentences), sentences[index], {"question": questions[index]})
