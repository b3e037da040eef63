"""Weights in 8 and 4 bits by bitsandbytes: its settings, whether it works here, and what it cannot pack."""

from typing import Any

import torch

from engine.config import ModelSpec, Quant
from engine.errors import UnsupportedDevice
from engine.models.checkpoints.checkpoint import ModelShape
from engine.models.footprint import has_few_bits
from engine.models.hardware import Device

_PACKED_ROWS = 32  # bitsandbytes 0.50 packs NF4 weights for a processor with bfloat16 in so many outputs at a time


def choose_quant(spec: ModelSpec, device: Device, shape: ModelShape) -> Quant:
    """In how many bits to compute; "auto": 8 on a processor, where the file has no more and they can be computed.

    There whole numbers are multiplied: about half of the time of float32, and a quarter of its memory. What a
    file keeps in 16 or 32 bits stays as it is, and so does what a dtype is asked for.
    """
    if spec.quant != "auto":
        return spec.quant
    if device.kind != "cpu" or spec.dtype != "auto" or not has_few_bits(shape):
        return "none"
    try:
        check_quantisation("int8", device, torch.float32)
    except UnsupportedDevice:
        return "none"
    return "int8"


def quantisation(quant: str, dtype: torch.dtype) -> Any:
    """transformers' settings for bitsandbytes."""
    from transformers import BitsAndBytesConfig

    if quant == "int8":  # a threshold above 0 makes rows depend on each other, and waits for the device each time
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def quantise_linear(model: Any, quant: str, dtype: torch.dtype) -> Any:
    """Put bitsandbytes' layers in place of an empty model's linear ones but the head, as a load does."""
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    return replace_with_bnb_linear(model, ["lm_head"], quantisation(quant, dtype))


def avoid_packing(model: Any) -> None:
    """Use bitsandbytes' general path for NF4 layers whose shape its packed path on a processor cannot take."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu") and (
            module.out_features % _PACKED_ROWS or module.in_features % module.weight.quant_state.blocksize
        ):
            module.support_avx512bf16_for_cpu = False


def check_quantisation(quant: str, device: Device, dtype: torch.dtype) -> None:
    """Run one small quantised layer, the only proof that a mode works here. Raises `UnsupportedDevice`."""
    try:
        from bitsandbytes.nn import Linear4bit, Linear8bitLt

        if quant == "int8":
            layer = Linear8bitLt(64, 64, bias=False, has_fp16_weights=False, threshold=0.0)
        else:
            layer = Linear4bit(64, 64, bias=False, compute_dtype=dtype, compress_statistics=True, quant_type="nf4")
        with torch.inference_mode():
            out = layer.to(device.torch_device)(torch.ones(2, 64, dtype=dtype, device=device.torch_device))
        works = bool(torch.isfinite(out).all())
    except Exception as exc:  # bitsandbytes fails by device in its own ways: missing kernels, libraries, types
        raise _no_quantisation(quant, device, dtype) from exc
    if not works:
        raise _no_quantisation(quant, device, dtype)


def _no_quantisation(quant: str, device: Device, dtype: torch.dtype) -> UnsupportedDevice:
    name = str(dtype).removeprefix("torch.")
    return UnsupportedDevice(
        f"bitsandbytes cannot compute {quant} in {name} on {device.name}. Choose another quantisation or dtype."
    )
