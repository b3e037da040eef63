"""Which model it is, for what belongs to one model: told by contents, wherever its files lie.

Weights of any size are told apart by samples of them: two trainings of a model differ everywhere.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SAMPLES, _SAMPLE = 64, 4096  # of a file, and bytes of each


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """`tokenizer` and `weights` are digests; `weights` is that of the files, so of one quantisation."""

    architecture: str
    hidden_size: int
    vocab_size: int
    tokenizer: str
    weights: str


def weights_digest(files: Sequence[Path]) -> str:
    """Tell weights by the size and samples of their files, in order."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            digest.update(f"{size}\0".encode())
            for index in range(_SAMPLES):
                stream.seek(max(0, size - _SAMPLE) * index // (_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Tell a tokenizer by its words and their ids."""
    words = sorted(tokenizer.get_vocab().items(), key=lambda word: (word[1], word[0]))
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()
