"""Chimera (arXiv 2402.15758), slim: a small layer over the target's states that drafts a token at a time.

A *trigram encoder* turns the newest three tokens into a vector, for what stands close by; a *full-context encoder*, one
attention layer with a KV cache of its own, reads the target's last hidden states of all that was said, for what stands
far away. Together they tell the state behind the newest token, which nobody knows yet, from the one before it:

    g = T silu(S [e1; e2; e3])         the trigram's vector; e are rows of the head, normed
    z = H norm(h) + g                  h: the state behind the token before the newest one
    y = z + O attention(z)             over z of all tokens up to the newest one
    y = y + D (silu(gate) * up)        both from norm(y)
    h' = P norm(y)                     scores = head h'

Unrolled, h' takes the place of h; added to h it learned more slowly, for what the target said last is known already.
The head is the target's own, cut to a draft vocabulary. The paper's module is as large as several layers; this one
takes what four block heads take.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

_EPS = 1e-6
_BASE = 10_000.0  # of rotary positions
_HEAD_SIZE = 64
TRIGRAM = 3
CONTEXT = 512  # positions that attention reads, at most
CACHED = 2 * CONTEXT  # that the KV cache holds; when it is full, the last CONTEXT of them stay


@dataclass(frozen=True, slots=True, kw_only=True)
class ChimeraSizes:
    """`width` is the layer's, `trigram_size` and `inner_size` those between two products, `depth` how many tokens in a
    row it learned to draft. Of the encoders either may be left out in an ablation: without the trigram's, the newest
    token's vector alone is left of it; without the context's, there is no attention."""

    hidden_size: int
    width: int
    trigram_size: int
    inner_size: int
    depth: int
    draft_vocab: int
    trigram: bool = True
    context: bool = True

    @property
    def attention_heads(self) -> int:
        """Each of an even number of values, if possible 64.

        >>> [ChimeraSizes(hidden_size=8, width=width, trigram_size=8, inner_size=8, depth=1, draft_vocab=8)
        ...  .attention_heads for width in (576, 32, 1000)]
        [9, 1, 10]
        """
        most = max(1, self.width // _HEAD_SIZE)
        return next(each for each in range(most, 0, -1) if self.width % (2 * each) == 0)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every weight, by name."""
        tokens = TRIGRAM if self.trigram else 1
        attention = {"qkv": (3 * self.width, self.width), "attended": (self.width, self.width)}
        return {
            "trigram_in": (self.trigram_size, tokens * self.hidden_size),
            "trigram_bias": (self.trigram_size,),
            "trigram_out": (self.width, self.trigram_size),
            "other": (self.hidden_size,),
            "state_in": (self.width, self.hidden_size),
            **(attention if self.context else {}),
            "gate_up": (2 * self.inner_size, self.width),
            "down": (self.width, self.inner_size),
            "state_out": (self.hidden_size, self.width),
            "head": (self.draft_vocab, self.hidden_size),
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """Keys and values (batch, heads, positions, head size) that attention may read."""

    keys: torch.Tensor
    values: torch.Tensor


class Chimera(nn.Module):
    """The weights, and what they compute. All but `head` are learned."""

    trigram_in: nn.Parameter
    trigram_bias: nn.Parameter
    trigram_out: nn.Parameter
    other: nn.Parameter
    state_in: nn.Parameter
    qkv: nn.Parameter
    attended: nn.Parameter
    gate_up: nn.Parameter
    down: nn.Parameter
    state_out: nn.Parameter
    head: nn.Parameter

    def __init__(self, sizes: ChimeraSizes, generator: torch.Generator | None = None) -> None:
        """Weights as training starts with them: every token is as likely as another."""
        super().__init__()
        self.sizes = sizes
        zeros = {"trigram_bias", "other", "attended", "down", "state_out", "head"}
        for name, shape in sizes.shapes().items():
            start = torch.zeros(shape) if name in zeros else torch.randn(shape, generator=generator) * shape[-1] ** -0.5
            self.register_parameter(name, nn.Parameter(start, requires_grad=name != "head"))

    def encode(self, trigrams: torch.Tensor) -> torch.Tensor:
        """Vectors (..., width) of the newest three tokens (..., 3), numbers of the draft vocabulary; its size stands
        for every other token."""
        tokens = trigrams if self.sizes.trigram else trigrams[..., -1:]
        rows = torch.cat((self.head, self.other[None].to(self.head.dtype)))
        entries = _norm(F.embedding(tokens, rows)).flatten(-2)
        return F.linear(F.silu(F.linear(entries, self.trigram_in, self.trigram_bias)), self.trigram_out)

    def enter(self, states: torch.Tensor, trigrams: torch.Tensor) -> torch.Tensor:
        """The layer's input (..., width) for tokens, by the states (..., hidden) behind the tokens before them."""
        return F.linear(_norm(states), self.state_in) + self.encode(trigrams)

    def project(
        self, entered: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values (batch, heads, rows, head size) of rows (batch, rows, width) at positions
        (batch, rows)."""
        heads = self.sizes.attention_heads
        batch, rows, width = entered.shape
        turned = F.linear(_norm(entered), self.qkv).view(batch, rows, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        cos, sin = _angles(positions, width // heads, entered.dtype)
        return _turn(turned[0], cos, sin), _turn(turned[1], cos, sin), turned[2]

    def leave(self, entered: torch.Tensor, attended: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The next states (..., hidden) and their scores (..., draft vocabulary); `attended`: None without context."""
        y = entered if attended is None else entered + F.linear(attended, self.attended)
        gate, up = F.linear(_norm(y), self.gate_up).chunk(2, -1)
        y = y + F.linear(F.silu(gate) * up, self.down)
        following = F.linear(_norm(y), self.state_out)
        return following, F.linear(following, self.head)

    def attend(self, queries: torch.Tensor, seen: Seen, visible: torch.Tensor) -> torch.Tensor:
        """What rows gather (batch, rows, width) of the positions that are visible to each, (batch, 1, rows,
        positions)."""
        gathered = F.scaled_dot_product_attention(queries, seen.keys, seen.values, attn_mask=visible)
        return gathered.transpose(1, 2).flatten(2)


def unrolled(
    chimera: Chimera, states: torch.Tensor, numbers: torch.Tensor, first: int, depth: int, *, drafting: bool = False
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """From every position of a text from `first` on: the next state (rows, hidden) and the scores (rows, draft
    vocabulary) of each of `depth` tokens in a row.

    `numbers` (1 + positions,) are the text's tokens, and `states` (positions, hidden) the true ones behind all but the
    last: so the first token has none before it, and no position. The tokens between are the text's own, or with
    `drafting` Chimera's own likeliest ones.
    """
    sizes, device = chimera.sizes, numbers.device
    count = len(numbers) - 1
    padded = F.pad(numbers, (TRIGRAM - 2, depth), value=sizes.draft_vocab)
    windows = padded.unfold(0, TRIGRAM, 1)[:count]
    places = torch.arange(count, device=device)
    behind = places[first:, None] - places
    known = (behind >= 0) & (behind < CONTEXT)
    entered = chimera.enter(states, windows)
    states, windows = states[first:], windows[first:]
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    text, path = Seen(entered, entered), list[Seen]()
    for step in range(depth):
        attended = None
        if sizes.context:
            if step == 0:
                queries, *read = chimera.project(entered[None], places[None])
                text, queries = Seen(*read), queries[:, :, first:]
            else:
                queries, *read = chimera.project(entered[None], places[None, first:] + step)
                path.append(Seen(*read))
            attended = _attend_along(queries, text, path, known)[0]
        states, scores = chimera.leave(entered[first:] if step == 0 else entered, attended)
        found.append((states, scores))
        if step + 1 < depth:
            start = TRIGRAM + step + first
            newest = scores.argmax(-1) if drafting else padded[start : start + len(states)]
            windows = torch.cat((windows[:, 1:], newest[:, None]), 1)
            entered = chimera.enter(states, windows)
    return found


def _attend_along(queries: torch.Tensor, text: Seen, path: Sequence[Seen], known: torch.Tensor) -> torch.Tensor:
    """What each row gathers of the text that it knows and of its own path behind it."""
    scale = queries.shape[-1] ** -0.5
    over_text = (queries @ text.keys.mT * scale).masked_fill(~known, -torch.inf)
    over_path = [(queries * each.keys).sum(-1, keepdim=True) * scale for each in path]
    shares = torch.softmax(torch.cat((over_text, *over_path), -1), -1)
    count = text.keys.shape[2]
    gathered = shares[..., :count] @ text.values
    for index, each in enumerate(path):
        gathered = gathered + shares[..., count + index, None] * each.values
    return gathered.transpose(1, 2).flatten(2)


def _norm(values: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(values, values.shape[-1:], eps=_EPS)


def _angles(positions: torch.Tensor, size: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    rates = _BASE ** (-torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size)
    angles = positions[:, None, :, None].float() * rates
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _turn(vectors: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = vectors.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
