"""Tasks that find a sentence of the input and repeat it. Knows no wording."""

from __future__ import annotations

import re

from generator.draft import Draft
from generator.edits import words_of
from generator.lines import FUNCTION_WORDS
from generator.pools import (
    ADJECTIVES,
    ANIMALS,
    CITIES,
    COLOURS,
    FIRST_NAMES,
    FOODS,
    JOBS,
    MONTHS,
    OBJECTS,
    WEEKDAYS,
    Pools,
)

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
        unique = [
            word
            for word in words_of(answer)
            if word.lower() not in FUNCTION_WORDS
            and len(word) > 3
            and len(re.findall(rf"\b{word}\b", text, re.IGNORECASE)) == 1
        ]
        if unique and len(sentences) > 1:
            return Draft(text, answer, {"old": pools.rng.choice(unique)}, quotable=True)


def answer_quote(pools: Pools, size: int) -> Draft:
    """The one sentence of a paragraph that answers a question."""
    rng = pools.rng
    num_facts = rng.randint(2, size + 2)
    people, things = pools.several(FIRST_NAMES, num_facts), pools.several(OBJECTS, num_facts)
    facts = rng.choices(FACTS, k=min(num_facts, len(people), len(things)))
    sentences, questions = [], []
    for (sentence, ways), person, thing in zip(facts, people, things, strict=False):
        filled = values(pools) | {"a": person, "b": thing}
        sentences.append(sentence.format(**filled))
        questions.append(rng.choice(ways).format(**filled))
    index = rng.randrange(len(sentences))
    return Draft(" ".join(sentences), sentences[index], {"question": questions[index]})


def values(pools: Pools) -> dict[str, str]:
    """Return a value for every field of a fact."""
    rng = pools.rng
    return {
        "city": pools.pick(CITIES),
        "job": pools.pick(JOBS),
        "number": str(rng.randint(2, 90)),
        "small": str(rng.randint(1, 14)),
        "food": pools.pick(FOODS),
        "weekday": rng.choice(WEEKDAYS),
        "adjective": pools.pick(ADJECTIVES),
        "animal": pools.pick(ANIMALS),
        "time": f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}",
        "date": pools.value("date") if rng.random() < 0.5 else f"{rng.randint(1, 28)} {rng.choice(MONTHS)}",
        "phone": pools.value("phone"),
        "email": pools.value("email"),
        "price": pools.value("price"),
        "code": pools.random_code(),
        "colour": pools.pick(COLOURS),
        "year": str(rng.randint(1700, 2025)),
    }


SHORT_FACTS = (  # a sentence, and questions with the part of it that answers them
    ("{a} lives in {city}.", (("Where does {a} live?", "{city}"), ("Which city does {a} live in?", "{city}"))),
    ("{a} works as a {job} in {city}.", (("What is {a}'s job?", "{job}"), ("Where does {a} work?", "{city}"))),
    (
        "{a} bought {number} {food} on {weekday}.",
        (
            ("How many {food} did {a} buy?", "{number}"),
            ("What did {a} buy?", "{number} {food}"),
            ("On which day did {a} go shopping?", "{weekday}"),
        ),
    ),
    ("{a} has a {adjective} {animal}.", (("What pet does {a} have?", "a {adjective} {animal}"),)),
    ("{a}'s favourite food is {food}.", (("What is {a}'s favourite food?", "{food}"), ("Who likes {food}?", "{a}"))),
    (
        "The meeting with {a} is on {weekday} at {time} in room {number}.",
        (
            ("When is the meeting with {a}?", "{weekday} at {time}"),
            ("What time is the meeting?", "{time}"),
            ("Which room?", "{number}"),
            ("Who is the meeting with?", "{a}"),
        ),
    ),
    ("{a} is {number} years old.", (("How old is {a}?", "{number}"), ("What is {a}'s age?", "{number}"))),
    (
        "You can reach {a} at {phone}.",
        (("What is {a}'s phone number?", "{phone}"), ("What's the number of {a}?", "{phone}")),
    ),
    ("Write to {a} at {email}.", (("What is {a}'s email address?", "{email}"), ("{a}'s email?", "{email}"))),
    (
        "The {b} costs {price} euros.",
        (("How much is the {b}?", "{price} euros"), ("What does the {b} cost?", "{price} euros")),
    ),
    ("The {b} is {colour}.", (("What color is the {b}?", "{colour}"), ("Which colour has the {b}?", "{colour}"))),
    ("The {b} is in {city}.", (("Where is the {b}?", "{city}"), ("In which city is the {b}?", "{city}"))),
    ("{a} gave the {b} to {c}.", (("Who gave away the {b}?", "{a}"), ("Who has the {b} now?", "{c}"))),
    ("The {b} belongs to {a}.", (("Who owns the {b}?", "{a}"), ("Whose is the {b}?", "{a}"))),
    (
        "The {b} was built in {year}.",
        (("When was the {b} built?", "{year}"), ("In what year was the {b} built?", "{year}")),
    ),
    ("The {b} opens at {time}.", (("When does the {b} open?", "{time}"), ("What time does the {b} open?", "{time}"))),
    (
        "The train to {city} leaves at {time} from platform {small}.",
        (
            ("When does the train to {city} leave?", "{time}"),
            ("Where does the train go?", "{city}"),
            ("Which platform?", "{small}"),
        ),
    ),
    (
        "Order {code} will arrive on {date}.",
        (("What is the order number?", "{code}"), ("When will the order arrive?", "{date}")),
    ),
    (
        "The invoice over {price} euros is due on {date}.",
        (("When is the invoice due?", "{date}"), ("How much is the invoice?", "{price} euros")),
    ),
    (
        "The password of the {b} is {code}.",
        (("What is the password of the {b}?", "{code}"), ("What's the password?", "{code}")),
    ),
)


def answer_short(pools: Pools, size: int) -> Draft:
    """The words of a text that answer a question about it."""
    rng = pools.rng
    facts = rng.sample(SHORT_FACTS, min(rng.randint(1, size + 1), 8))
    sentences, asked = [], []
    people, things = pools.several(FIRST_NAMES, 2 * len(facts)), pools.several(OBJECTS, len(facts))
    if len(people) < 2 * len(facts) or len(things) < len(facts):
        return answer_quote(pools, size)
    for number, (sentence, questions) in enumerate(facts):
        filled = values(pools) | {"a": people[2 * number], "c": people[2 * number + 1], "b": things[number]}
        sentences.append(sentence.format(**filled))
        asked.append([(question.format(**filled), answer.format(**filled)) for question, answer in questions])
    question, answer = rng.choice(rng.choice(asked))
    for _ in range(rng.randint(0, size // 2)):
        sentences.insert(rng.randint(0, len(sentences)), pools.written_sentence())
    text = rng.choice([" ", " ", "\n"]).join(sentences)
    if rng.random() < 0.2:
        text = f"Hi {pools.pick(FIRST_NAMES)},\n\n{text}\n\nBest,\n{pools.pick(FIRST_NAMES)}"
    return Draft(text, answer, {"question": question})
