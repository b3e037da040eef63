"""A matrix product for few rows: several modules' weights as one, and on a processor packed once.

torch's own `linear` brings the weights into the order that the processor's kernel reads in every call, which for a
handful of rows takes longer than the product; `packed_linear` does it once, and `int8.product` for 8-bit weights. Knows
nothing of models.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from engine.forward import packed_linear
from engine.forward.int8 import product as int8_product


class Product:
    """y = x W^T + b for one or several modules that read the same x, their outputs side by side.

    Until `pack` is called the modules themselves compute, whatever they are (bitsandbytes' ones too).
    """

    def __init__(self, *modules: nn.Module) -> None:
        self._modules = modules
        self._weight: torch.Tensor | None = None  # (out, in), or oneDNN's own order of it
        self._bias: torch.Tensor | None = None
        self._packed = False
        self._int8: int8_product.Int8Weight | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, in) -> (rows, out)."""
        if self._int8 is not None:
            return int8_product.multiply(x, self._int8)
        if self._weight is not None:
            if self._packed:
                return packed_linear.multiply(x, self._weight, self._bias)
            return F.linear(x, self._weight, self._bias)
        parts = [module(x) for module in self._modules]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return self._modules

    @property
    def weight(self) -> torch.Tensor | None:
        """(out, in), where the modules' weights have been joined and not laid out for a processor."""
        return None if self._packed else self._weight

    @property
    def is_int8(self) -> bool:
        """Whether the weights have 8 bits and are laid out for a processor."""
        return self._int8 is not None

    @property
    def bias(self) -> torch.Tensor | None:
        return self._bias

    def pack(self, *, lay_out: bool = True, quantise: bool = False) -> bool:
        """Join the modules' weights into one and, with `lay_out`, bring it into the processor's order where that works:
        plain ones, which `quantise` makes 8-bit ones, and bitsandbytes' 8-bit ones.

        Returns whether the order changed: then the modules have lost their weights; else they share the joined one's
        memory. Other modules stay as they are.
        """
        if lay_out and self._pack_int8(quantise):
            return True
        plain = [module for module in self._modules if type(module) is nn.Linear]
        if len(plain) < len(self._modules):
            return False
        weight = plain[0].weight.data if len(plain) == 1 else torch.cat([module.weight.data for module in plain])
        self._bias = joined_bias(plain)
        self._packed = lay_out and packed_linear.packs(weight)
        self._weight = packed_linear.pack(weight) if self._packed else weight
        begin = 0
        for module in plain:
            end = begin + module.out_features
            # A parameter of its own: an embedding that is tied to this one keeps the weight.
            kept = weight.new_empty(0) if self._packed else weight[begin:end]
            module.weight = nn.Parameter(kept, requires_grad=False)
            begin = end
        return self._packed

    def _pack_int8(self, quantise: bool) -> bool:
        """Whether all weights have 8 bits now, and the modules none."""
        parts = [int8_product.layer_weights(module, quantise=quantise) for module in self._modules]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return False
        weights, scales = (torch.cat(each) if len(each) > 1 else each[0] for each in zip(*known, strict=True))
        self._int8 = int8_product.pack(weights, scales, joined_bias(self._modules))
        if self._int8 is None:
            return False
        for module in self._modules:
            int8_product.release(module)
        return True


def joined_bias(modules: Sequence[Any]) -> torch.Tensor | None:
    """The modules' biases side by side, zeros where one has none; None where none has."""
    if all(module.bias is None for module in modules):
        return None
    zero = [torch.zeros(m.out_features, dtype=m.weight.dtype, device=m.weight.device) for m in modules]
    return torch.cat([zeros if m.bias is None else m.bias.data for m, zeros in zip(modules, zero, strict=True)])
