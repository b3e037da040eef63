"""Recorded conversations as token ids, for a replay.

A line of a file is `{"id", "suite", "category", "tokenizer", "messages": [{"role", "content"}, ...]}`; other keys are
ignored. A user's turn becomes `USER: ` + content + ` ASSISTANT:`, an assistant's turn its content and one end token,
both without special tokens. Greedy answers are fixed, so what a drafter would have had accepted is what agrees here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from engine.batch import read_lines

END_ID = 2  # in every tokenizer, even where it means something else: a yardstick
_KEYS = ("id", "suite", "category", "tokenizer", "messages")


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt and its answer, end token included; the prompt follows what was said before."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    name: str
    suite: str
    category: str
    turns: tuple[Turn, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(chain.from_iterable((*turn.prompt_ids, *turn.answer_ids) for turn in self.turns))


class Tokenizers:
    """The tokenizers of a folder, `NAME/tokenizer.json` each, loaded when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Tokenizer] = {}

    def __getitem__(self, name: str) -> Tokenizer:
        """`ValueError` where there is none by that name."""
        if name not in self._loaded:
            path = self._folder / name / "tokenizer.json"
            if not path.is_file():
                raise ValueError(f"needs the tokenizer {name!r}, and there is no {path}.")
            try:
                self._loaded[name] = Tokenizer.from_file(str(path))
            except Exception as exc:  # what the library raises is no finer than this
                raise ValueError(f"needs the tokenizer {name!r}, and {path} cannot be read: {exc}.") from exc
        return self._loaded[name]


def _ids(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False).ids)


def _turns(messages: object, tokenizer: Tokenizer) -> tuple[Turn, ...]:
    """The answered turns; `ValueError` where roles or contents are not what they must be."""
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a non-empty list.")
    turns: list[Turn] = []
    prompt: tuple[int, ...] = ()
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, Mapping) else None
        content = message.get("content") if isinstance(message, Mapping) else None
        if role not in ("user", "assistant") or not isinstance(content, str):
            raise ValueError(f"messages[{index}] must be a user's or an assistant's, with text as its content.")
        if role == "user":
            prompt += _ids(tokenizer, f"USER: {content} ASSISTANT:")
        elif not prompt:
            raise ValueError(f"messages[{index}] answers nothing: a user's turn must come before it.")
        else:
            turns.append(Turn(prompt, (*_ids(tokenizer, content), END_ID)))
            prompt = ()
    if not turns:
        raise ValueError("messages hold no answer.")
    return tuple(turns)


def _parse(raw: bytes, tokenizers: Tokenizers) -> Transcript:
    try:
        data: Any = json.loads(raw.decode())
    except UnicodeDecodeError as exc:
        raise ValueError(f"is not UTF-8 text (byte {exc.start}).") from exc
    except json.JSONDecodeError as exc:
        raise ValueError(f"is not JSON: {exc.msg} at character {exc.pos}.") from exc
    missing = [key for key in _KEYS if not isinstance(data, Mapping) or key not in data]
    if missing:
        raise ValueError(f"must be an object with the keys {', '.join(_KEYS)}; there is no {missing[0]}.")
    labels = [data[key] for key in _KEYS[:-1]]
    if not all(isinstance(label, str) and label for label in labels):
        raise ValueError(f"{', '.join(_KEYS[:-1])} must be text.")
    name, suite, category, tokenizer = labels
    return Transcript(name, suite, category, _turns(data["messages"], tokenizers[tokenizer]))


def read_transcripts(paths: Sequence[Path], tokenizers: Tokenizers, limit: int | None = None) -> list[list[Transcript]]:
    """The conversations of each file, the first `limit` of it.

    `ValueError` at the first bad line, or where a file has none; `OSError` where it cannot be read.
    """
    files = []
    for path in paths:
        transcripts: list[Transcript] = []
        for number, raw in read_lines(path.read_bytes().splitlines()):
            if len(transcripts) == limit:
                break
            try:
                transcripts.append(_parse(raw, tokenizers))
            except ValueError as exc:
                raise ValueError(f"{path}: Line {number}: {exc}") from exc
        if not transcripts:
            raise ValueError(f"{path}: no conversations in there.")
        files.append(transcripts)
    return files
