"""What computes a model: torch, or llama.cpp where a GGUF file runs on a processor and the library is there.

The choice may follow what an earlier load measured, so it is made once, at a load, and shown; nothing within a load
depends on it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.config import Backend, ModelSpec
from engine.errors import UnsupportedDevice, UnsupportedModel
from engine.forward.llama_cpp import binding
from engine.models.checkpoints.checkpoint import Checkpoint
from engine.models.checkpoints.gguf_file import GgufFile
from engine.models.footprint import trained_context
from engine.models.hardware import Device

Measured = Callable[[str], Mapping[Backend, float]]
"""The seconds that a token usually takes here, drafts included, by backend, of the weights with this fingerprint; only
of those once loaded."""


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """What computes, and why, as a sentence."""

    name: Backend
    reason: str


def choose_backend(
    spec: ModelSpec, checkpoint: Checkpoint, device: Device, measured: Mapping[Backend, float]
) -> BackendChoice:
    """Choose what computes; `measured` are the seconds that a token takes here, of those that were loaded before.

    Raises `UnsupportedModel` or `UnsupportedDevice` where llama.cpp is asked for and cannot compute this.
    """
    if spec.backend == "torch":
        return BackendChoice("torch", "torch computes, as asked for.")
    obstacle = _obstacle(spec, checkpoint, device)
    if spec.backend == "llama-cpp":
        if obstacle is not None:
            raise obstacle
        return BackendChoice("llama-cpp", "llama.cpp computes, as asked for.")
    if obstacle is not None:
        return BackendChoice("torch", f"torch computes: {as_reason(obstacle)}")
    if len(measured) < 2:
        return BackendChoice("llama-cpp", "llama.cpp computes: with GGUF files on a processor it is the faster one.")
    fast, slow = sorted(measured, key=lambda name: measured[name])
    return BackendChoice(
        fast,
        f"{_NAMES[fast]} computes: with drafts a token usually takes {1000 * measured[fast]:.1f} ms here, and "
        f"{1000 * measured[slow]:.1f} ms by {_NAMES[slow]}.",
    )


_NAMES: dict[Backend, str] = {"torch": "torch", "llama-cpp": "llama.cpp"}


def _obstacle(spec: ModelSpec, checkpoint: Checkpoint, device: Device) -> UnsupportedModel | UnsupportedDevice | None:
    """Why llama.cpp cannot compute this, with what to do; None where it can."""
    name = checkpoint.name
    if not isinstance(checkpoint, GgufFile):
        return UnsupportedModel(f"{name} is no GGUF file, and llama.cpp reads no others. Choose backend auto or torch.")
    if device.kind != "cpu":
        return UnsupportedDevice(
            f"llama.cpp computes on the processor here, and {device.name} was chosen. Choose device cpu, or backend "
            "auto or torch."
        )
    for option in ("quant", "dtype"):
        asked = getattr(spec, option)
        if asked not in {"quant": ("auto", "none"), "dtype": ("auto",)}[option]:
            return UnsupportedModel(
                f"With llama.cpp the weights stay as {name} has them, and {asked} was asked for. Choose {option} "
                "auto, or backend torch."
            )
    if trained_context(checkpoint.config)[1]:
        return UnsupportedModel(
            f"{name} has LongRoPE, which llama.cpp computes by the size of its cache. Choose backend auto or torch."
        )
    if checkpoint.model_type == "mistral" and checkpoint.config.get("sliding_window"):
        return UnsupportedModel(
            f"{name} attends to {checkpoint.config['sliding_window']:,} tokens behind each, and llama.cpp to all of "
            "them. Choose backend auto or torch."
        )
    if (problem := binding.why_not()) is not None:
        return UnsupportedDevice(f"{problem[:1].upper()}{problem[1:]}. Or choose backend auto or torch.")
    return None


_HOW = re.compile(r"( \(|; )get (?:it|that) [^`]*`[^`]*`\)")  # what `binding.why_not` says of it


def as_reason(obstacle: Exception) -> str:
    """The first sentence of a refusal, which says why, behind a colon and without what to do about it.

    >>> as_reason(UnsupportedDevice("Llama.cpp is not installed (get it with `x`). Or choose backend torch."))
    'llama.cpp is not installed.'
    """
    reason = _HOW.sub(lambda found: ")" if found[1] == "; " else "", str(obstacle).split(". ")[0]).removesuffix(".")
    return f"{reason.replace('Llama.cpp', 'llama.cpp')}."
