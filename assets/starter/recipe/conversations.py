"""Conversations: those of the data file, those about the application, and how any becomes token ids.

Knows the chat format, which must say what the shipped template says. Knows nothing of training.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import about
from model import END_ID, TURN_ID
from tokenizers import Tokenizer

SHA256 = "f1a44ffe14c023e26af40c9a99a302b5942097f521e58040658980c7c8586628"
HELD_OUT_EVERY = 50  # one conversation in so many is kept for evaluation
USER_WEIGHT = 0.2  # what people say teaches the language, but the answer matters
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "Answer briefly.",
    "Be helpful.",
)
SHARES = {  # how often a source is drawn, relative to its number of conversations
    "schema-guided-dialogue": 0.15,
    "tldr-pages": 0.2,
    "gsm8k": 0.3,
    "oasst-model-eval pythia outputs": 0.5,
    "taskmaster": 0.3,
    "topical-chat": 0.3,
    "chatterbot-corpus": 2.0,
    "rasbt/LLMs-from-scratch instruction-data": 3.0,
    "tinystories": 3.0,
}

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns and the source they came from."""

    source: str
    messages: tuple[Message, ...]


def read_conversations(path: Path) -> Iterator[Conversation]:
    """Yield the data file's conversations.

    Raises ValueError if the file is not the one the shipped weights were trained on.
    """
    packed = path.read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != SHA256:
        raise ValueError(f"{path} has sha256 {found}, the recipe needs {SHA256}: use the file it names")
    for line in gzip.decompress(packed).decode().rstrip("\n").split("\n"):
        record = json.loads(line)
        yield Conversation(record["source"], tuple(record["messages"]))


def split(conversations: Iterable[Conversation]) -> tuple[list[Conversation], list[Conversation]]:
    """Return the conversations for training and those held out, by position."""
    training: list[Conversation] = []
    held_out: list[Conversation] = []
    for index, conversation in enumerate(conversations):
        (held_out if index % HELD_OUT_EVERY == 7 else training).append(conversation)
    return training, held_out


def sentences_of(conversations: Iterable[Conversation]) -> tuple[str, ...]:
    """Return plain sentences of 4 to 25 words, for the tasks to repeat."""
    found: dict[str, None] = {}
    for conversation in conversations:
        for message in conversation.messages:
            for sentence in re.split(r"(?<=[.!?]) +|\n+", message["content"]):
                plain = re.fullmatch(r"[A-Z][A-Za-z0-9 ,;:'\"()$%-]+[.!?]", sentence)
                if plain and 4 <= len(sentence.split()) <= 25:
                    found[sentence] = None
    return tuple(found)


class ConversationSource:
    """Draws training conversations by source, and questions about the application."""

    def __init__(self, conversations: Iterable[Conversation], about_share: float = 0.75) -> None:
        self.conversations = list(conversations)
        weights = [SHARES.get(conversation.source, 1.0) for conversation in self.conversations]
        self.cumulative = [sum(weights[:1])]
        for weight in weights[1:]:
            self.cumulative.append(self.cumulative[-1] + weight)
        self.about_share = about_share

    def draw(self, rng: random.Random) -> tuple[tuple[Message, ...], bool]:
        """Return a conversation, now and then with a system prompt, and whether it is about the application."""
        is_about = rng.random() < self.about_share
        if is_about:
            messages = about.make_conversation(rng)
        else:
            messages = rng.choices(self.conversations, cum_weights=self.cumulative)[0].messages
        return with_system(rng, messages), is_about


def with_system(rng: random.Random, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the conversation with a system prompt in front in one case out of eight."""
    if rng.random() < 0.875:
        return messages
    return ({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)}, *messages)


def encode(
    tokenizer: Tokenizer, messages: Iterable[Message], user_weight: float, last_only: bool = False
) -> tuple[list[int], list[float]]:
    """Return token ids and the loss weight of each as a label.

    An assistant's turn weighs 1, its end token included; `last_only` drops the weight of all but the last turn.
    """
    ids: list[int] = []
    weights: list[float] = []
    turns = list(messages)
    newline = tokenizer.encode("\n").ids
    for number, message in enumerate(turns):
        is_answer = message["role"] == "assistant"
        weight = 1.0 if is_answer and (not last_only or number == len(turns) - 1) else 0.0
        if not is_answer and message["role"] == "user":
            weight = user_weight
        head = [TURN_ID, *tokenizer.encode(message["role"] + "\n").ids]
        body = [*tokenizer.encode(message["content"]).ids, END_ID]
        ids += [*head, *body, *newline]
        weights += [0.0] * len(head) + [weight] * len(body) + [0.0] * len(newline)
    return ids, weights
