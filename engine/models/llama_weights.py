"""A GGUF file's weights in llama.cpp: read with progress and cancel, and what fails in one sentence."""

import time
from collections.abc import Callable

from engine.errors import BrokenModel, EngineError, NotEnoughMemory
from engine.events import LoadProgress
from engine.forward.llama_cpp.binding import LlamaCppError, LlamaModel
from engine.models.checkpoints.checkpoint import ModelShape
from engine.models.checkpoints.gguf_file import GgufFile
from engine.models.progress import Report
from engine.models.ram import gigabytes

_REPORT_S = 0.1


def read_weights(checkpoint: GgufFile, report: Report) -> LlamaModel:
    """Read a GGUF file into llama.cpp. Raises `BrokenModel` or `NotEnoughMemory`, or what `report` raises, which ends
    the reading."""
    total = sum(tensor.num_bytes for tensor in checkpoint.tensors)
    progress = _Progress(checkpoint.name, total, report)
    try:
        model = LlamaModel(checkpoint.path, progress)
    except LlamaCppError as exc:
        if progress.raised is not None:
            raise progress.raised from None
        if "alloc" in str(exc) or "memory" in str(exc):
            raise NotEnoughMemory(
                f"llama.cpp could not allocate memory for {checkpoint.name} ({gigabytes(total)}): {exc}. Close other "
                "programs that use memory, or choose a smaller model."
            ) from exc
        raise BrokenModel(
            f"{checkpoint.name}: llama.cpp cannot read it ({exc}). Choose backend torch, or another conversion of the "
            "model."
        ) from exc
    if model.vocab_size != checkpoint.config["vocab_size"]:
        raise BrokenModel(
            f"{checkpoint.name} has {model.vocab_size:,} tokens by llama.cpp and {checkpoint.config['vocab_size']:,} "
            "by its header. Choose backend torch, or another conversion of the model."
        )
    return model


class _Progress:
    """Reports the share that was read; what a report raises ends the reading, and is kept."""

    def __init__(self, name: str, total: int, report: Callable[[LoadProgress], None]) -> None:
        self._name = name
        self._total = total
        self._report = report
        self._last_s = 0.0
        self.raised: EngineError | None = None

    def __call__(self, share: float) -> bool:
        now = time.monotonic()
        if share < 1.0 and now - self._last_s < _REPORT_S:
            return True
        self._last_s = now
        done = int(share * self._total)
        try:
            self._report(LoadProgress(stage="weights", message=f"Loading {self._name}", done=done, total=self._total))
        except EngineError as exc:
            self.raised = exc
        return self.raised is None


def head_share(shape: ModelShape) -> float:
    """What the head's product over a row costs, as a share of all other products over it."""
    matrices = [tensor for tensor in shape.text_tensors if len(tensor.shape) == 2]
    embedding = [tensor for tensor in matrices if tensor.name.endswith("embed_tokens.weight")]
    heads = [tensor for tensor in matrices if tensor.name.endswith("lm_head.weight")] or embedding
    others = [tensor for tensor in matrices if tensor not in embedding and tensor not in heads]
    return sum(tensor.num_elements for tensor in heads) / sum(tensor.num_elements for tensor in others)
