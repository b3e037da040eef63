"""How people ask: the frames that carry the clauses about the topics, and a balanced draw of them.

Every grammatical kind of clause has its frames, so that a few lines per topic make thousands of questions.
"""

from __future__ import annotations

import math
import random
import re
from functools import cache
from itertools import accumulate

from wording import clauses, model_clauses
from wording.patterns import expand

TOPICS = {**clauses.PATTERNS, **model_clauses.PATTERNS}
NAMES = clauses.NAMES

# What a clause of each kind is put into. A frame ends with the mark it needs.
FRAMES: dict[str, tuple[str, ...]] = {
    # A question in its own word order.
    "ask": (*("{}?",) * 8, "{}, please?", "{} exactly?", "tell me, {}?", "tell me: {}.", "my question is, {}?", "{}??"),
    # A question in the word order of a part of a sentence: how it works.
    "know": (
        "(could|can|would|will) you (please |) (tell me|explain|say|explain to me|clarify|describe) {}?",
        "(please |) (tell me|explain|say|explain to me|clarify|describe) {}.",
        "(I'd like|I would like|I want|I need|I'd love) to (know|understand|learn|hear) {}.",
        "(I wonder|I am wondering|I was wondering|I keep asking myself|I am curious|I ask myself) {}.",
        "(do you know|any idea|do you happen to know|who can tell me|may I ask|can I ask) {}?",
        "(mind|would you mind) (telling me|explaining) {}?",
        "I (do not|don't) (know|understand|get|see) {}.",
        "(it is|it's) (not clear|unclear) to me {}. (Can you explain|Please explain)?",
        "(nobody told me|I have no idea|not sure|I forgot|I am not sure) {}.",
        "{}? (Please explain|Tell me|I want to know|I would like to know that).",
        "is there a way to (know|find out|learn) {}?",
        "(help me understand|let me know|how do I find out) {}?",
    ),
    # A thing: the Compare view.
    "noun": (
        "(please |) (explain|describe|tell me about|clarify|tell me more about|talk about|say something about) {}.",
        "(could|can|would) you (please |) (explain|describe|tell me about|clarify|say a bit about) {}?",
        "(I'd like|I would like|I want|I need) to (know|hear|learn|read) (more|something|all) about {}.",
        "(would you mind|mind|how about) (explaining|describing) {}?",
        "(not clear|unclear|new|a mystery) to me: {}.",
        "I (do not|don't) (understand|get|know) {}.( Help| Explain| Please explain|)",
        "(what about|and|a word on|any information on|something about|details on|info on) {}?",
        "(I have a question|one question|question|I am curious|I read|a short note) about {}.",
        "{}?",
        "{}, (please|explain|tell me|how|in short)?",
    ),
    # What the user wants to do: load another model.
    "do": (
        *("how (do|can|could|would|should|might|may) (I|we|one|you|someone) {}?",) * 3,
        "(how to|how does one|what do I do to|what must I do to|where do I click to|where can I) {}?",
        "(can|could|may) (I|we) {}( here| somehow| too|)?",
        "(is it possible|am I able|is there a way|is there any way|is there an option|is there a button) to {}?",
        "(I want|I'd like|I would like|I need|I wish|I am trying|I plan) to {}.( How| How do I do that| What now"
        "| Where| Help|)?",
        "(show me|tell me|explain|I wonder|I don't know|please tell me|could you explain) how to {}.",
        "(could|can|would) you (tell me|show me|explain) how (to|I can) {}?",
        "(let me|help me|I have to|time to) {}.",
        "(what is|what's) the (best|easiest|right|quickest) way to {}?",
        "{}, (how|where|possible|can I)?",
    ),
    # A claim, to be confirmed or not: my data leaves the computer.
    "fact": (
        "(is it true|can it be|can you confirm|is it right|is it so|do you promise|could it be) that {}?",
        "(I am afraid|I worry|I fear|I heard|I think|someone said|they say|I guess|I suppose) that {}.( Is that so|"
        " Is it true| True| Right|)?",
        "(I wonder|tell me|I'd like to know|could you tell me|please tell me|do you know) (if|whether) {}.",
        "(so|does that mean|you mean|wait,) {}?",
        "{}, (right|correct|true|yes|or not|is that so)?",
        "(I want to be sure|how can I be sure|who says|are you sure|how do I know) that {}?",
    ),
    # What the model is told to do: introduce yourself.
    "order": (
        *("{}.", "please {}.", "{}, please.") * 2,
        "(could|can|would|will) you (please |) {}?",
        "(would you be so kind to|are you able to|would you be able to|why don't you) {}?",
        "(I want|I'd like|I need|I would like) you to {}.",
        "(go on,|come on,|now|just|okay,) {}.",
    ),
    # A whole sentence with its mark.
    "say": ("{}",),
}
OPENINGS = (
    *("",) * 24,
    *("hi, ", "hello, ", "hello. ", "hey, ", "sorry, ", "so, ", "ok, ", "and ", "please, ", "one question: ", "well, "),
    *("I am new here. ", "quick question: ", "just curious: ", "by the way, ", "excuse me, ", "hm, ", "but ", "now, "),
    *("another question: ", "before I start: ", "I just opened this. ", "maybe a silly question: ", "first, "),
)
EVENNESS = 0.3  # 0 draws every pattern equally often, 1 every question
KINDS = {"ask": 2.0, "know": 1.5, "noun": 1.5, "do": 1.5, "fact": 1.0, "order": 1.0, "say": 1.0}  # how often each comes


def ask(rng: random.Random, topic: str) -> str:
    """Return a question of the topic, with its mark and a capital."""
    patterns, weights = weighted(topic)
    frame = rng.choices(patterns, cum_weights=weights)[0]
    text = rng.choice(OPENINGS) + expand(rng, frame)
    text = re.sub(" +", " ", text).strip()
    text = re.sub(r" +([?.,])", r"\1", text).replace(".?", ".")
    text = re.sub(r"(?<=[.?] )[a-z]", lambda found: found[0].upper(), text)
    return text[0].upper() + text[1:]


@cache
def weighted(topic: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the topic's framed patterns and their cumulative weights; those with more expansions come more often."""
    framed: list[str] = []
    weights: list[float] = []
    for kind, patterns in TOPICS[topic].items():
        for clause in map(with_names, patterns):
            weight = expansions(clause) ** EVENNESS * KINDS[kind] / len(FRAMES[kind])
            framed += [frame.replace("{}", clause) for frame in FRAMES[kind]]
            weights += [weight] * len(FRAMES[kind])
    return tuple(framed), tuple(accumulate(weights))


def with_names(pattern: str) -> str:
    """Return the pattern with every name replaced by its list, names in names included."""
    while (found := re.search("<[a-z]+>", pattern)) is not None:
        pattern = pattern.replace(found[0], NAMES[found[0]])
    return pattern


def expansions(pattern: str) -> int:
    """Return how many ways the pattern can be expanded.

    >>> expansions("(sort|order) (it|(this|that) list)")
    6
    """
    while (found := re.search(r"\(([^()]*)\)", pattern)) is not None:
        ways = sum(math.prod(map(int, re.findall("#([0-9]+)", way))) for way in found[1].split("|"))
        pattern = f"{pattern[: found.start()]}#{ways}{pattern[found.end() :]}"
    return math.prod(map(int, re.findall("#([0-9]+)", pattern)))
