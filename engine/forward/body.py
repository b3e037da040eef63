"""The forward pass of the usual decoder families in fewer, larger operations than transformers' own modules take.

What is swapped, and why: for a small model on a processor, and for any model in eager mode on a GPU, most of a round
is not arithmetic but the number of calls. `Body` runs the weights of a loaded transformers model with queries, keys and
values as one product, gate and up as another, RoPE on queries and keys together, no mask and cache classes, and the
weights packed for the processor (`product`). Attention and KV cache are those of this package. It reads the modules'
structure, so Llama, Mistral, Qwen2, Qwen3, SmolLM, Phi-3 and Gemma share one path; what it does not understand is
refused by `build_body`, and then the model's own code runs. It agrees with that code up to rounding, which `agrees`
checks on the loaded weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from engine.forward.attention import Visibility, attend
from engine.forward.kv_cache import CacheWindow
from engine.forward.product import Product

FAMILIES = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3")
# The last two depend on the largest position of a pass, and change only beyond the context that we offer.
_STATIC_ROPE = ("default", "linear", "llama3", "yarn", "dynamic", "longrope")
# What fused kernels call the activations that they know, by the class of the module.
ACTIVATIONS = {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_tanh", "PytorchGELUTanh": "gelu_tanh"}
# Of a row's standard deviation. A wrong order of heads was seen to differ by 1. In bfloat16 a small model's roundings
# add up: SmolLM2-135M through transformers' modules differs from itself in float32 by 0.16, ours by 0.07, and the two
# from each other by 0.11.
_TOLERANCE = 0.3

Normalise = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Norm:
    """RMSNorm (arXiv 1910.07467) of the last dimension; Gemma's scales by 1 + weight, in float32."""

    scale: torch.Tensor
    epsilon: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.scale.dtype == x.dtype:
            return F.rms_norm(x, self.scale.shape, self.scale, self.epsilon)
        return F.rms_norm(x.float(), self.scale.shape, self.scale, self.epsilon).to(x.dtype)


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer. `*_out`: what Gemma normalises before it is added to the stream, else None."""

    index: int
    heads: int
    kv_heads: int
    head_dim: int
    scaling: float
    window: int | None
    softcap: float | None
    rope: str | None  # which rotation, None for no positions at all
    attention_in: Normalise
    query_norm: Normalise | None
    key_norm: Normalise | None
    attention_out: Normalise | None
    mlp_in: Normalise
    mlp_out: Normalise | None
    qkv: Product
    merge: Product
    gate_up: Product
    down: Product
    activation: Callable[[torch.Tensor], torch.Tensor]

    @property
    def products(self) -> tuple[Product, ...]:
        return self.qkv, self.merge, self.gate_up, self.down


class Body:
    """Embedding, layers and head of one model. Built by `build_body`."""

    def __init__(
        self,
        embed: nn.Module,
        ropes: dict[str, "Rope"],
        layers: list[Layer],
        norm: Normalise,
        head: Product,
        logit_softcap: float | None,
    ) -> None:
        self.embed = embed
        self.ropes = ropes
        self.layers = layers
        self.norm = norm
        self.head = head
        self._logit_softcap = logit_softcap

    def pack(self, *, lay_out: bool = True) -> bool:
        """Join the weights and, with `lay_out`, pack them for the processor; returns whether any were packed, so that
        the model's own modules cannot run any more."""
        moved = [product.pack(lay_out=lay_out) for layer in self.layers for product in layer.products]
        # bitsandbytes leaves the head as it is, which then takes as long as all layers of a small model
        moved.append(self.head.pack(lay_out=lay_out, quantise=self.is_int8))
        return any(moved)

    @property
    def is_int8(self) -> bool:
        """Whether the layers' products read 8-bit weights in the processor's order."""
        return all(product.is_int8 for layer in self.layers for product in layer.products)

    def hidden(
        self, token_ids: torch.Tensor, positions: torch.Tensor, window: CacheWindow, visibility: Visibility
    ) -> torch.Tensor:
        """The last layer's normalised output (rows, hidden) for `token_ids` (rows,) at `positions` (rows,)."""
        x: torch.Tensor = self.embed(token_ids)
        turns = {name: rope.turn(positions, x.dtype) for name, rope in self.ropes.items()}
        for layer in self.layers:
            y = _attention(layer, layer.attention_in(x), turns, window, visibility)
            x = x + (y if layer.attention_out is None else layer.attention_out(y))
            y = _mlp(layer, layer.mlp_in(x))
            x = x + (y if layer.mlp_out is None else layer.mlp_out(y))
        return self.norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, hidden) -> (rows, vocab)."""
        return self.softcapped(self.head(hidden))

    def softcapped(self, logits: torch.Tensor) -> torch.Tensor:
        """What Gemma 2 does to the head's product; elsewhere the product itself."""
        if self._logit_softcap is None:
            return logits
        return torch.tanh(logits / self._logit_softcap) * self._logit_softcap


class Rope:
    """Rotary position embedding (arXiv 2104.09864) with fixed frequencies, on the leading dimensions of a head."""

    def __init__(self, frequencies: torch.Tensor, scaling: float) -> None:
        self._frequencies = torch.cat((frequencies, frequencies)).float()
        self._scaling = scaling

    @property
    def speeds(self) -> tuple[torch.Tensor, float]:
        """Radians a position, (rotated,), each there twice; and what cosines and sines are scaled by."""
        return self._frequencies, self._scaling

    def turn(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (rows, 1, rotated); the sines of the first half carry the rotation's minus."""
        angles = positions[:, None, None].float() * self._frequencies
        half = angles.shape[-1] // 2
        cos, sin = angles.cos() * self._scaling, angles.sin() * self._scaling
        sin[..., :half].neg_()
        return cos.to(dtype), sin.to(dtype)


def _rotate(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate heads (rows, heads, head_dim); dimensions beyond the rotated ones pass."""
    cos, sin = turn
    size = cos.shape[-1]
    if size == x.shape[-1]:
        first, second = x.chunk(2, -1)
        return torch.addcmul(x * cos, torch.cat((second, first), -1), sin)
    return torch.cat((_rotate(x[..., :size], turn), x[..., size:]), -1)


def _attention(
    layer: Layer,
    x: torch.Tensor,
    turns: dict[str, tuple[torch.Tensor, torch.Tensor]],
    window: CacheWindow,
    visibility: Visibility,
) -> torch.Tensor:
    """(rows, hidden) -> (rows, hidden); writes the rows' keys and values into the cache."""
    rows = x.shape[0]
    heads = layer.heads + layer.kv_heads
    joined = layer.qkv(x).view(rows, heads + layer.kv_heads, layer.head_dim)
    turned, values = joined[:, :heads], joined[:, heads:]
    if layer.query_norm is not None and layer.key_norm is not None:
        turned = torch.cat((layer.query_norm(turned[:, : layer.heads]), layer.key_norm(turned[:, layer.heads :])), 1)
    if layer.rope is not None:
        turned = _rotate(turned, turns[layer.rope])
    queries, keys = turned[:, : layer.heads], turned[:, layer.heads :]
    all_keys, all_values = window.update(keys.transpose(0, 1)[None], values.transpose(0, 1)[None], layer.index)
    out, _ = attend(
        None,
        queries.transpose(0, 1)[None],
        all_keys,
        all_values,
        None,
        visibility=visibility,
        scaling=layer.scaling,
        sliding_window=layer.window,
        softcap=layer.softcap,
    )
    return layer.merge(out.reshape(rows, -1))


def _mlp(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    gate, up = layer.gate_up(x).chunk(2, -1)
    return layer.down(layer.activation(gate) * up)


def build_body(model: Any) -> Body | None:
    """Read the model's weights into a `Body`; None where its structure is not one of `FAMILIES`."""
    config = model.config
    if config.model_type not in FAMILIES:
        return None
    ropes = _read_ropes(model.model.rotary_emb)
    if ropes is None:
        return None
    layers = [_read_layer(config, index, layer, ropes) for index, layer in enumerate(model.model.layers)]
    softcap = getattr(config, "final_logit_softcapping", None)
    return Body(model.model.embed_tokens, ropes, layers, _read_norm(model.model.norm), Product(model.lm_head), softcap)


def agrees(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether two passes over the same tokens gave the same logits (rows, vocab) up to their format's rounding."""
    difference = (ours - theirs).float().square().mean().sqrt()
    return bool(difference <= _TOLERANCE * theirs.float().std(-1).mean())


def _read_ropes(rotary: Any) -> dict[str, Rope] | None:
    """The rotations by name, "" where all layers share one; None where one is of a kind that we do not know."""
    types = rotary.rope_type if isinstance(rotary.rope_type, dict) else {"": rotary.rope_type}
    if not set(types.values()) <= set(_STATIC_ROPE):
        return None
    prefixes = {name: f"{name}_" if name else "" for name in types}
    return {
        name: Rope(getattr(rotary, f"{prefix}inv_freq"), getattr(rotary, f"{prefix}attention_scaling"))
        for name, prefix in prefixes.items()
    }


def _read_layer(config: Any, index: int, layer: Any, ropes: dict[str, Rope]) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    sandwich = hasattr(layer, "pre_feedforward_layernorm")  # Gemma 2 and 3
    normed = hasattr(attention, "q_norm")
    fused = hasattr(attention, "qkv_proj")  # Phi-3
    layer_type = getattr(attention, "layer_type", None) or ""
    rope = layer_type if layer_type in ropes else ""
    return Layer(
        index=index,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=attention.head_dim,
        scaling=attention.scaling,
        # Mistral and Phi-3 have one window for all layers, in the configuration
        window=getattr(attention, "sliding_window", None if layer_type else getattr(config, "sliding_window", None)),
        softcap=getattr(config, "attn_logit_softcapping", None) if config.model_type == "gemma2" else None,
        rope=rope if getattr(attention, "use_rope", True) else None,
        attention_in=_read_norm(layer.input_layernorm),
        query_norm=_read_norm(attention.q_norm) if normed else None,
        key_norm=_read_norm(attention.k_norm) if normed else None,
        attention_out=_read_norm(layer.post_attention_layernorm) if sandwich else None,
        mlp_in=_read_norm(layer.pre_feedforward_layernorm if sandwich else layer.post_attention_layernorm),
        mlp_out=_read_norm(layer.post_feedforward_layernorm) if sandwich else None,
        qkv=Product(attention.qkv_proj) if fused else Product(attention.q_proj, attention.k_proj, attention.v_proj),
        merge=Product(attention.o_proj),
        gate_up=Product(mlp.gate_up_proj) if hasattr(mlp, "gate_up_proj") else Product(mlp.gate_proj, mlp.up_proj),
        down=Product(mlp.down_proj),
        activation=mlp.activation_fn if hasattr(mlp, "activation_fn") else mlp.act_fn,
    )


def _read_norm(module: Any) -> Normalise:
    if hasattr(module, "variance_epsilon"):
        return Norm(module.weight.data, module.variance_epsilon)
    return Norm(1.0 + module.weight.data.float(), module.eps)
