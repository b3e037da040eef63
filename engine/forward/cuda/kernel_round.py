"""One round as kernels over fixed buffers: from token ids to logits, nothing allocated that a width does not fix.

What is swapped, and why: eager torch takes some 40 calls a layer, and its products round by the number of rows. Here a
layer is ten kernels (`cuda.kernels`) with rows whose bits do not depend on the width, and all that changes from round
to round is in one small block of device memory, `RoundInputs`: so a round can be recorded once as a CUDA graph
(`cuda.graphs`) and played again. It reads the parts of a `Body`; what the kernels cannot do it refuses with
`CannotRun`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from engine.forward.attention import is_chain
from engine.forward.body import ACTIVATIONS, Body, Layer, Norm, Normalise
from engine.forward.cuda.kernels import MAX_ROWS, CannotRun, processors
from engine.forward.cuda.kernels.attention import attend
from engine.forward.cuda.kernels.linear import Dense
from engine.forward.cuda.kernels.nf4 import Nf4, unsupported
from engine.forward.cuda.kernels.row_operations import add_norm, finish, gate, rope_and_cache
from engine.forward.kv_cache import KVCache
from engine.forward.product import Product, joined_bias

_HEADER = 16  # numbers, so that what follows begins where a kernel may read 16 bytes at once


class RoundInputs:
    """The numbers of one round as int32 on the device: how many tokens are committed, and of each row its token, its
    position, its slot (-1: written nowhere), and its path: the offsets of the slots of its ancestors and itself."""

    def __init__(self, device: torch.device) -> None:
        self._numbers = torch.zeros(_HEADER + 3 * MAX_ROWS + MAX_ROWS * MAX_ROWS, dtype=torch.int32, device=device)
        self.committed = self._numbers[:1]
        rows = self._numbers[_HEADER : _HEADER + 3 * MAX_ROWS].view(3, MAX_ROWS)
        self.token_ids, self.positions, self.slots = rows
        self.paths = self._numbers[_HEADER + 3 * MAX_ROWS :].view(MAX_ROWS, MAX_ROWS)

    def fill(self, length: int, token_ids: Sequence[int], parents: Sequence[int], offsets: Sequence[int]) -> None:
        """Write a round behind `length` tokens; rows beyond `token_ids` are padding and do as the first, unwritten."""
        count = len(token_ids)
        numbers = np.zeros(len(self._numbers), dtype=np.int32)
        numbers[0] = length
        rows = numbers[_HEADER : _HEADER + 3 * MAX_ROWS].reshape(3, MAX_ROWS)
        rows[0, :count], rows[0, count:] = token_ids, token_ids[0]
        rows[1] = length
        rows[2] = -1
        rows[2, :count] = np.asarray(offsets, dtype=np.int32) + length
        paths = numbers[_HEADER + 3 * MAX_ROWS :].reshape(MAX_ROWS, MAX_ROWS)
        if is_chain(parents):
            rows[1, :count] += np.arange(count, dtype=np.int32)
            paths[:count] = np.arange(MAX_ROWS)
        else:
            depths = [0] * count
            for row in range(1, count):
                depths[row] = depths[parents[row]] + 1
                paths[row] = paths[parents[row]]
                paths[row, depths[row]] = offsets[row]
            rows[1, :count] += np.asarray(depths, dtype=np.int32)
        # From memory that is not pinned: the driver has taken its copy when this returns, and nobody waits.
        self._numbers.copy_(torch.from_numpy(numbers), non_blocking=True)


class KernelRound:
    """A Body's weights as kernels. Raises `CannotRun` where its structure or number formats are not theirs."""

    def __init__(self, body: Body, dtype: torch.dtype, device: torch.device) -> None:
        self._body = body
        self._dtype = dtype
        self._device = device
        first = body.layers[0]
        if any((layer.kv_heads, layer.head_dim) != (first.kv_heads, first.head_dim) for layer in body.layers):
            raise CannotRun("The kernels need the same heads in every layer.")
        self._cache_shape = (len(body.layers), first.kv_heads, first.head_dim)
        self._layers = [_Operands(layer, device) for layer in body.layers]
        self._norm = _scale(body.norm)
        self._head = _operand(body.head, device)

    def reserve(self, cache: KVCache) -> None:
        """Allocate the cache for this model in one."""
        cache.reserve(*self._cache_shape, self._dtype, self._device)

    def __call__(self, inputs: RoundInputs, width: int, cache: KVCache) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (width, vocab) and last hidden states (width, hidden) of the round in `inputs`; writes its rows' keys
        and values into the cache."""
        body, dtype = self._body, self._dtype
        positions, paths, slots = inputs.positions[:width], inputs.paths[:width], inputs.slots[:width]
        turns = {name: rope.turn(positions, torch.float32) for name, rope in body.ropes.items()}
        stream: torch.Tensor = body.embed(inputs.token_ids[:width])
        pieces, branch = None, None
        for index, (layer, own) in enumerate(zip(body.layers, self._layers, strict=True)):
            keys, values = cache.layer(index)
            stream, y = add_norm(stream, pieces, branch, own.attention_in)
            turn = None if layer.rope is None else turns[layer.rope]
            queries = rope_and_cache(own.qkv(y), layer.heads, own.head_norms, turn, slots, keys, values)
            y = attend(
                queries,
                keys,
                values,
                positions,
                paths,
                inputs.committed,
                scale=layer.scaling,
                window=layer.window,
                softcap=layer.softcap,
            )
            pieces, branch = own.merge(y), own.attention_out
            stream, y = add_norm(stream, pieces, branch, own.mlp_in)
            pieces, branch = own.down(gate(own.gate_up(y), own.activation, dtype)), own.mlp_out
        _, y = add_norm(stream, pieces, branch, self._norm)
        return body.softcapped(finish(self._head(y, dtype if self._head.pieces == 1 else torch.float32), dtype)), y


class _Operands:
    """What the kernels read of one layer: weights, and scale and epsilon of every norm."""

    def __init__(self, layer: Layer, device: torch.device) -> None:
        activation = ACTIVATIONS.get(type(layer.activation).__name__)
        if activation is None:
            raise CannotRun(f"The kernels know SiLU and GELU (tanh); this model has {type(layer.activation).__name__}.")
        self.activation = activation
        self.attention_in, self.mlp_in = _scale(layer.attention_in), _scale(layer.mlp_in)
        self.attention_out = None if layer.attention_out is None else _scale(layer.attention_out)
        self.mlp_out = None if layer.mlp_out is None else _scale(layer.mlp_out)
        self.head_norms = None
        if layer.query_norm is not None and layer.key_norm is not None:
            (query_scale, epsilon), (key_scale, _) = _scale(layer.query_norm), _scale(layer.key_norm)
            self.head_norms = (query_scale, key_scale, epsilon)
        self.qkv, self.merge = _operand(layer.qkv, device), _operand(layer.merge, device)
        self.gate_up, self.down = _operand(layer.gate_up, device), _operand(layer.down, device)


def _scale(norm: Normalise) -> tuple[torch.Tensor, float]:
    if not isinstance(norm, Norm):
        raise CannotRun(f"The kernels know RMSNorm; this model has {type(norm).__name__}.")
    return norm.scale, norm.epsilon


def _operand(product: Product, device: torch.device) -> Dense | Nf4:
    if product.weight is not None:
        return Dense(product.weight, product.bias, processors(device))
    reason = unsupported(product.modules)
    if reason is not None:
        raise CannotRun(reason)
    linears = [module for module in product.modules if isinstance(module, nn.Linear)]
    return Nf4(linears, joined_bias(linears), processors(device))
