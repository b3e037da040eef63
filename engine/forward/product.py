"""Matrix products for few rows, with the weights laid out once in the order that the processor's kernel reads them.

torch's own `linear` brings the weights into that order in every call, which for a handful of rows takes longer than the
product. oneDNN's packed form does it once (torch's inductor backend uses the same two operators). Knows nothing of
models.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

_LONG = 1024  # numbers; of longer rows oneDNN adds up parts, and for one row alone in another order than for several


class Product:
    """y = x W^T + b for one or several modules that read the same x, their outputs side by side.

    Until `pack` is called the modules themselves compute, whatever they are (bitsandbytes' ones too).
    """

    def __init__(self, *modules: nn.Module) -> None:
        self._modules = modules
        self._weight: torch.Tensor | None = None  # (out, in), or oneDNN's own order of it
        self._bias: torch.Tensor | None = None
        self._packed = False

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, in) -> (rows, out)."""
        if self._packed:
            if x.shape[0] == 1 and x.shape[1] > _LONG:
                return self._multiplied(torch.cat((x, x)))[:1]
            return self._multiplied(x)
        if self._weight is not None:
            return F.linear(x, self._weight, self._bias)
        parts = [module(x) for module in self._modules]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _multiplied(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return y

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return self._modules

    @property
    def weight(self) -> torch.Tensor | None:
        """(out, in), where the modules' weights have been joined and not laid out for a processor."""
        return None if self._packed else self._weight

    @property
    def bias(self) -> torch.Tensor | None:
        return self._bias

    def pack(self, *, lay_out: bool = True) -> bool:
        """Join the modules' weights into one product. The modules go on to share its memory, unless it is laid out
        anew: then they lose theirs, and the answer is True. Quantised modules stay as they are.
        """
        plain = [module for module in self._modules if type(module) is nn.Linear]
        if len(plain) < len(self._modules):
            return False
        weight = plain[0].weight.data if len(plain) == 1 else torch.cat([module.weight.data for module in plain])
        self._bias = joined_bias(plain)
        self._packed = lay_out and packs(weight)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self._packed else weight
        begin = 0
        for module in plain:
            end = begin + module.out_features
            # A parameter of its own: an embedding that is tied to this one keeps the weight.
            kept = weight.new_empty(0) if self._packed else weight[begin:end]
            module.weight = nn.Parameter(kept, requires_grad=False)
            begin = end
        return self._packed


def packs(weight: torch.Tensor) -> bool:
    """Whether oneDNN can hold this weight in its own order and multiply in its number format on this machine."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if weight.dtype == torch.float32:
        return True
    return weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def joined_bias(modules: Sequence[nn.Linear]) -> torch.Tensor | None:
    """The modules' biases side by side, zeros where one has none; None where none has."""
    if all(module.bias is None for module in modules):
        return None
    zero = [torch.zeros(m.out_features, dtype=m.weight.dtype, device=m.weight.device) for m in modules]
    return torch.cat([zeros if m.bias is None else m.bias.data for m, zeros in zip(modules, zero, strict=True)])
