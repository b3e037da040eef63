"""Measure a model folder: exact answers per task family, questions about the application, conversation, samples.

    python evaluate.py --conversations chat.jsonl.gz --json figures.json
    python evaluate.py --tasks FILE.jsonl
    python evaluate.py --conversations chat.jsonl.gz --per-family 12 --speed-prompts FILE.jsonl

Answers come from the application itself, greedily: `launcher.py ask --batch FILE --json`. A file of tasks holds a
JSON object a line, with `family`, `messages` (ending in a user's turn) and `expect`, the exact answer. The prompts of
the third form are for `launcher.py bench speed --prompts`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from about import QUESTIONS
from conversations import read_conversations, sentences_of, split
from measure import conversation_figures, copy_figures
from tasks import FAMILIES, Task, make_task
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

SEED = 7
FOLLOW_UPS = ("second turn", "third turn")
APPLICATION = ("application", "application again")  # two sets of twenty questions, each by an author of its own
LAUNCHER = Path(__file__).parents[3] / "launcher.py"
SAMPLE_PROMPTS = (
    "Hello",
    "What is Slipstream?",
    "How does drafting work?",
    "Where are my conversations stored?",
    "Repeat this text:\n\nThe ferry to Marlow leaves at 7:45 from pier 12, and the last one returns at 22:10.",
    "Rename the variable total to amount_due:\n\n"
    "def add_tax(total, rate):\n    tax = total * rate\n    return total + tax",
    "Turn this into a numbered list:\n\napples, pears, oat milk, dark bread",
    "Convert this to JSON:\n\nname: Wilma Krantz\ncity: Tampere\nphone: 555-0182",
    'Fix the typo "recieved" (should be "received"):\n\nWe recieved your letter on Monday.',
    "Write this in upper case:\n\nthe meeting starts at noon",
    "Sort these alphabetically:\n\nplum, apple, kiwi, fig",
    "Tell me a short story.",
    "What is the capital of France?",
    "What is 17 times 23?",
    "Write a haiku about rain.",
    "Who won the match yesterday?",
)

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what the answer must be: the exact text, or a pattern that must occur in it."""

    family: str
    messages: tuple[Message, ...]
    expect: str = ""
    pattern: str = ""

    def is_right(self, answer: str) -> bool:
        """Say whether the answer is what was expected."""
        return bool(re.search(self.pattern, answer)) if self.pattern else answer == self.expect


def held_out_tasks(per_family: int, sentences: tuple[str, ...]) -> list[Question]:
    """Return tasks of every family and of follow-ups, in wordings and words that no training task has.

    Sizes go from 1 to 5; with `sentences`, half of the prose is those.
    """
    rng = random.Random(SEED)

    def question(family: str, task: Task) -> Question:
        return Question(family, task.messages[:-1], task.answer)

    found = [
        question(family, make_task(rng, family, 1 + index % 5, True, sentences, turns=1))
        for family in FAMILIES
        for index in range(per_family)
    ]
    found += [
        question(family, make_task(rng, None, 1 + index % 5, True, sentences, turns))
        for turns, family in enumerate(FOLLOW_UPS, 2)
        for index in range(2 * per_family)
    ]
    return found


def speed_prompts(per_family: int, sentences: tuple[str, ...], openings: Sequence[str]) -> list[dict[str, object]]:
    """Return held-out tasks and the `openings` of conversations as `bench speed` takes them, a category a family."""
    prompts: list[dict[str, object]] = [
        {"category": question.family.replace("_", " "), "messages": question.messages, "max_tokens": 300}
        for question in held_out_tasks(per_family, sentences)
    ]
    return prompts + [
        {"category": "free conversation", "messages": [{"role": "user", "content": opening}], "max_tokens": 200}
        for opening in openings
    ]


def read_tasks(path: Path) -> list[Question]:
    """Return the tasks of a file."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [Question(record["family"], tuple(record["messages"]), record["expect"]) for record in records]


def application_questions() -> list[Question]:
    """Return the questions about the application, with the pattern that a right answer has."""
    return [
        Question(record["family"], ({"role": "user", "content": record["question"]},), pattern=record["expect_match"])
        for record in json.loads(QUESTIONS.read_text(encoding="utf-8"))
    ]


def ask_all(model: Path, conversations: Iterable[tuple[Message, ...]], max_tokens: int) -> list[str]:
    """Return the application's greedy answers, in order; an answer that failed is empty."""
    with tempfile.TemporaryDirectory() as folder:
        batch = Path(folder) / "batch.jsonl"
        lines = [json.dumps({"messages": messages, "max_tokens": max_tokens}) for messages in conversations]
        batch.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [
            sys.executable,
            str(LAUNCHER),
            "ask",
            "--model",
            str(model.resolve()),
            "--batch",
            str(batch),
            "--json",
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=False)
    answers = [json.loads(line).get("text") for line in done.stdout.splitlines()]
    if len(answers) != len(lines) or set(answers) == {None}:
        raise RuntimeError(f"The application answered none or not all of {len(lines)} questions: see its messages.")
    return [answer or "" for answer in answers]


def exact_figures(model: Path, questions: list[Question]) -> tuple[dict[str, float], list[tuple[Question, str]]]:
    """Return the share of right answers per family, and the questions that got a wrong one with it."""
    answers = ask_all(model, (question.messages for question in questions), max_tokens=700)
    counts: dict[str, list[bool]] = defaultdict(list)
    wrong = []
    for question, answer in zip(questions, answers, strict=True):
        counts[question.family].append(question.is_right(answer))
        if not counts[question.family][-1]:
            wrong.append((question, answer))
    return {family: sum(right) / len(right) for family, right in counts.items()}, wrong


def mean_over_families(shares: dict[str, float]) -> float:
    """Return the mean over the families of one turn."""
    chosen = [share for family, share in shares.items() if family not in (*FOLLOW_UPS, *APPLICATION)]
    return sum(chosen) / len(chosen)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--conversations", type=Path, help="chat.jsonl.gz: held-out prose, and perplexity")
    parser.add_argument("--tasks", type=Path, help="a file of tasks, in place of generated ones")
    parser.add_argument("--per-family", type=int, default=40)
    parser.add_argument("--speed-prompts", type=Path, metavar="FILE", help="write prompts to measure speed on, and end")
    parser.add_argument("--json", type=Path, help="write figures, samples and wrong answers there")
    return parser.parse_args()


def main() -> None:
    """Evaluate and print; write the figures as JSON if asked."""
    args = parse_args()
    figures: dict[str, object] = {}
    held_out = split(read_conversations(args.conversations))[1] if args.conversations else []
    sentences = sentences_of(held_out)
    if args.speed_prompts:
        openings = [each.messages[0]["content"] for each in held_out if each.messages[0]["role"] == "user"]
        chosen = random.Random(SEED).sample(openings, min(2 * args.per_family, len(openings)))
        lines = [json.dumps(prompt) for prompt in speed_prompts(args.per_family, sentences, chosen)]
        args.speed_prompts.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    if args.tasks:
        questions = read_tasks(args.tasks)
    else:
        questions = held_out_tasks(args.per_family, sentences) + application_questions()
    shares, wrong = exact_figures(args.model, questions)
    figures["exact"] = shares | {"mean": mean_over_families(shares)}
    figures["wrong"] = [
        {"family": question.family, "asked": question.messages[-1]["content"], "expected": question.expect, "got": got}
        for question, got in wrong
    ]
    for family, share in figures["exact"].items():
        print(f"{family:18} {100 * share:5.1f} % exact")
    if not args.tasks:
        model = AutoModelForCausalLM.from_pretrained(args.model).eval()
        figures["copying"] = copy_figures(model)
        if args.conversations:
            tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
            figures["conversation"] = conversation_figures(model, tokenizer, args.conversations, 300)
        prompts = [({"role": "user", "content": prompt},) for prompt in SAMPLE_PROMPTS]
        figures["samples"] = list(zip(SAMPLE_PROMPTS, ask_all(args.model, prompts, max_tokens=200), strict=True))
        print(figures["copying"], figures.get("conversation"))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
