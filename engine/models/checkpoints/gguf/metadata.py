"""Values of a GGUF file's metadata, each of the kind and size that it must have."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from engine.models.checkpoints.gguf.header import Array, damaged


@dataclass(frozen=True, slots=True)
class Metadata:
    """Reads metadata by key; whatever is not as it must be raises `BrokenModel`."""

    file: Path
    values: dict[str, Any]

    @property
    def architecture(self) -> str:
        return self.text("general.architecture") or ""

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if not isinstance(value, str | None):
            raise damaged(self.file, f"its {key} is no text")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise damaged(self.file, f"its {key} is neither true nor false")
        return value

    def integer(self, key: str, default: int | None = None, *, lowest: int = 0, highest: int = 2**31 - 1) -> int:
        """A whole number; without a default it must be there."""
        value = self.values.get(key, default)
        if value is None:
            raise damaged(self.file, f"its {key} is missing")
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise damaged(self.file, f"its {key} is no number from {lowest} to {highest:,}")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.values.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            raise damaged(self.file, f"its {key} is no number")
        return float(value)

    def token(self, key: str, num_tokens: int, default: int | None = None) -> int | None:
        """The id of a token, where the file names one; llama.cpp takes one outside the vocabulary for none."""
        value = self.values.get(f"tokenizer.ggml.{key}_token_id", default)
        return value if isinstance(value, int) and 0 <= value < num_tokens else None

    def array(self, key: str, kind: type) -> list[Any]:
        """The items of an array, all of one kind; empty where there is none."""
        value = self.values.get(key)
        if value is None:
            return []
        items = value.values() if isinstance(value, Array) else None
        if items is None or not all(isinstance(item, kind) for item in items):
            raise damaged(self.file, f"its {key} is no list of {kind.__name__}")
        return items
