"""The model that is trained on: SmolLM2-135M-Instruct as the application loads it, and its chat format.

Knows nothing of tasks or training.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[3]))

from engine.config import ModelSpec  # the path has to come first
from engine.models.loader import load_model

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Base:
    """The frozen model with its tokenizer."""

    model: Any
    tokenizer: Any
    device: torch.device

    @classmethod
    def load(cls, device: str = "auto", dtype: str = "bfloat16", threads: int | None = None) -> Base:
        """Load the model as it was published."""
        loaded = load_model(
            ModelSpec(model="smollm2", no_adapter=True, device=device, dtype=dtype, backend="torch", threads=threads),
            report=lambda _: None,
        )
        return cls(loaded.model, loaded.tokenizer, loaded.device)

    def render(self, messages: list[Message], *, ask: bool = False) -> str:
        """Return the text of a conversation; with `ask`, up to where the next answer begins."""
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
        return text

    def encode(self, messages: list[Message]) -> tuple[list[int], list[float]]:
        """Return the ids of a conversation and a weight for each: 1 for the answers and their end tokens, else 0."""
        ids: list[int] = []
        weights: list[float] = []
        text = ""
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:number], ask=True)
            after = self.render(messages[: number + 1]).removesuffix("\n")
            for piece, weight in ((before.removeprefix(text), 0.0), (after.removeprefix(before), 1.0)):
                new = self.tokenizer(piece, add_special_tokens=False).input_ids
                ids += new
                weights += [weight] * len(new)
            text = after
        return ids, weights
