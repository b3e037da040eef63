"""How each task may be asked: patterns for training, and others that only evaluation uses.

Those of training are data: `imperatives.json` holds orders, `remarks.json` what stands as it is, with no polite frame
around it, and `follow_ups.json` what is said of an earlier answer. `(a|b)` is a choice, `<text>` and the like stand for
the ways to name the input, `{old}` for a field of the task. Frames put the order politely, and layouts join it with the
input; both are drawn apart from the pattern, so that few lines make thousands of wordings.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from generator.pools import COMMON

NAMES = {
    "<text>": "(this|this text|the text|the text below|the following|the following text)",
    "<list>": "(this|this list|these|these items|the list|the list below|the items below|the following|the following"
    " items|the following list|the items)",
    "<code>": "(this|this code|this function|the code|the code below|the following code|this snippet|the following)",
    "<data>": "(this|this data|the data|the data below|the following|the following data|the record|these fields)",
    "<same>": "(exactly|word for word|without changes|unchanged|as it is|verbatim|exactly as it is)",
}

_FOLDER = Path(__file__).parent
IMPERATIVES, REMARKS, FOLLOW_UPS = (
    {key: tuple(patterns) for key, patterns in json.loads((_FOLDER / file).read_text(encoding="utf-8")).items()}
    for file in ("imperatives.json", "remarks.json", "follow_ups.json")
)
AS_SAID = frozenset(pattern for patterns in REMARKS.values() for pattern in patterns)  # these take no frame
TRAIN = {family: (*orders, *REMARKS[family]) for family, orders in IMPERATIVES.items()}
# Orders of random words, so that which of two names gives way hangs on the text. `<any>` is up to three words.
SCRAMBLED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("replace_word", "repeat_change", "rename_variable", "fix_typo"),
        (
            "<any> {old} <any> {new}",
            "<any> {old} <any> {new} <any>",
            "<any> {new} <any> {old}",
            "<any> {new} <any> {old} <any>",
        ),
    ),
    "change_argument": ("<any> {key} <any> {new}", "<any> {key} <any> {new} <any>", "<any> {new} <any> {key}"),
    "change_position": ("<any> {key} argument <any> {new}", "<any> {new} <any> {key} argument"),
    "replace_words": ("<any> {pairs}", "<any> <any> {pairs}"),
    "fix_typos": ("<any> {pairs}", "<any> <any> {pairs}"),
}
SCRAMBLED_SHARE = 0.04
LOWER_SHARE = 0.2
HELD_OUT: dict[str, tuple[str, ...]] = {
    "repeat": ("write the following text once more", "give me back (exactly this text|this text exactly)"),
    "repeat_change": (
        "repeat what is written here, using {new} where it says {old}",
        "give me the same text, except that {old} is {new}",
    ),
    "replace_word": (
        "repeat the text, using {new} wherever it (says|has) {old}",
        "put {new} (in place of|for) {old} everywhere",
    ),
    "replace_words": ("put other words into the text: {pairs}", "carry out these word changes: {pairs}"),
    "rename_variable": (
        "give {old} the new name {new} in this (code|function)",
        "change the name {old} to {new} here",
        "{old} needs a better name: {new}",
    ),
    "change_argument": ("give {key} the value {new}", "change {key} to be {new} here", "let {key} be {new}"),
    "change_position": ("give the {key} argument the value {new}", "let the {key} argument be {new}"),
    "fix_typo": ("correct {old} so that it reads {new}", "fix the misspelling {old}, meant is {new}"),
    "fix_typos": ("repair these misspellings: {pairs}", "correct the following words in the text: {pairs}"),
    "numbered_list": ("write this as a list with numbers", "rewrite these as a numbered list"),
    "bullet_list": ("make bullet points of this", "rewrite (this|these) as a bullet list"),
    "comma_list": ("write these on a single line with commas", "separate these by commas in one line"),
    "to_json": ("rewrite this (in|as) JSON", "(show|give) the following data as a JSON object"),
    "list_to_json": ("rewrite the list as a JSON array", "show these entries as a JSON array"),
    "to_table": ("rewrite this as a table", "turn the following lines into a markdown table"),
    "to_csv": ("rewrite this as CSV", "give me the CSV form of this"),
    "to_lines": ("rewrite this as lines of key: value", "show one field on each line"),
    "json_to_list": ("rewrite this JSON array as a list with numbers", "make the array a list with numbers"),
    "change_case": ("rewrite the text in {case}", "let the following be in {case}"),
    "sort": ("list these alphabetically", "sort them all from A to Z"),
    "extract": ("tell me what the {key} is", "what {key} is written here?"),
    "quote": ("repeat the sentence in which {old} occurs", "quote the one sentence with {old}"),
    "answer_quote": ("{question} Reply with the sentence that says it", "find the sentence which answers: {question}"),
    "add_item": ("let {new} be the last item of the list", "continue the list with {new}"),
    "remove_item": ("cross {old} off the list", "repeat the list, but leave out {old}"),
    "merge": ("make the two lists one", "join both lists into a single one"),
    "count": (
        "what's the total number of {unit} here?",
        "can you say how many {unit} this has",
    ),
    "pick_items": (
        "I only care about the {some} of these",
        "just leave me the {some}",
    ),
    "reverse": (
        "start from the bottom of this list",
        "put the whole list the other way round",
    ),
    "unique": (
        "some things are on this list twice, fix that",
        "every item should occur one time only",
    ),
    "find_lines": (
        "repeat only lines in which {old} occurs",
        "where does {old} occur? give the lines",
    ),
    "wrap": (
        "this list needs {how}",
        "repeat it, now having {how}",
    ),
    "column": (
        "I just need every {key}, line by line",
        "read out the {key} field of all rows",
    ),
    "find_all": (
        "what {kind} can be found below?",
        "write down each of the {kind} you come across",
    ),
    "remove_line": (
        "I no longer need the {what} on {old}",
        "strike the {what} that has {old} in it",
    ),
    "answer_short": (
        "{question} Reply with the bare answer",
        "please answer from what I pasted: {question}",
    ),
}

# Later turns: the key names what is done to the answer before.
FOLLOW_UPS_HELD_OUT: dict[str, tuple[str, ...]] = {
    "again": ("(please write it once again|give me that again)",),
    "change_case": ("now turn that into {case}", "could I have this in {case}"),
    "replace_word": ("now put {new} in place of {old}", "write {new} where it says {old}"),
    "rename_variable": ("now give {old} the name {new}", "then change the name {old} to {new}"),
    "add_item": ("now append {new}", "put {new} at the end as well"),
    "remove_item": ("now leave out {old}", "take {old} out of it"),
    "sort": ("now put them in alphabetical order",),
    "form": ("now I want it as {form}", "rewrite that as {form}"),
}
FRAMES = (
    *("{order}",) * 26,
    *("please {order}",) * 9,
    *("{order}, please",) * 3,
    *("can you {order}?",) * 2,
    *("could you {order}?",) * 2,
    "would you {order}?",
    "will you {order}?",
    "I want you to {order}",
    "I need you to {order}",
    "I would like you to {order}",
    "I'd love for you to {order}",
    "your task: {order}",
    "task: {order}",
    "to do: {order}",
    "hi, {order}",
    "hey, {order}",
    "hello, {order}",
    "hey, can you {order}?",
    "hi, could you {order}?",
    "hi there, please {order}",
    "hello, I need you to {order}",
    "ok, {order}",
    "okay, now {order}",
    "so, {order}",
    "well, {order}",
    "right, {order}",
    "quick one: {order}",
    "small job: {order}",
    "one thing: {order}",
    "{order} pls",
    "pls {order}",
    "plz {order}",
    "{order}, thanks",
    "{order}, thx",
    "{order}, thank you",
    "{order}, if you can",
    "{order} for me",
    "just {order}",
    "simply {order}",
    "kindly {order}",
    "can u {order}?",
    "could you just {order}?",
    "can you quickly {order}?",
    "can you please {order}?",
    "could you maybe {order}?",
    "would you please {order}?",
    "would you kindly {order}?",
    "would it be possible to {order}?",
    "is it possible to {order}?",
    "are you able to {order}?",
    "do me a favor and {order}",
    "be so kind and {order}",
    "go ahead and {order}",
    "help me {order}",
    "I have to {order}",
    "I need to {order}",
    "I'm trying to {order}",
    "I'm in a hurry, {order}",
    "my boss wants me to {order}",
    "it'd be great if you could {order}",
    "I was wondering if you could {order}",
    "let's {order}",
    "all you have to do is {order}",
    "what I need is simple: {order}",
)
FRAMES_HELD_OUT = (*("{order}",) * 3, *("please {order}",) * 3, "could you please {order}?", "I'd like you to {order}")
NOTES = (
    "Keep everything else the same.",
    "Change nothing else.",
    "Leave the rest as it is.",
    "Return only the result.",
    "No explanation.",
    "Give only the result.",
    "Do not add anything else.",
    "Do not explain.",
    "Write only the result, nothing else.",
    "Only the result, please.",
    "Only the result.",
    "Just the result.",
    "Just the result, please.",
    "Just give me the result.",
    "Give me only the result.",
    "Nothing but the result.",
    "The result and nothing else.",
    "Nothing else.",
    "Nothing more.",
    "Just that.",
    "Skip the explanation.",
    "Skip the intro.",
    "No explanations please.",
    "no explanations",
    "No comments.",
    "No commentary.",
    "No introduction.",
    "No extra text.",
    "No small talk.",
    "No preamble.",
    "no need to explain",
    "You don't have to explain anything.",
    "I don't need an explanation.",
    "I only need the result.",
    "I'll paste your answer straight in, so no other words.",
    "Don't write anything before or after it.",
    "Don't say anything else.",
    "Don't tell me how you did it.",
    "Output only.",
    "Only that, nothing around it.",
    "Answer with the result alone.",
    "Reply with the result only.",
    "Keep it to the result.",
    "Send back just the result.",
    "Without explanations.",
    "Without any extra words.",
    "Thanks.",
    "Thank you.",
    "thx",
    "Nur das Ergebnis.",
    "Seulement le résultat.",
    "Solo el resultado.",
    "Solo il risultato.",
)
NOTES_HELD_OUT = ("Only output the answer.", "Do not change anything else.")
LABELS = (
    *("Text:", "Input:", "Here it is:", "Here is the text:", "The text:", "Here you go:", "---"),
    *("text:", "input:", "here:", "Here:", "here it is", "This one:", "This is it:", "It's this:", "My text:"),
    *("Here's what I have:", "This is what I have:", "What I have:", "Here's the thing:", "Source:", "Content:"),
    *("INPUT", "Original:", "The original:", "Have a look:", "###", "***", "=====", ">>>"),
)


def expand(rng: random.Random, pattern: str) -> str:
    """Return the pattern with every name and choice settled; fields stay.

    >>> expand(random.Random(0), "(sort|order) it")
    'order it'
    """
    for name, ways in NAMES.items():
        pattern = pattern.replace(name, ways)
    pattern = re.sub("<any>", lambda _: " ".join(rng.choices(COMMON, k=rng.randint(0, 3))), pattern).strip()
    pattern = re.sub(" +", " ", pattern)
    while (found := re.search(r"\(([^()]*\|[^()]*)\)", pattern)) is not None:
        pattern = pattern[: found.start()] + rng.choice(found[1].split("|")) + pattern[found.end() :]
    return pattern


def order_of(rng: random.Random, patterns: tuple[str, ...], held_out: bool, is_first: bool = True) -> str:
    """Return one order, politely framed or not, most with a capital, and no mark at its end but a question's."""
    pattern = rng.choice(patterns)
    order = expand(rng, pattern)
    if is_first and pattern not in AS_SAID and not re.search(r"^[{<]|\?|\. |please|question", order):
        order = rng.choice(FRAMES_HELD_OUT if held_out else FRAMES).replace("{order}", order)
    if order[0] == "{" or (not held_out and rng.random() < LOWER_SHARE):
        return order
    return order[0].upper() + order[1:]


def first_order(rng: random.Random, family: str, held_out: bool) -> str:
    """Return an order for a first turn; in training, some of the edits' are scrambled."""
    if held_out:
        return order_of(rng, HELD_OUT[family], held_out)
    is_scrambled = family in SCRAMBLED and rng.random() < SCRAMBLED_SHARE
    return order_of(rng, (SCRAMBLED if is_scrambled else TRAIN)[family], held_out)
