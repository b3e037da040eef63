"""How each task may be asked: patterns for training, and others that only evaluation uses.

A pattern is an order in the imperative. `(a|b)` is a choice, `<text>` and the like stand for the ways to name the
input, `{old}` for a field of the task. Frames put the order politely, and layouts join it with the input; both
are drawn apart from the pattern, so that few lines make thousands of wordings.
"""

from __future__ import annotations

import random
import re

from pools import COMMON

NAMES = {
    "<text>": "(this|this text|the text|the text below|the following|the following text)",
    "<list>": "(this|this list|these|these items|the list|the list below|the items below|the following|the following"
    " items|the following list|the items)",
    "<code>": "(this|this code|this function|the code|the code below|the following code|this snippet|the following)",
    "<data>": "(this|this data|the data|the data below|the following|the following data|the record|these fields)",
    "<same>": "(exactly|word for word|without changes|unchanged|as it is|verbatim|exactly as it is)",
}

TRAIN: dict[str, tuple[str, ...]] = {
    "repeat": (
        "(repeat|copy|echo|reproduce) <text>",
        "(repeat|copy|echo|reproduce|return|write out) <text> <same>",
        "say (this|the following) back to me word for word",
        "write (out|down) the same text again",
        "repeat (after me|this for me)",
        "return (this|the text) unchanged",
        "(type|print|output) <text> again",
        "copy every character of <text>",
    ),
    "repeat_change": (
        "(repeat|copy) <text>(, but| but|, only) (with {new} instead of {old}|with {old} changed to {new}|write {new}"
        " instead of {old}|change {old} to {new})",
        "repeat <text> with one change: {old} (becomes|is now|should be) {new}",
        "(say|write) <text> again, (but|only) with {new} in place of {old}",
        "update <text>: {old} is now {new}",
        "{old} has changed to {new}. (Update|Correct) <text>",
        "make it {new} instead of {old} in <text>",
        "copy <text>, but {old} should (read|be) {new}",
    ),
    "replace_word": (
        "(replace|substitute) (the word |){old} (with|by) {new}( in <text>|)",
        "(change|turn) (every |the word |){old} (to|into) {new}( in <text>|)",
        "(repeat|rewrite|write) <text> with {old} replaced by {new}",
        "(rewrite|copy) <text>, replacing {old} (by|with) {new}",
        "(swap|exchange) {old} for {new}( in <text>|)",
        "(use|write|put|say) {new} instead of {old}( in <text>|)",
        "in <text>, (replace|change) {old} (with|to|by) {new}",
        "substitute {new} for {old}( in <text>|)",
        "wherever <text> says {old}, write {new}",
        "every {old} should become {new}",
        "find {old} and replace it (with|by) {new}",
    ),
    "replace_words": (
        "(replace|exchange|swap|substitute|change) (these words|the following words|words)( in <text>|): {pairs}",
        "(make|apply) (these|the following) (replacements|substitutions|changes)( in <text>|): {pairs}",
        "(replace|change|swap) {pairs}( in <text>|)",
        "(rewrite|repeat|copy) <text> with these (replacements|changes): {pairs}",
        "in <text>, (replace|change) {pairs}",
    ),
    "rename_variable": (
        "rename (the variable |the name |variable |){old} (to|as|into) {new}( in <code>|)",
        "(change|replace) the (variable|variable name|name|identifier) {old} (to|with|by) {new}( in <code>|)",
        "(rewrite|return|write|give me) <code> with {old} renamed to {new}",
        "in <code>, (rename|change) {old} to {new}",
        "the variable {old} should be (called|named) {new}. (Fix|Change|Rewrite) the code",
        "(call|name) the variable {new} instead of {old}( in <code>|)",
        "(use|write) {new} as the name (of|for) {old}( in <code>|)",
        "replace {old} (with|by) {new}( in <code>| everywhere in the code)",
        "refactor <code>: {old} -> {new}",
    ),
    "change_argument": (
        "(change|set|update) (the argument |argument |the value of |){key} to {new}( in <code>| in this call|)",
        "(change|update) {key} from {old} to {new}( in <code>|)",
        "in <code>, (change|set) {key} to {new}",
        "make {key} equal to {new}(, and keep the rest| in <code>|)",
        "(rewrite|repeat|write) (the call|<code>) with {key}={new}",
        "set {key}={new}( in <code>| in this call|)",
        "{key} should be {new}(, not {old}| instead of {old}|). (Fix|Change) the (call|code)",
        "(use|pass) {new} (for|as) {key}( in <code>|)",
        "replace the value of {key} (with|by) {new}",
    ),
    "change_position": (
        "(change|set) the {key} argument to {new}( in <code>|)",
        "(replace|swap) the {key} argument (with|by|for) {new}",
        "(use|pass) {new} as the {key} argument( in <code>|)",
        "make the {key} argument {new}",
        "the {key} argument should be {new}. (Fix|Change) the call",
    ),
    "fix_typo": (
        "(fix|correct) the (typo|spelling mistake|error) {old}, (it|which|that) should be {new}",
        "(fix|correct) (the typo |this typo: |){old} -> {new}( in <text>|)",
        "(fix|correct) the spelling of {new} (now {old})( in <text>|)",
        "(fix|correct) {old} to {new}( in <text>|)",
        "there is a typo in <text>: {old}. It should be {new}. Write the corrected text",
        "the word {old} is misspelled, it is {new}. Correct <text>",
        "{old} is a typo for {new}. (Fix|Correct) it",
        "(fix|correct) the typo {old} (should be {new})( in <text>|)",
        "write {new} where <text> has the typo {old}",
    ),
    "fix_typos": (
        "(fix|correct) (these|the following|the) (typos|mistakes|spelling mistakes|errors): {pairs}",
        "(fix|correct) (the typos|the mistakes) in <text> ({pairs})",
        "(fix|correct) {pairs}( in <text>|)",
        "(make|apply) these corrections: {pairs}",
        "(replace|change|correct) these words: {pairs}",
        "<text> has (typos|mistakes|errors): {pairs}. (Correct it|Fix them|Write it correctly)",
    ),
    "numbered_list": (
        "(make|write|turn|convert|format|put|change) <list> (a|as a|into a|to a|in a) numbered list",
        "number <list>",
        "(give|write) me a numbered list of <list>",
        "put numbers (before|in front of) <list>",
        "list <list> with (1., 2., 3.|numbers) (in front|at the start)",
        "add numbers to <list>",
        "make <list> numbered",
        "number each (line|item|entry)",
    ),
    "bullet_list": (
        "(make|write|turn|convert|format|put|change) <list> (a|as a|into a|to a|in a) (bullet|bulleted|dashed) list",
        "(write|list|format) <list> (as|with|in) (bullets|bullet points|dashes)",
        "(convert|turn|change) <list> (to|into) bullet points",
        "put a (dash|bullet) before each (item|line)",
        "(give|write) me bullet points (of|for) <list>",
        "(use|add) bullets for <list>",
    ),
    "comma_list": (
        "(write|put|give me) <list> (on|in) one line(,| and) (separated by|with) commas",
        "(join|separate|combine) <list> (with|by|using) commas",
        "(turn|convert|make|change) <list> (into|to|a|as) (a|one) comma-separated (list|line)",
        "make <list> one comma separated line",
        "put commas between <list>",
        "list <list> in one line with commas",
    ),
    "to_json": (
        "(convert|turn|change|transform) <data> (to|into) (JSON|a JSON object)",
        "(write|format|output|return|express|show) <data> (as|in) JSON",
        "(give|write) me <data> as JSON",
        "(make|build|create) JSON (of|from|out of) <data>",
        "what (is|would) <data> (in|as) JSON",
        "JSON, please",
        "<data> (as|to|in) JSON",
        "put <data> in JSON format",
    ),
    "list_to_json": (
        "(convert|turn|change|transform) <list> (to|into) (JSON|a JSON list|a JSON array)",
        "(write|format|output|return) <list> as (JSON|a JSON array|a JSON list)",
        "(make|build|create) a JSON (array|list) (of|from) <list>",
        "give me <list> as (JSON|a JSON array)",
        "<list> as (JSON|a JSON array)",
        "put <list> in a JSON array",
    ),
    "to_table": (
        "(convert|turn|change|transform) <data> (to|into) a (table|markdown table|Markdown table)",
        "(write|format|output|return|show) <data> as a (table|markdown table|Markdown table)",
        "(make|build|create|draw) a (table|markdown table) (of|from|out of) <data>",
        "put <data> in(to|) a (table|markdown table)",
        "give me <data> as a (table|markdown table)",
        "(tabulate <data>|<data> as a table)",
    ),
    "to_csv": (
        "(convert|turn|change|transform) <data> (to|into) (CSV|csv|comma-separated values|a CSV file)",
        "(write|format|output|return|express) <data> as CSV",
        "(make|build|create) (a CSV|CSV) (of|from|out of) <data>",
        "give me <data> as CSV",
        "put <data> in CSV format",
        "<data> (as|to|in) CSV",
    ),
    "to_lines": (
        "(convert|turn|change) <data> (to|into) (plain lines|lines of the form key: value|key: value lines)",
        "(write|list|show) (the fields of <data>|<data>) (as|in) (key: value lines|lines|plain lines)",
        "write each field of <data> on (a|its own) line",
        "list the (keys and values|fields and values)( of <data>|)",
        "(write|turn) <data> (as|into) plain text, one field per line",
    ),
    "json_to_list": (
        "(convert|turn|change) <data> (to|into|back to|back into) a (list|numbered list)",
        "(write|format|show) (the array|this array|<data>|this JSON) as a (list|numbered list)",
        "(make|write) a (list|numbered list) (of|from) (the array|this JSON|<data>|the JSON array)",
        "list the (elements|entries|items) of (the array|this JSON|the JSON array) with numbers",
        "number the (elements|entries) of (the array|this JSON|the JSON array)",
    ),
    "change_case": (
        "(write|put|convert|change|make|turn|set) <text> (in|to|into) {case}",
        "(repeat|say|give me|return|type) <text> in {case}",
        "({case}|{case}, please)",
        "make <text> {case}",
        "(use|apply) {case} (for|to) <text>",
    ),
    "sort": (
        "sort <list>( alphabetically| by name| from A to Z| in alphabetical order|)",
        "(put|write|arrange|bring) <list> (in|into) alphabetical order",
        "(order|arrange) <list> (alphabetically|from A to Z|by the alphabet)",
        "(alphabetize|alphabetise) <list>",
        "(give|write) me <list> sorted( alphabetically|)",
    ),
    "extract": (
        "what is the {key}( in <data>| here|)?",
        "(extract|find|get|return|read|pick out) the {key}( from <data>| in <data>| of <data>|)",
        "(give|tell|show) me (only the|the|just the) {key}( from <data>|)",
        "which {key} is (given|mentioned)( in <data>|)?",
        "look up the {key}( in <data>|)",
        "what does <data> say for {key}?",
        "(answer|reply) with the {key} only",
        "what's the {key}?",
        "what is the value of {key}?",
        "I (need|want) the {key}",
    ),
    "quote": (
        "(quote|copy|repeat|give me|return|find|show me) the sentence (that contains|containing|with|with the word|that"
        " mentions|that has) {old}( in <text>| from <text>|)",
        "which sentence (mentions|contains|has the word|speaks of|is about) {old}?",
        "(repeat|quote|copy) only the sentence (about|with) {old}",
        "(quote|give me) the sentence (where|in which) {old} (appears|occurs|is mentioned)",
        "find the sentence with {old} and (repeat|copy|quote) it",
    ),
    "answer_quote": (
        "{question} (Quote|Copy|Give|Repeat) the sentence that (answers this|answers|says so|tells it)",
        "(quote|copy|find|repeat|give me) the sentence that (answers|answers the question|tells us|says): {question}",
        "which sentence (answers|tells): {question}",
        "(answer with a quote|answer by quoting)( from <text>|): {question}",
        "{question} (Answer with a sentence from <text>|Answer by quoting <text>|Quote the answer from <text>)",
    ),
    "add_item": (
        "(add|append) {new} to (the end of <list>|<list>)",
        "(write|repeat) <list> (again |)with {new} (added|at the end)",
        "put {new} at the end of <list>",
        "also include {new}( in <list>|)",
        "{new} is missing( at the end|). Add it( to <list>|)",
        "(extend|complete) <list> (by|with) {new}",
    ),
    "remove_item": (
        "(remove|delete|drop|strike) {old} from <list>",
        "(write|repeat) <list> without {old}",
        "take {old} (off|out of) <list>",
        "leave out {old}( and repeat the rest|)",
        "{old} is no longer needed. Remove it( from <list>|)",
    ),
    "merge": (
        "(merge|combine|join|unite) (these|the|these two|the two) lists( into one|)",
        "(make|write) one list (of|from|out of) (these two lists|the two lists|both lists)",
        "(put|bring) (both|the two|these two) lists together",
        "(append|add) the second list to the first( one|)",
        "merge (these|both|them)( into one list|)",
    ),
}
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
SCRAMBLED_SHARE = 0.3
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
    "json_to_list": ("rewrite this JSON array as a list", "make the array a list with numbers"),
    "change_case": ("rewrite the text in {case}", "let the following be in {case}"),
    "sort": ("list these alphabetically", "sort them all from A to Z"),
    "extract": ("tell me what the {key} is", "what {key} is written here?"),
    "quote": ("repeat the sentence in which {old} occurs", "quote the one sentence with {old}"),
    "answer_quote": ("{question} Reply with the sentence that says it", "find the sentence which answers: {question}"),
    "add_item": ("let {new} be the last item of the list", "continue the list with {new}"),
    "remove_item": ("cross {old} off the list", "repeat the list, but leave out {old}"),
    "merge": ("make the two lists one", "join both lists into a single one"),
}

# Later turns: the key names what is done to the answer before.
FOLLOW_UPS: dict[str, tuple[str, ...]] = {
    "again": ("(again|once more|repeat that|say that again|show it again|repeat your answer|and again|one more time)",),
    "change_case": (
        "now (in|put it in|the same in|make it|write it in|everything in) {case}",
        "(the same|again|and|that) in {case}",
    ),
    "replace_word": (
        "(now|then|and now|also) (change|replace) {old} (to|with|by) {new}",
        "use {new} instead of {old}",
        "(the same|again)(, but|) with {new} instead of {old}",
        "replace {old} (with|by) {new}",
    ),
    "rename_variable": (
        "(now|also|then|and now) rename {old} to {new}",
        "rename {old} to {new}(, too| too| as well|)",
        "(and|now) {old} should be called {new}",
    ),
    "add_item": ("(now|also|and|then) add {new}( to it| at the end|)", "add {new}( too| as well|)"),
    "remove_item": ("(now|also|and|then) (remove|delete|drop) {old}", "(the same|again)(,|) without {old}"),
    "sort": ("now sort (it|them|the list)( alphabetically|)", "(the same|now) in alphabetical order"),
    "form": (
        "(now|the same|and|and now|again) as {form}",
        "now (make|write) (it|that|this) (as |){form}",
        "(convert|turn) (it|that|this) (to|into) {form}",
    ),
}
FOLLOW_UPS_HELD_OUT: dict[str, tuple[str, ...]] = {
    "again": ("(please write it once again|give me that again)",),
    "change_case": ("now turn that into {case}", "could I have this in {case}"),
    "replace_word": ("now put {new} in place of {old}", "write {new} where it says {old}"),
    "rename_variable": ("now give {old} the name {new}", "then change the name {old} to {new}"),
    "add_item": ("now append {new}", "put {new} at the end as well"),
    "remove_item": ("now leave out {old}", "take out {old} again"),
    "sort": ("now put them in alphabetical order",),
    "form": ("now I want it as {form}", "rewrite that as {form}"),
}
FRAMES = (
    *("{order}",) * 9,
    *("please {order}",) * 4,
    "{order}, please",
    "can you {order}?",
    "could you {order}?",
    "would you {order}?",
    "I want you to {order}",
    "I need you to {order}",
    "your task: {order}",
    "hi, {order}",
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
)
NOTES_HELD_OUT = ("Only output the answer.", "Do not change anything else.")
LABELS = ("Text:", "Input:", "Here it is:", "Here is the text:", "The text:", "Here you go:", "---")


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
    """Return one order, politely framed or not, with a capital and no mark at its end but a question's."""
    order = expand(rng, rng.choice(patterns))
    if is_first and not re.search(r"^[{<]|\?|\. |please|question", order):
        order = rng.choice(FRAMES_HELD_OUT if held_out else FRAMES).replace("{order}", order)
    return order if order[0] == "{" else order[0].upper() + order[1:]


def first_order(rng: random.Random, family: str, held_out: bool) -> str:
    """Return an order for a first turn; in training, some of the edits' are scrambled."""
    if held_out:
        return order_of(rng, HELD_OUT[family], held_out)
    is_scrambled = family in SCRAMBLED and rng.random() < SCRAMBLED_SHARE
    return order_of(rng, (SCRAMBLED if is_scrambled else TRAIN)[family], held_out)
