"""Rotary position embeddings as GGUF files describe them: in metadata, and in tensors with a factor per frequency."""

import math
from typing import Any

from engine.errors import UnsupportedModel
from engine.models.checkpoints.gguf.header import StoredTensor, damaged
from engine.models.checkpoints.gguf.metadata import Metadata
from engine.models.checkpoints.gguf.weights import StoredWeight

FREQUENCIES = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_LLAMA3_LOW, _LLAMA3_HIGH, _LLAMA3_CONTEXT = 1.0, 4.0, 8192  # of every Llama since 3.1
_MAX_FACTORS = 2**16


def rope_parameters(name: str, metadata: Metadata, tensors: dict[str, StoredTensor], head_dim: int) -> dict[str, Any]:
    """transformers' `rope_parameters`. Raises `BrokenModel`, or `UnsupportedModel` for what it cannot say."""
    prefix = f"{metadata.architecture}.rope."
    theta = _rounded(metadata.number(f"{prefix}freq_base", 10000.0))
    if theta <= 1:
        raise damaged(metadata.file, f"its {prefix}freq_base is {theta}")
    dimensions = metadata.integer(f"{prefix}dimension_count", head_dim, lowest=1)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if dimensions != head_dim:
        if metadata.architecture != "phi3" or dimensions > head_dim:
            raise UnsupportedModel(
                f"{name} turns {dimensions} of the {head_dim} numbers of a head by position, which is not supported "
                f"for {metadata.architecture}. Choose its version with safetensors files."
            )
        rope["partial_rotary_factor"] = dimensions / head_dim
    if "rope_freqs.weight" in tensors:
        return rope | _llama3(name, _factors(tensors["rope_freqs.weight"], dimensions, metadata), theta, dimensions)
    if "rope_factors_long.weight" in tensors or "rope_factors_short.weight" in tensors:
        return rope | _longrope(metadata, tensors, dimensions)
    return rope | _scaling(name, metadata)


def _rounded(value: float) -> float:
    """What a number stored in 32 bits was before."""
    return float(f"{value:.7g}")


def _scaling(name: str, metadata: Metadata) -> dict[str, Any]:
    prefix = f"{metadata.architecture}.rope.scaling."
    kind = metadata.text(f"{prefix}type") or "none"
    old = metadata.number(f"{metadata.architecture}.rope.scale_linear", 1.0)  # before 2023-10
    factor = metadata.number(f"{prefix}factor", old)
    if kind == "none" and old != 1:
        kind = "linear"
    if factor <= 0:
        raise damaged(metadata.file, f"its {prefix}factor is {factor}")
    if kind == "none" or (kind == "linear" and factor == 1):
        return {}
    if kind == "linear":
        return {"rope_type": "linear", "factor": _rounded(factor)}
    if kind != "yarn" or metadata.number(f"{prefix}yarn_log_multiplier", 0):
        raise UnsupportedModel(
            f"{name} stretches its positions by {kind[:40]!r}, which is not supported as GGUF. Choose its version with "
            "safetensors files."
        )
    attention = metadata.number(f"{prefix}attn_factor", metadata.number(f"{prefix}yarn_attn_factor", 1.0))
    yarn: dict[str, Any] = {
        "rope_type": "yarn",
        "factor": _rounded(factor),
        "original_max_position_embeddings": metadata.integer(f"{prefix}original_context_length", lowest=1),
        "beta_fast": _rounded(metadata.number(f"{prefix}yarn_beta_fast", 32.0)),
        "beta_slow": _rounded(metadata.number(f"{prefix}yarn_beta_slow", 1.0)),
    }
    if attention != 1:  # llama.cpp multiplies what transformers replaces
        yarn["attention_factor"] = attention * (1 + 0.1 * math.log(factor))
    return yarn


def _factors(tensor: StoredTensor, dimensions: int, metadata: Metadata) -> list[float]:
    if tensor.shape != (dimensions // 2,) or dimensions // 2 > _MAX_FACTORS:
        raise damaged(metadata.file, f"its {tensor.name} has the shape {tensor.shape} instead of ({dimensions // 2},)")
    factors = [float(value) for _, piece in StoredWeight(tensor).pieces() for value in piece.ravel()]
    if not all(math.isfinite(value) and value > 0 for value in factors):
        raise damaged(metadata.file, f"its {tensor.name} has factors that are no numbers above 0")
    return factors


def _longrope(metadata: Metadata, tensors: dict[str, StoredTensor], dimensions: int) -> dict[str, Any]:
    prefix = f"{metadata.architecture}.rope.scaling."
    factors: dict[str, Any] = {}
    for kind in ("long", "short"):
        tensor = tensors.get(f"rope_factors_{kind}.weight")
        if tensor is None:
            raise damaged(metadata.file, f"it has no rope_factors_{kind}.weight")
        factors[f"{kind}_factor"] = [_rounded(value) for value in _factors(tensor, dimensions, metadata)]
    longest = metadata.integer(f"{metadata.architecture}.context_length", lowest=1)
    original = metadata.integer(f"{prefix}original_context_length", longest, lowest=1)
    scale = longest / original
    usual = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 and original > 1 else 1.0
    return factors | {
        "rope_type": "longrope",
        "original_max_position_embeddings": original,
        "attention_factor": metadata.number(f"{prefix}attn_factor", usual),
    }


def _llama3(name: str, factors: list[float], theta: float, dimensions: int) -> dict[str, Any]:
    """The scaling that gives these factors; llama.cpp stores what comes of it."""
    factor = _rounded(max(factors))
    if all(value == 1 for value in factors):
        return {}
    expected = [_llama3_factor(2 * math.pi * theta ** (2 * i / dimensions), factor) for i in range(len(factors))]
    if not all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(factors, expected, strict=True)):
        raise UnsupportedModel(
            f"{name} stretches its positions in a way of its own (rope_freqs.weight), which is not supported as GGUF. "
            "Choose its version with safetensors files."
        )
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": _LLAMA3_LOW,
        "high_freq_factor": _LLAMA3_HIGH,
        "original_max_position_embeddings": _LLAMA3_CONTEXT,
    }


def _llama3_factor(wavelength: float, factor: float) -> float:
    if wavelength < _LLAMA3_CONTEXT / _LLAMA3_HIGH:
        return 1.0
    if wavelength > _LLAMA3_CONTEXT / _LLAMA3_LOW:
        return factor
    smooth = (_LLAMA3_CONTEXT / wavelength - _LLAMA3_LOW) / (_LLAMA3_HIGH - _LLAMA3_LOW)
    return 1 / ((1 - smooth) / factor + smooth)
