"""Measure SmolLM2 with an adapter: exact answers by family, questions about the application, how it chats.

    python evaluate.py --adapter FOLDER --own-answers own_answers.jsonl --conversations chat.jsonl.gz
    python evaluate.py --adapter FOLDER --tasks FILE.jsonl
    python evaluate.py --per-family 12 --speed-prompts FILE.jsonl

Without --adapter the model is measured as it was published. Answers come from the application itself, greedily:
`launcher.py ask --batch FILE --json`. A file of tasks holds a JSON object a line, with `family`, `messages` (ending
in a user's turn) and `expect`, the exact answer, or `pattern`, which must occur in the answer. The prompts of the third
form are for `launcher.py bench speed --prompts`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from base import Base, Message
from conversations import read_conversations, sentences_of, split
from data import read_own_answers
from tasks import FAMILIES, Task, make_task
from wording.about import QUESTIONS

from engine.models.adapted import merge
from engine.models.checkpoints.adapter import Adapter

SEED = 7
FOLLOW_UPS = ("second turn", "third turn")
APPLICATION = ("application", "application again")  # two sets of questions, each by an author of its own
LAUNCHER = Path(__file__).parents[3] / "launcher.py"
NUM_OWN = 200


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what the answer must be: the exact text, or a pattern that must occur in it."""

    family: str
    messages: tuple[Message, ...]
    expect: str = ""
    pattern: str = ""

    def is_right(self, answer: str) -> bool:
        """Say whether the answer is what was expected; a fence around it does not count, nor how JSON is spaced."""
        if self.pattern:
            return bool(re.search(self.pattern, answer, re.IGNORECASE))
        given, wanted = without_fence(answer), without_fence(self.expect)
        return given == wanted or (wanted[:1] in ("[", "{") and as_data(given) == as_data(wanted))


def without_fence(text: str) -> str:
    """Return a text without the spaces and the one fence around it.

    >>> without_fence("```python\\nx = 1\\n```\\n")
    'x = 1'
    """
    fenced = re.fullmatch(r"```\w*\n(.*?)\n?```", text.strip(), re.DOTALL)
    return (fenced[1] if fenced else text).strip()


def as_data(text: str) -> object:
    """Return what JSON says; of anything else, the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


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


def speed_prompts(per_family: int, sentences: tuple[str, ...]) -> list[dict[str, object]]:
    """Return held-out tasks as `bench speed` takes them, a category a family."""
    return [
        {"category": question.family.replace("_", " "), "messages": question.messages, "max_tokens": 300}
        for question in held_out_tasks(per_family, sentences)
    ]


def read_tasks(path: Path) -> list[Question]:
    """Return the tasks of a file."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        Question(record["family"], tuple(record["messages"]), record.get("expect", ""), record.get("pattern", ""))
        for record in records
    ]


def application_questions() -> list[Question]:
    """Return the questions about the application, with the pattern that a right answer has."""
    return [
        Question(record["family"], ({"role": "user", "content": record["question"]},), pattern=record["expect_match"])
        for record in json.loads(QUESTIONS.read_text(encoding="utf-8"))
    ]


def ask_all(flags: list[str], conversations: Iterable[tuple[Message, ...]], max_tokens: int) -> list[str]:
    """Return the application's greedy answers, in order; an answer that failed is empty."""
    with tempfile.TemporaryDirectory() as folder:
        batch = Path(folder) / "batch.jsonl"
        lines = [json.dumps({"messages": messages, "max_tokens": max_tokens}) for messages in conversations]
        batch.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [sys.executable, str(LAUNCHER), *flags, "ask", "--temperature", "0", "--batch", str(batch), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=False)
    answers = [json.loads(line).get("text") for line in done.stdout.splitlines()]
    if len(answers) != len(lines) or set(answers) == {None}:
        raise RuntimeError(f"The application answered none or not all of {len(lines)} questions: see its messages.")
    return [answer or "" for answer in answers]


def exact_figures(flags: list[str], questions: list[Question]) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Return the share of right answers per family, and the wrong answers."""
    answers = ask_all(flags, (question.messages for question in questions), max_tokens=700)
    counts: dict[str, list[bool]] = defaultdict(list)
    wrong = []
    for question, answer in zip(questions, answers, strict=True):
        counts[question.family].append(question.is_right(answer))
        if not counts[question.family][-1]:
            asked, expected = question.messages[-1]["content"], question.expect or question.pattern
            wrong.append({"family": question.family, "asked": asked, "expected": expected, "got": answer})
    return {family: sum(right) / len(right) for family, right in counts.items()}, wrong


def mean_over_families(shares: dict[str, float]) -> float:
    """Return the mean over the families of one turn."""
    chosen = [share for family, share in shares.items() if family not in (*FOLLOW_UPS, *APPLICATION)]
    return sum(chosen) / len(chosen)


def chat_figures(own_answers: Path, adapter: Path | None) -> dict[str, float]:
    """Return the perplexity of the model's own answers that were kept out of training, as published and adapted."""
    records = read_own_answers(own_answers, held_out=True)[:NUM_OWN]
    base = Base.load(dtype="float32")
    figures = {"num_answers": float(len(records)), "published": perplexity(base, records)}
    if adapter is not None:
        merge(base.model, Adapter.read(adapter))
        figures["adapted"] = perplexity(base, records)
    return figures


@torch.inference_mode()
def perplexity(base: Base, records: list[dict[str, Any]]) -> float:
    """Return the perplexity per token of answers to their openings."""
    loss_sum, num_tokens = 0.0, 0
    for record in records:
        asked = {"role": "user", "content": record["opening"]}
        ids, weights = base.encode([asked, {"role": "assistant", "content": record["answer"]}])
        chosen = torch.tensor(weights[1:]) > 0
        if not record["ended"]:
            chosen[-1] = False
        inputs = torch.tensor([ids[:-1]], device=base.device)
        logits = base.model(input_ids=inputs, use_cache=False).logits[0, chosen.to(base.device)].float()
        labels = torch.tensor(ids[1:], device=base.device)[chosen.to(base.device)]
        loss_sum += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        num_tokens += int(chosen.sum())
    return math.exp(loss_sum / num_tokens)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--backend", default="auto", help="as the application has it")
    parser.add_argument("--own-answers", type=Path, help="perplexity of those that training did not see")
    parser.add_argument(
        "--conversations", type=Path, help="chat.jsonl.gz: half of the prose is held-out sentences of it"
    )
    parser.add_argument("--tasks", type=Path, help="a file of tasks, in place of generated ones")
    parser.add_argument("--per-family", type=int, default=20)
    parser.add_argument("--speed-prompts", type=Path, metavar="FILE", help="write prompts to measure speed on, and end")
    parser.add_argument("--json", type=Path, help="write figures and wrong answers there")
    return parser.parse_args()


def main() -> None:
    """Evaluate and print; write the figures as JSON if asked."""
    args = parse_args()
    sentences = sentences_of(split(read_conversations(args.conversations))[1]) if args.conversations else ()
    if args.speed_prompts:
        lines = [json.dumps(prompt) for prompt in speed_prompts(args.per_family, sentences)]
        args.speed_prompts.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    chosen = ["--adapter", str(args.adapter.resolve())] if args.adapter else ["--no-adapter"]
    flags = ["--model", "smollm2", "--backend", args.backend, *chosen]
    questions = read_tasks(args.tasks) if args.tasks else held_out_tasks(args.per_family, sentences)
    shares, wrong = exact_figures(flags, questions if args.tasks else questions + application_questions())
    figures: dict[str, Any] = {"exact": shares | {"mean": mean_over_families(shares)}, "wrong": wrong}
    for family, share in figures["exact"].items():
        print(f"{family:18} {100 * share:5.1f} % exact")
    if args.own_answers:
        figures["chat"] = chat_figures(args.own_answers, args.adapter)
        print("perplexity of own answers:", figures["chat"])
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
