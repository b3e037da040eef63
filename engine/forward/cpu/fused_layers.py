"""A `Body`'s layers on a processor, with everything between the products compiled (`engine.forward.cpu.row_loops`).

What is swapped, and why: of a small model's round, torch spends more time on the calls for norms, rotations, gates and
cache writes than on the products. Here a layer is its four products, one attention and four compiled calls. Whatever
the compiled functions do not know is refused by `fuse_layers`, and `Body` runs by itself then.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from engine.forward.attention import MIN_ROWS, Visibility, attend_packed
from engine.forward.body import ACTIVATIONS, Body, Layer, Norm, Normalise
from engine.forward.cpu import row_operations
from engine.forward.kv_cache import CacheWindow

Hidden = Callable[[torch.Tensor, torch.Tensor, CacheWindow, Visibility], torch.Tensor]

Scale = tuple[torch.Tensor, float]  # of an RMSNorm, in float32, and its epsilon


@dataclass(frozen=True, slots=True)
class _Operands:
    """What the compiled functions read of one layer; `after`: the norm that the next layer begins with."""

    layer: Layer
    head_norms: tuple[torch.Tensor, torch.Tensor, float] | None
    attention_out: Scale | None
    mlp_in: Scale
    mlp_out: Scale | None
    activation: str
    after: Scale


def fuse_layers(body: Body, dtype: torch.dtype, device: torch.device) -> Hidden | None:
    """`Body.hidden` with compiled functions between the products; None where they do not apply."""
    layers = body.layers
    known = all(type(layer.activation).__name__ in ACTIVATIONS for layer in layers)
    normed = all(isinstance(norm, Norm) for layer in layers for norm in _norms(layer))
    shapes = {(layer.kv_heads, layer.head_dim) for layer in layers}
    ours = row_operations.applies(dtype, device) and len(shapes) == 1
    if not (ours and known and normed and isinstance(body.norm, Norm)):
        return None
    shape = (len(layers), *shapes.pop(), dtype, device)
    first = _scale(layers[0].attention_in)
    following: list[Normalise] = [*(layer.attention_in for layer in layers[1:]), body.norm]
    operands = [_read(layer, after) for layer, after in zip(layers, following, strict=True)]

    def hidden(
        token_ids: torch.Tensor, positions: torch.Tensor, window: CacheWindow, visibility: Visibility
    ) -> torch.Tensor:
        cache = window.cache
        cache.reserve(*shape)
        if cache.length + len(token_ids) > cache.capacity:  # rows are written by address
            raise ValueError(f"The KV cache holds {cache.capacity} tokens; {cache.length} and this round do not fit.")
        stream: torch.Tensor = body.embed(token_ids)
        turns = {name: row_operations.turn(positions, *rope.speeds) for name, rope in body.ropes.items()}
        stream, y = row_operations.add_norm(stream, None, None, first)
        for own in operands:
            layer = own.layer
            out = _attention(own, layer.qkv(y), turns, window, visibility)
            stream, y = row_operations.add_norm(stream, layer.merge(out), own.attention_out, own.mlp_in)
            out = layer.down(row_operations.gate(layer.gate_up(y), own.activation))
            stream, y = row_operations.add_norm(stream, out, own.mlp_out, own.after)
        return y

    return hidden


def _attention(
    own: _Operands,
    joined: torch.Tensor,
    turns: dict[str, tuple[torch.Tensor, torch.Tensor]],
    window: CacheWindow,
    visibility: Visibility,
) -> torch.Tensor:
    """(rows, queries + keys + values) -> (rows, heads * head_dim); writes the rows' keys and values into the cache."""
    layer, rows = own.layer, joined.shape[0]
    ours = row_operations.attends(layer.head_dim, layer.softcap)
    keys, values = window.cache.layer(layer.index)
    queries = row_operations.store_rows(
        joined,
        layer.heads,
        own.head_norms,
        None if layer.rope is None else turns[layer.rope],
        visibility.row_slots,
        keys,
        values,
        1 if ours else MIN_ROWS,
    )
    if ours:
        hidden = visibility.hidden(layer.window)
        return row_operations.attend(queries, keys, values, layer.heads, hidden, layer.scaling).view(rows, -1)
    out = attend_packed(
        queries[None],
        *window.read(layer.index),
        layer.heads,
        rows,
        visibility=visibility,
        scaling=layer.scaling,
        window=layer.window,
        softcap=layer.softcap,
    )
    return out.reshape(rows, -1)


def _norms(layer: Layer) -> list[Normalise]:
    every = (layer.attention_in, layer.query_norm, layer.key_norm, layer.attention_out, layer.mlp_in, layer.mlp_out)
    return [norm for norm in every if norm is not None]


def _scale(norm: Normalise) -> Scale:
    assert isinstance(norm, Norm)
    return norm.scale.float().contiguous(), norm.epsilon


def _read(layer: Layer, after: Normalise) -> _Operands:
    head_norms = None
    if layer.query_norm is not None and layer.key_norm is not None:
        query, key = _scale(layer.query_norm), _scale(layer.key_norm)
        head_norms = (query[0], key[0], query[1])
    return _Operands(
        layer=layer,
        head_norms=head_norms,
        attention_out=None if layer.attention_out is None else _scale(layer.attention_out),
        mlp_in=_scale(layer.mlp_in),
        mlp_out=None if layer.mlp_out is None else _scale(layer.mlp_out),
        activation=ACTIVATIONS[type(layer.activation).__name__],
        after=_scale(after),
    )
