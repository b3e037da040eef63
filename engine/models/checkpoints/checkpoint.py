"""A model on disk, whatever its format: what it holds, and how transformers reads it.

A format is one file here with a subclass of `Checkpoint`; `catalog` chooses it. Reads no weights.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

_VISION = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a checkpoint, as its file describes it. `num_bytes` are those in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    num_bytes: int = 0

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class ModelShape:
    """A model as far as its sizes go. `config` is the text model's part of config.json."""

    name: str
    config: dict[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    @property
    def num_parameters(self) -> int:
        """Elements of the text model's tensors."""
        return sum(t.num_elements for t in self.text_tensors)

    @property
    def text_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that end up on the device: no vision parts, no second copy of a tied head."""
        tensors = (t for t in self.tensors if not t.name.startswith(_VISION))
        return tuple(t for t in tensors if not (self.tied and t.name.endswith("lm_head.weight")))

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding."""
        default = self.model_type.startswith("gemma")  # configs leave out what is their class's default
        return bool(self.config.get("tie_word_embeddings", default))


class DecodedWeight(Protocol):
    """A weight that its checkpoint turns into numbers, some rows at a time."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def pieces(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Rows as their indices and their numbers, (rows, *the rest of the shape); together all rows once."""


@dataclass(frozen=True)
class Checkpoint(ModelShape, ABC):
    """A model on disk that was looked through and found whole."""

    path: Path

    config_place: ClassVar[str] = "its config.json"  # where the configuration stands, for sentences
    tokenizer_advice: ClassVar[str] = "Copy tokenizer.json and tokenizer_config.json from the original model."

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Names the weights and their configuration, without reading the weights."""

    @property
    @abstractmethod
    def stored_in(self) -> tuple[Path, ...]:
        """The files that hold the weights, in order."""

    @abstractmethod
    def opened(self, *, tokenizer: bool = False) -> AbstractContextManager[dict[str, Any]]:
        """The arguments with which every `from_pretrained` of transformers finds the configuration, the weights where
        they are not decoded here, and the tokenizer where it is asked for."""

    def decoded_weights(self) -> Mapping[str, DecodedWeight]:
        """The weights that this format decodes itself, by transformers' names; none where transformers reads them."""
        return {}

    @abstractmethod
    def generation_defaults(self) -> dict[str, Any]:
        """What the model's maker recommends for sampling and ending, as in generation_config.json; may be empty."""
