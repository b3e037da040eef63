"""Writes prompts for `bench lossless`: task text, random words and code; short to long; a third of them multi-turn.

    python -m tests.lossless_prompts OUT.jsonl --model assets/starter --count 200

The same seed and model give the same file. Lengths are measured with the model's tokenizer, so that the longest
prompts come close to the wanted number of tokens, or to what the model's context holds.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ANSWER_TOKENS = 128
MARGIN_TOKENS = 48  # what a chat template may add to a turn
NUM_TURNS = (2, 3)

WORDS = [
    "amber",
    "bridge",
    "candle",
    "drift",
    "ember",
    "fable",
    "garden",
    "harbour",
    "island",
    "jacket",
    "kettle",
    "lantern",
    "meadow",
    "needle",
    "orchard",
    "pebble",
    "quarry",
    "ribbon",
    "saddle",
    "timber",
    "umbrella",
    "valley",
    "willow",
    "yonder",
    "zephyr",
    "and",
    "the",
    "of",
    "under",
    "over",
    "beside",
    "between",
    "quickly",
    "slowly",
    "never",
    "always",
    "seven",
    "eleven",
    "forty",
    "hundred",
    "first",
    "last",
    "other",
    "every",
]
NAMES = [
    "total",
    "count",
    "value",
    "result",
    "index",
    "items",
    "price",
    "width",
    "height",
    "offset",
    "buffer",
    "score",
    "limit",
    "rate",
    "size",
]
TASKS = (
    "Repeat the following text exactly:",
    "Replace the word {old} with {new} in this text:",
    "Write this as a numbered list:",
    "Rename {old} to {new} in this code:",
    "Say this back to me word for word:",
    "Turn this into JSON:",
    "What is this about?",
    "Continue this:",
)
FOLLOW_UPS = (
    "Repeat that.",
    "Now replace {old} with {new}.",
    "Once more, and add this at the end:",
    "Show it again, then explain it in a few words:",
)


def _sentence(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.randint(4, 12))
    return " ".join(words).capitalize() + rng.choice(".!?") + " "


def _code(rng: random.Random) -> str:
    a, b, c = rng.sample(NAMES, 3)
    return (
        f"def {a}_of_{b}({b}, {c}={rng.randint(0, 99)}):\n"
        f"    {a} = {b} {rng.choice('+-*')} {c}\n"
        f"    if {a} > {rng.randint(1, 999)}:\n"
        f"        return {a} {rng.choice('+-*')} {rng.randint(1, 9)}\n"
        f"    return {a}\n\n"
    )


def _record(rng: random.Random) -> str:
    return f"{rng.choice(NAMES)}: {rng.choice(WORDS)} {rng.randint(1, 9999)}\n"


def _noise(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789éß€ 漢", k=rng.randint(3, 9))) + " "


def _repeated(rng: random.Random) -> str:
    piece = _sentence(rng)
    return piece + _noise(rng) + piece


SOURCES: Sequence[Callable[[random.Random], str]] = (_sentence, _code, _record, _noise, _repeated)


def text_of(rng: random.Random, num_tokens: int, measure: Callable[[str], int]) -> str:
    """Text of one kind or of all, with at most `num_tokens` tokens and not much less."""
    sources = SOURCES if rng.random() < 0.3 else (rng.choice(SOURCES),)
    pieces: list[str] = []
    used = 0
    while True:
        piece = rng.choice(sources)(rng)
        cost = measure(piece) + 1  # a piece alone may need one token more or less than within the text
        if pieces and used + cost > num_tokens:
            return "".join(pieces).strip()
        pieces.append(piece)
        used += cost


def _turn(rng: random.Random, orders: Sequence[str], num_tokens: int, measure: Callable[[str], int]) -> str:
    order = rng.choice(orders).format(old=rng.choice(WORDS), new=rng.choice(WORDS))
    rest = num_tokens - measure(order) - 4
    return f"{order}\n\n{text_of(rng, rest, measure)}" if rest > 12 else order


def lossless_prompts(
    count: int, *, seed: int, max_prompt_tokens: int, measure: Callable[[str], int]
) -> list[dict[str, Any]]:
    """Lines of the batch format. No prompt, the answers before a last turn included, exceeds `max_prompt_tokens`."""
    rng = random.Random(seed)
    lines: list[dict[str, Any]] = []
    for number in range(count):
        num_turns = rng.choice(NUM_TURNS) if number % 3 == 2 else 1
        room = max_prompt_tokens - num_turns * MARGIN_TOKENS - (num_turns - 1) * (ANSWER_TOKENS + MARGIN_TOKENS)
        # Every eighth prompt is as long as may be; the others' lengths are spread evenly over their logarithms.
        size = room if number % 8 == 0 else int(24 * (room / 24) ** rng.random())
        line: dict[str, Any] = {"id": f"p{number:03}", "max_tokens": ANSWER_TOKENS, "ignore_eos": True}
        if num_turns == 1:
            line |= {"prompt": _turn(rng, TASKS, size, measure), "category": "single-turn"}
        else:
            first = _turn(rng, TASKS, size * 2 // 3, measure)
            later = [_turn(rng, FOLLOW_UPS, size // 3 // (num_turns - 1), measure) for _ in range(num_turns - 1)]
            line |= {"turns": [first, *later], "category": "multi-turn"}
        if number % 5 == 3:
            line["repetition_penalty"] = rng.choice((1.05, 1.2))
        if number % 7 == 4:
            line |= rng.choice(({"top_k": 40}, {"top_p": 0.9}, {"min_p": 0.05}))
        lines.append(line)
    return lines


def tokenizer_measure(folder: Path) -> tuple[Callable[[str], int], int]:
    """(count of a text's tokens, the context's length) of the model in a folder."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    context: int = AutoConfig.from_pretrained(folder, local_files_only=True).max_position_embeddings
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]), context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=Path("assets/starter"), help="a model's folder")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-prompt-tokens", type=int, default=2000)
    given = parser.parse_args()
    measure, context = tokenizer_measure(given.model)
    longest = min(given.max_prompt_tokens, context - ANSWER_TOKENS)
    lines = lossless_prompts(given.count, seed=given.seed, max_prompt_tokens=longest, measure=measure)
    given.out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
