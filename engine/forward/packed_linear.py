"""oneDNN's operators for weights that are packed once: the only file that calls them.

torch keeps them for its own compiler (inductor). `tests/engine/forward/test_libraries.py` says which of them is gone
with a new version; without them weights stay as they are.
"""

import torch

_OPERATORS = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
_LONG = 1024  # numbers; oneDNN adds up longer rows in parts, and a single row's in another order than several rows'


def missing_operators() -> list[str]:
    """Which of the operators this torch does not have."""
    return [name for name in _OPERATORS if not hasattr(torch.ops.mkldnn, name)]


def packs(weight: torch.Tensor) -> bool:
    """Whether oneDNN can pack this weight and multiply in its number format on this machine."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if missing_operators():
        return False
    if weight.dtype == torch.float32:
        return True
    return weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pack(weight: torch.Tensor) -> torch.Tensor:
    """Return the weight (out, in) in the order that the processor's kernel reads, opaque to all but `multiply`."""
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return packed


def multiply(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x (rows, in) times a packed weight, (rows, out). A row has the same bits however many stand beside it."""
    if x.shape[0] == 1 and x.shape[1] > _LONG:
        return _multiplied(torch.cat((x, x)), packed, bias)[:1]
    return _multiplied(x, packed, bias)


def _multiplied(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y
