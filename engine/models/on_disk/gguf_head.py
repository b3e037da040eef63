"""The first facts of a GGUF file: what stands before its vocabulary, from one short read.

Only for lists of models: `engine.models.checkpoints` looks through a file before it is loaded. Source: the GGUF
specification (ggml/docs/gguf.md), versions 2 and 3.
"""

import re
import struct
from pathlib import Path
from typing import Any

from engine.models.checkpoints.checkpoint import ModelShape, Tensor

HEAD_BYTES = 64 * 1024
_MAX_KEY, _MAX_PAIRS = 256, 4096
_MAX_TEXTS = 256  # of a list; a longer one is the vocabulary, and what is wanted stands before it
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_NO_CHAT = {"clip", "bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "t5encoder", "whisper", "wavtokenizer-dec"}
_NO_MODEL = {"adapter", "mmproj", "imatrix", "vocab"}  # general.type
# Bits of a weight by the format that the file's name gives, scales and larger embeddings included; typical values.
_BITS = (
    (r"f32|fp32", 32.0),
    (r"bf16|f16|fp16", 16.0),
    (r"q8", 8.5),
    (r"q6", 6.6),
    (r"q5", 5.7),
    (r"i?q4|mxfp4", 4.9),
    (r"i?q3", 3.9),
    (r"i?q2", 3.0),
    (r"i?q1|tq[12]", 2.0),
)
_USUAL_BITS = 4.9
_LABEL = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)([KMBT])", re.IGNORECASE)
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class _Short(Exception):
    """What was read ends here."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def scalar(self, code: str) -> Any:
        size = struct.calcsize("<" + code)
        return struct.unpack("<" + code, self.take(size))[0]

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _Short
        part, self._at = self._data[self._at : end], end
        return part

    def string(self, limit: int) -> str:
        size = self.scalar("Q")
        if size > limit:
            raise _Short
        return self.take(size).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        """A value; None for an array, which is passed over."""
        if kind == _STRING:
            return self.string(HEAD_BYTES)
        if kind != _ARRAY:
            if kind not in _SCALARS:
                raise _Short
            return self.scalar(_SCALARS[kind])
        element, count = self.scalar("I"), self.scalar("Q")
        if element in _SCALARS:
            self.take(count * struct.calcsize("<" + _SCALARS[element]))
        elif element != _STRING or count > _MAX_TEXTS:
            raise _Short
        else:
            for _ in range(count):
                self.string(HEAD_BYTES)
        return None


def read_head(file: Path) -> dict[str, Any] | None:
    """The key-value pairs at the beginning of a file; None where it is no GGUF file. Raises `OSError`."""
    with file.open("rb") as stream:
        return parse_head(stream.read(HEAD_BYTES))


def parse_head(start: bytes) -> dict[str, Any] | None:
    """The key-value pairs in the first bytes of a file, as far as they go; None where it is no GGUF file."""
    reader = _Reader(start)
    pairs: dict[str, Any] = {}
    try:
        if reader.take(4) != b"GGUF" or reader.scalar("I") not in (2, 3):
            return None
        reader.scalar("Q")  # how many tensors
        for _ in range(min(reader.scalar("Q"), _MAX_PAIRS)):
            key = reader.string(_MAX_KEY)
            value = reader.value(reader.scalar("I"))
            if value is not None:
                pairs[key] = value
    except _Short:
        pass
    return pairs


def is_chat_model(pairs: dict[str, Any]) -> bool:
    """Whether a file can be a model that writes text: no vision part, no embedding model, no adapter."""
    return pairs.get("general.architecture") not in _NO_CHAT and pairs.get("general.type") not in _NO_MODEL


def shape_of(name: str, size_bytes: int, pairs: dict[str, Any]) -> ModelShape:
    """What a model's size is, as far as the head and the file's name and size tell; usual values for the rest."""
    prefix = pairs.get("general.architecture", "")

    def number(key: str, usual: int) -> int:
        value = pairs.get(f"{prefix}.{key}")
        return value if isinstance(value, int) and 0 < value < 2**31 else usual

    heads = number("attention.head_count", 32)
    hidden = number("embedding_length", 4096)
    config = {
        "model_type": str(prefix),
        "num_hidden_layers": number("block_count", 32),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv", heads if prefix else 8),
        "head_dim": number("attention.key_length", max(1, hidden // heads)),
        "hidden_size": hidden,
        "max_position_embeddings": number("context_length", 8192),
    }
    return ModelShape(name, config, (Tensor("weights", "", (parameters(name, size_bytes, pairs), 1)),))


def parameters(name: str, size_bytes: int, pairs: dict[str, Any]) -> int:
    """How many weights a file holds, about."""
    count, label = pairs.get("general.parameter_count"), pairs.get("general.size_label")
    by_size = int(size_bytes * 8 / _bits(name))
    if isinstance(count, int) and count > 0:
        return count
    if isinstance(label, str) and (match := _LABEL.fullmatch(label.strip())):
        labelled = int(int(match[1] or 1) * float(match[2]) * _UNITS[match[3].upper()])
        if by_size / 4 < labelled < by_size * 4:  # else it is wrong, as in a file that was made from another
            return labelled
    return by_size


def _bits(name: str) -> float:
    for pattern, bits in _BITS:
        if re.search(rf"(?<![a-z0-9])(?:{pattern})(?![0-9])", name.lower()):
            return bits
    return _USUAL_BITS
