"""First messages that SmolLM2 answers for itself, so that training does not take away how it chats.

Those of permissively licensed conversations, and general questions of our own, made from patterns and words. Nothing
under a share-alike licence is read. Knows nothing of models.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

from wording.patterns import expand

SHARES = {  # openings drawn from each permissive source of the file of conversations
    "oasst": 400,
    "gsm8k": 200,
    "rasbt/LLMs-from-scratch instruction-data": 300,
    "chatterbot-corpus": 200,
    "tldr-pages": 100,
}
OWN = 1200
LONGEST = 1200  # characters of an opening

NAMES = {
    "<place>": "France|Japan|Brazil|Kenya|Canada|Italy|Egypt|Norway|Peru|India|Spain|Poland|Australia|Mexico"
    "|Chile|Vietnam"
    "|Portugal|Greece|Turkey|Germany|Austria|Cuba|Ghana|Nepal|Iceland|Ireland|Morocco|Finland",
    "<topic>": "photosynthesis|gravity|inflation|the water cycle|electricity|DNA|volcanoes|black holes|the Roman Empire"
    "|democracy|the stock market|recycling|climate change|machine learning|the Renaissance|vaccines|jazz|the immune"
    " system|solar power|the French Revolution|supply and demand|plate tectonics|evolution|encryption|the internet"
    "|batteries|magnetism|friendship|time zones|the Moon|coral reefs|bread|tea|chess|poetry|printing|glaciers",
    "<thing>": "a bicycle|a computer|a refrigerator|a database|an engine|a telescope|a compiler|a violin|a"
    " camera|a bridge"
    "|a battery|a microwave|a clock|a web browser|a printer|a rocket|a lens|a thermometer|a loop in Python|a dictionary"
    " in Python|a neural network|a compass|a piano|a submarine|an elevator",
    "<skill>": "cook rice|learn a language|sleep better|write a letter of complaint|tie a tie|save money|grow tomatoes"
    "|prepare for a job interview|swim faster|clean a keyboard|make coffee|plan a trip|study for an exam|train a puppy"
    "|meditate|write a short story|fix a flat tire|bake bread|remove a stain|run five kilometres|reduce stress"
    "|organize a closet|give a speech|make new friends|draw a face|change a light bulb|read more books",
    "<pair>": "cats and dogs|tea and coffee|trains and planes|Python and JavaScript|summer and winter|a virus"
    " and a bacterium"
    "|weather and climate|RAM and a hard disk|a novel and a short story|stocks and bonds|a comet and an"
    " asteroid|gas and"
    " electric cars|butter and margarine|a lake and a pond|HTTP and HTTPS|speed and velocity",
    "<person>": "Albert Einstein|Marie Curie|Leonardo da Vinci|Ada Lovelace|William Shakespeare|Nelson Mandela"
    "|Isaac Newton"
    "|Mozart|Cleopatra|Charles Darwin|Frida Kahlo|Galileo|Jane Austen|Alan Turing|Socrates|Florence Nightingale",
    "<subject>": "autumn|a lost key|the sea|an old friend|a robot|rain|a lighthouse|my cat|the night train|a"
    " garden|winter"
    "|a broken clock|coffee|the moon|a small village|a paper boat|music|a dragon|a library|the first day of school",
    "<group>": "planets|fruits|oceans|programming languages|musical instruments|mammals|vegetables|sports"
    "|colors|continents"
    "|board games|breakfast foods|healthy snacks|birds|famous rivers|renewable energies|European capitals"
    "|rhyming words",
    "<kind>": "a birthday present for my sister|a weekend hobby|a healthy dinner|a science project|a name for a"
    " cafe|a title"
    " for a blog|an indoor game for children|a cheap holiday|a gift for a teacher|a topic for a talk|a team event",
    "<mood>": "tired|happy|bored|nervous|sad|excited|stressed|curious|lonely|hungry",
}
PATTERNS = (
    "(what is|what's) the (capital|population|official language|currency|largest city) of (<place>)?",
    "(where is|tell me about|what is) (<place>)( famous for||)?",
    "(explain|describe|tell me about|what is) (<topic>)( in one paragraph| in simple words| to a child| briefly|)(.|)",
    "(how does|how do you build|what is|who invented) (<thing>)( work||)?",
    "(how do I|how can I|how to|what is the best way to|give me three tips to|teach me to) (<skill>)?",
    "(what is the difference between|compare|explain the difference between) (<pair>)(?|.|)",
    "(who (was|is)|tell me about|why is|write three sentences about) (<person>)(?|.|)",
    "write (a poem|a haiku|a short story|a limerick|a paragraph|a song|two sentences|a letter|a joke) about"
    " (<subject>)(.|)",
    "(list|name|give me|tell me) (three|five|some|ten|four) (<group>)(.|)",
    "(suggest|recommend|help me find|give me an idea for|I need) (<kind>)(.|, please.|)",
    "(I am|I'm|today I feel|I feel|I have been) (so |very |) (<mood>)(.|!| today.| What should I do?| Any ideas?)",
    "(hello|hi|hey|good morning|good evening|hi there|hello!)(|, how are you?|. What can you do?|, who are you?)",
    "(why|how) (is the sky blue|do birds sing|do cats purr|is the sea salty|do leaves change color|do we dream"
    "|do planes"
    " fly|does ice float|do we yawn|does the moon shine|do people laugh|does bread rise|is exercise healthy)?",
    "write a (Python|JavaScript|small|Bash|SQL) (function|program|script|example|query) that (sorts a list"
    "|reverses a string"
    "|counts words|adds two numbers|reads a file|finds the largest number|prints the first ten squares|checks a"
    " password)(.|)",
    "what is ({a}) (plus|minus|times) ({b})?",
    "(if I have|a shop has|Tom has|she has) ({a}) apples and (then gives away|sells|eats|loses) ({b}), how many"
    " are (left|there)?",
    "(can you help me|I need help|please help me|could you help) with (my homework|a cover letter|my budget|a recipe|an"
    " email to my boss|my resume|a toast|a math problem)(.|?)",
    "(what should I|what can I|what do you) (cook tonight|read next|do on a rainy day|think about <topic>|wear to an"
    " interview|visit in <place>|know about <topic>)?",
    "(translate|how do you say) (good morning|thank you|where is the station|I love you|goodbye) (to|in)"
    " (French|Spanish"
    "|German|Italian)(.|?)",
    "(summarize|explain|what is the meaning of) (the story of Cinderella|Romeo and Juliet|the golden rule|carpe diem|a"
    " rolling stone gathers no moss|time is money|the early bird catches the worm)(.|?|)",
)


def general_question(rng: random.Random) -> str:
    """Return one question of our own.

    >>> general_question(random.Random(3))
    'Give me three tips to organize a closet?'
    """
    pattern = rng.choice(PATTERNS)
    for name, words in NAMES.items():
        pattern = pattern.replace(f"({name})", name).replace(name, f"({words})")
    pattern = pattern.replace("({a})", str(rng.randint(2, 60))).replace("({b})", str(rng.randint(2, 60)))
    question = " ".join(expand(rng, pattern).split())
    return question if rng.random() < 0.15 else question[0].upper() + question[1:]


def openings(conversations: Path, seed: int) -> Iterator[str]:
    """Yield every opening once: those of the file's permissive sources, then our own."""
    rng = random.Random(seed)
    found: dict[str, list[str]] = {source: [] for source in SHARES}
    for line in gzip.decompress(conversations.read_bytes()).decode().rstrip("\n").split("\n"):
        record = json.loads(line)
        first = record["messages"][0]
        if record["source"] in found and first["role"] == "user" and 1 < len(first["content"]) <= LONGEST:
            found[record["source"]].append(first["content"])
    given: dict[str, None] = {}
    for source, number in SHARES.items():
        texts = list(dict.fromkeys(found[source]))
        given |= dict.fromkeys(rng.sample(texts, min(number, len(texts))))
    own = 0
    while own < OWN:
        question = general_question(rng)
        own += question not in given
        given[question] = None
    yield from given
