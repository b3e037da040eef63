"""The conversations of the data file, and plain sentences out of them for the tasks. Knows nothing of training."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SHA256 = "f1a44ffe14c023e26af40c9a99a302b5942097f521e58040658980c7c8586628"
HELD_OUT_EVERY = 50  # one conversation in so many is kept for evaluation
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns and the source they came from."""

    source: str
    messages: tuple[Message, ...]


def read_conversations(path: Path) -> Iterator[Conversation]:
    """Yield the data file's conversations.

    Raises `ValueError` if the file is not the one that the shipped weights were trained on.
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
