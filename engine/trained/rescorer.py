"""A small language model over the draft vocabulary, with which arXiv 2404.09221 scores block drafts again.

It reads three tokens, as Chimera's trigram encoder does, and nothing of the target; its scores behind a path are added
to those of the heads. Only benchmarks do so: in the tree of drafts the Markov term does that work.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

TOKENS = 3  # that it reads


@dataclass(frozen=True, slots=True, kw_only=True)
class RescorerSizes:
    hidden_size: int
    inner_size: int
    draft_vocab: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every weight, by name."""
        return {
            "inner": (self.inner_size, TOKENS * self.hidden_size),
            "inner_bias": (self.inner_size,),
            "outer": (self.hidden_size, self.inner_size),
            "other": (self.hidden_size,),
            "bias": (self.draft_vocab,),
            "head": (self.draft_vocab, self.hidden_size),
        }


class Rescorer(nn.Module):
    """The weights, and the scores that they give. All but `head` are learned."""

    inner: nn.Parameter
    inner_bias: nn.Parameter
    outer: nn.Parameter
    other: nn.Parameter
    bias: nn.Parameter
    head: nn.Parameter

    def __init__(self, sizes: RescorerSizes, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.sizes = sizes
        for name, shape in sizes.shapes().items():
            start = torch.zeros(shape)
            if name in ("inner", "outer"):
                start = torch.randn(shape, generator=generator) * shape[-1] ** -0.5
            self.register_parameter(name, nn.Parameter(start, requires_grad=name != "head"))

    def forward(self, before: torch.Tensor) -> torch.Tensor:
        """Scores (rows, draft vocabulary) behind three tokens (rows, 3), as numbers; those that cannot be drafted, and
        where there is none, are the draft vocabulary's size."""
        rows = torch.cat((self.head, self.other[None]))
        entries = F.rms_norm(F.embedding(before, rows), (self.sizes.hidden_size,), eps=1e-6).flatten(-2)
        inner = F.silu(F.linear(entries, self.inner, self.inner_bias))
        return F.linear(F.linear(inner, self.outer), self.head, self.bias)
