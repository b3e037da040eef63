"""How the tasks on lines, lists and facts are ordered: patterns for training, and others that only evaluation uses."""

from __future__ import annotations

ORDERS: dict[str, tuple[str, ...]] = {
    "count": (
        "count the {unit}( in <text>| here| below| for me|)",
        "(tell me|give me|what is) the number of {unit}( in <text>|)",
    ),
    "pick_items": (
        "(give me|show|list|return|keep|print) (only |just |)the {some}( items| entries| ones| of <list>| from <list>"
        "|)",
        "(repeat|copy) the {some}( items|), (leave out|drop|without) the (rest|others)",
        "(shorten|cut|reduce) <list> to the {some}( items| entries|)",
    ),
    "reverse": (
        "reverse <list>",
        "(put|write|list|give me) <list> in (reverse|reversed|the opposite) order",
        "(turn|flip) <list> (around|upside down)",
        "(list|write) <list> (backwards|from last to first|from the end to the start)",
        "reverse the order( of <list>|)",
    ),
    "unique": (
        "(remove|delete|drop) (the |all |any |)(duplicates|double entries|repeated items|doubles)( from <list>|)",
        "(dedupe|deduplicate) <list>",
        "(keep|list|write|give me) (each|every) (item|entry|thing) (only once|once|just once)",
        "(give me|return) the unique (items|entries|values)( of <list>|)",
    ),
    "find_lines": (
        "(show|give me|list|find|print|return|keep|copy) (only |just |all |)(the |)lines (that contain|containing"
        "|with|that mention|mentioning|that have) {old}( in <text>|)",
        "(filter|grep) <text> for {old}",
        "drop (all|the) lines without {old}",
    ),
    "wrap": (
        "put {how}( in <list>|)",
        "(add|write|place) {how}( in <list>|)",
        "(rewrite|repeat) <list> with {how}",
    ),
    "column": (
        "(list|give me|show|extract|get|print) (all |only |just |)the (values of {key}|{key} column|column {key}"
        "|{key} of each row|{key} of every row)",
        "(pull|take|pick) out the {key} column, one (value|entry) per line",
    ),
    "find_all": (
        "(list|find|extract|give me|show|get|pull out|collect) (all |all the |the |){kind}( in <text>| from <text>|"
        " here|)",
    ),
    "remove_line": (
        "(remove|delete|drop|take out|leave out|cut) the {what} (with|about|that mentions|containing|that contains"
        "|that says) {old}",
        "(repeat|copy|rewrite) <text> without the {what} (about|with|that mentions) {old}",
    ),
    "answer_short": (
        "(read <text> and answer|according to <text>|based on <text>|going by <text>|from <text>): {question}",
    ),
}
SAID: dict[str, tuple[str, ...]] = {  # these take no frame
    "count": (
        "how many {unit} (are there|are in <text>|does <text> have|do you see|do I have here|is that)?",
        "number of {unit}?",
        "how many {unit}? (just the number|only a number|one number|a number is enough)",
        "(I need|I want) to know how many {unit} there are",
        "{unit} count( please|?|)",
    ),
    "pick_items": (
        "(what are|which are) the {some}( items| in <list>| entries|)?",
        "only the {some}( items|), please",
    ),
    "reverse": ("(last|the last one) first, (please|first last)",),
    "unique": (
        "<list> has (duplicates|doubles). (Remove them|Clean it up|Keep each once)",
        "no duplicates(, please| please|)",
    ),
    "find_lines": (
        "which (lines|line) (contain|mention|have|has) {old}?",
        "(only|just) the lines with {old}(, please|)",
    ),
    "wrap": (
        "(I need|I want|I'd like) {how}",
        "{how}, please",
    ),
    "column": (
        "(only|just) the {key} column",
        "(what are|which are) the values (of|for|in) {key}?",
        "{key} (of each|for each|of all), one per line",
    ),
    "find_all": (
        "(which|what) {kind} (are in <text>|are mentioned|appear|do you find|does <text> mention)?",
        "(only|just) the {kind}, (one per line|each on its own line|a line each)",
        "all {kind}( please|, one per line|)",
    ),
    "remove_line": (
        "(everything|all of it|<text>) (but|except|without) the {what} with {old}",
        "the {what} (with|about) {old} (can go|should go|is not needed|has to go)",
    ),
    "answer_short": (
        "{question}",
        "{question}",
        "{question} (Just the answer|Only the answer|Short answer|Answer briefly|As short as possible|No sentence)",
        "(quick question|one question|question|answer this|tell me): {question}",
        "{question} (It is in the text|See below|It says so below|The answer is in <text>)",
    ),
}
HELD_OUT: dict[str, tuple[str, ...]] = {
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
