"""Recorded conversations in a tokenizer of a few words, for the tests of `bench replay`."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

WORDS = {"<unk>": 0, "<s>": 1, "</s>": 2, "USER:": 3, "ASSISTANT:": 4} | {
    letter: 5 + i for i, letter in enumerate("abcdefgh")
}


def write_tokenizer(folder: Path) -> Path:
    """Write a tokenizer of a few words to `folder/tokenizers/tiny`; returns the folder of tokenizers."""
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    (folder / "tokenizers" / "tiny").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizers" / "tiny" / "tokenizer.json"))
    return folder / "tokenizers"


def record(*contents: str, suite: str = "tiny", category: str = "copying", name: str = "1") -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    return {"id": name, "suite": suite, "category": category, "tokenizer": "tiny", "messages": messages, "model": "m"}


def written(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


COPY = record("a b c d", "a b c d e")
TALK = record("f", "g h", "again", "g h", category="talk", name="2")


def ids(text: str) -> tuple[int, ...]:
    return tuple(WORDS.get(word, 0) for word in text.split())
