"""What the adapter is trained on: tasks on text, questions about the application, and the model's own answers.

Every document is drawn by its number alone, so that a run that was resumed draws what an unbroken one would. Knows
nothing of training.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path

from base import Base, Message
from tasks import make_task
from wording import about

SEED = 20
OWN_SHARE = 0.36  # of the documents
OWN_WEIGHT = 2.0
ABOUT_SHARE = 0.06
DEPARTURE_WEIGHT = 4.0
LONGEST = 1024  # tokens of a document
GROUP = 192  # documents that are sorted by length together
SYSTEM_SHARE = 0.1
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a careful editor. Return only the result.",
    "Answer briefly.",
    "You help with text and code.",
)


@dataclass(frozen=True, slots=True)
class Document:
    """Token ids, the weight of each as a label, and whether the model itself said it."""

    ids: list[int]
    weights: list[float]
    is_own: bool = False


def is_held_out(text: str) -> bool:
    """Say whether an opening is kept for evaluation: one in twelve, by its text alone."""
    return random.Random(text).randrange(12) == 0


def read_own_answers(path: Path, *, held_out: bool = False) -> list[dict[str, object]]:
    """Return the own answers for training, or those kept for evaluation."""
    packed = path.read_bytes()
    text = gzip.decompress(packed) if path.suffix == ".gz" else packed
    records = [json.loads(line) for line in text.decode().split("\n") if line]
    return [record for record in records if is_held_out(str(record["opening"])) == held_out]


def stress_departures(ids: list[int], weights: list[float]) -> list[float]:
    """Return the weights, raised where an answer departs from copying what was said before.

    Most tokens of a task follow from copying alone; what is changed, and where, is in the few pairs of tokens that
    stood nowhere before.

    >>> stress_departures([5, 6, 7, 5, 6, 8], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    [0.0, 0.0, 0.0, 4.0, 1.0, 4.0]
    """
    seen: set[tuple[int, int]] = set()
    stressed = list(weights)
    for position, pair in enumerate(itertools.pairwise(ids), 1):
        if weights[position] and pair not in seen:
            stressed[position] = weights[position] * DEPARTURE_WEIGHT
        seen.add(pair)
    return stressed


class Documents:
    """Draws documents by number."""

    def __init__(self, base: Base, own_answers: Path, sentences: tuple[str, ...] = ()) -> None:
        self.base = base
        self.own = read_own_answers(own_answers)
        self.sentences = sentences

    def document(self, number: int) -> Document:
        """Return the document of that number."""
        for attempt in range(50):
            rng = random.Random(f"{SEED} {number} {attempt}")
            drawn = self._draw(rng)
            if len(drawn.ids) <= LONGEST:
                return drawn
        raise RuntimeError(f"Document {number} is too long in 50 draws: the tasks have grown.")

    def _draw(self, rng: random.Random) -> Document:
        kind = rng.random()
        if kind < OWN_SHARE:
            record = rng.choice(self.own)
            ids, weights = self.base.encode(
                [
                    {"role": "user", "content": str(record["opening"])},
                    {"role": "assistant", "content": str(record["answer"])},
                ]
            )
            if not record["ended"]:
                weights[-1] = 0.0  # it was cut there, and did not end
            return Document(ids, [OWN_WEIGHT * weight for weight in weights], is_own=True)
        if kind < OWN_SHARE + ABOUT_SHARE:
            return Document(*self.base.encode(self._with_system(rng, list(about.make_conversation(rng)))))
        size = 1 + int(14 * rng.random() ** 2.2)
        task = make_task(rng, size=size, sentences=self.sentences)
        ids, weights = self.base.encode(self._with_system(rng, list(task.messages)))
        return Document(ids, stress_departures(ids, weights))

    def _with_system(self, rng: random.Random, messages: list[Message]) -> list[Message]:
        if rng.random() < 1 - SYSTEM_SHARE:
            return messages
        return [{"role": "system", "content": rng.choice(SYSTEM_PROMPTS)}, *messages]

    def batches(self, group: int, tokens: int) -> list[list[Document]]:
        """Return the batches of a group of documents: alike long ones together, at most `tokens` with padding each."""
        documents = sorted(
            (self.document(group * GROUP + index) for index in range(GROUP)), key=lambda each: len(each.ids)
        )
        made: list[list[Document]] = [[]]
        for document in documents:
            if made[-1] and (len(made[-1]) + 1) * len(document.ids) > tokens:
                made.append([])
            made[-1].append(document)
        random.Random(group).shuffle(made)
        return made
