"""A model without its words, for benchmarks of the forward pass: loaded or random, checked, but with no tokenizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine import codec
from engine.config import ModelSpec
from engine.events import Certificate, LoadProgress
from engine.forward.kv_cache import KVCache
from engine.forward.llama_cpp.target import LlamaCache, LlamaCppTarget
from engine.forward.target import Target
from engine.forward.transformers_target import TransformersTarget
from engine.models.loader import LoadedModel
from engine.models.random_models import load_any
from engine.probe.exactness import certify
from engine.probe.steps import Passes
from engine.ready import target_of

LEAST_CONTEXT = 1024  # tokens; the probe for exact widths wants so many


class FoldedTarget(TransformersTarget):
    """Takes ids of any vocabulary: those beyond its own are looked up modulo its size, in the embedding alone."""

    def forward(
        self,
        cache: KVCache,
        token_ids: Sequence[int],
        *,
        parents: Sequence[int] = (),
        offsets: Sequence[int] = (),
        width: int | None = None,
        keep: int | Sequence[int] = 0,
    ) -> torch.Tensor:
        """As `TransformersTarget.forward`."""
        folded = [token_id % self.vocab_size for token_id in token_ids]
        return super().forward(cache, folded, parents=parents, offsets=offsets, width=width, keep=keep)


class FoldedLlamaCppTarget(LlamaCppTarget):
    """As `FoldedTarget`, over llama.cpp."""

    def forward(
        self,
        cache: LlamaCache,
        token_ids: Sequence[int],
        *,
        parents: Sequence[int] = (),
        offsets: Sequence[int] = (),
        width: int | None = None,
        keep: int | Sequence[int] = 0,
    ) -> torch.Tensor:
        """As `LlamaCppTarget.forward`."""
        folded = [token_id % self.vocab_size for token_id in token_ids]
        return super().forward(cache, folded, parents=parents, offsets=offsets, width=width, keep=keep)


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """A target that is ready to run. `read_bytes`: of the weights that a round reads, embedding rows left out."""

    spec: ModelSpec
    loaded: LoadedModel
    target: Target[Any]
    certificate: Certificate
    read_bytes: int

    def to_json(self) -> dict[str, Any]:
        loaded = self.loaded
        return {
            "name": loaded.name,
            "random_weights": loaded.tokenizer is None,
            "architecture": loaded.architecture,
            "num_parameters": loaded.num_parameters,
            "weights_bytes": loaded.weights_bytes,
            "read_bytes": self.read_bytes,
            "backend": loaded.backend,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "quant": loaded.quant,
            "device": str(loaded.device),
            "device_name": loaded.device_name,
            "threads": loaded.threads,
            "context_length": loaded.context_length,
            "exact": codec.dump(self.certificate),
            "notes": [*loaded.notes, *self.target.notes],
        }


def load_target(spec: ModelSpec, report: Callable[[LoadProgress], None]) -> BenchTarget:
    """Load what `spec` names, `random:NAME` too, and find its exact widths. Raises what loading raises."""
    report(LoadProgress(stage="weights", message=f"Loading {spec.model}"))
    loaded = load_any(spec, report)
    read_bytes = _read_bytes(loaded)  # before the weights are repacked
    head = loaded.model.get_output_embeddings().weight if loaded.backend == "torch" else None
    more_than_a_byte = head.nbytes - head.numel() if head is not None else 0
    target = target_of(loaded, over_torch=FoldedTarget, over_llama=FoldedLlamaCppTarget)
    if "int8" in target.implementation:  # its head too
        read_bytes -= more_than_a_byte
    message = "Checking which round widths are bit-exact"

    def progress(passes: Passes) -> None:
        report(LoadProgress(stage="certify", message=message, done=passes.done, total=passes.total))

    return BenchTarget(spec, loaded, target, certify(target, progress), read_bytes)


def _read_bytes(loaded: LoadedModel) -> int:
    """All weights, a tied head once; of an embedding of its own a round reads but a few rows."""
    if loaded.backend == "llama-cpp":
        tied = loaded.shape.tied
        embeddings = [t.num_bytes for t in loaded.shape.text_tensors if t.name.endswith("embed_tokens.weight")]
        return loaded.weights_bytes - (0 if tied else sum(embeddings))
    embedding, head = loaded.model.get_input_embeddings().weight, loaded.model.get_output_embeddings().weight
    return loaded.weights_bytes - (0 if embedding is head else embedding.nbytes)
