"""Block heads: k residual layers on the target's last hidden state, each for one of the next positions.

After blockwise parallel decoding (Stern et al., 2018): the base stays as it is, and its own head, cut to a draft
vocabulary, turns what the layers give into scores. The state of the last committed token is never known when a draft
is made, so a layer reads the state h behind the token before it, and an embedding of that last token:

    u_j = h + O_j silu(I_j norm(h) + R_j left[last] + b_j)        scores q_j = head u_j

The *Markov* term, left[before] . right[token], is added to q_j where the token before is known (2404.09221's n-gram
rescoring, learned). Head j (from 0) is for the token j + 1 places behind the last one.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-6  # in every number format: by default it would be that of the format


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSizes:
    """`rank` is that of the Markov term; `draft_vocab` how many tokens can be drafted."""

    num_heads: int
    hidden_size: int
    inner_size: int
    rank: int
    draft_vocab: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every weight, by name. `left` has a row more, for every token that cannot be drafted."""
        inner = self.num_heads * self.inner_size
        return {
            "inner": (inner, self.hidden_size),
            "inner_last": (inner, self.rank),
            "inner_bias": (inner,),
            "outer": (self.num_heads, self.inner_size, self.hidden_size),
            "left": (self.draft_vocab + 1, self.rank),
            "right": (self.draft_vocab, self.rank),
            "head": (self.draft_vocab, self.hidden_size),
        }


class BlockHeads(nn.Module):
    """The weights, and the scores that they give. All but `head` are learned.

    >>> sizes = HeadSizes(num_heads=2, hidden_size=4, inner_size=3, rank=2, draft_vocab=5)
    >>> heads = BlockHeads(sizes, torch.Generator().manual_seed(0))
    >>> heads(torch.ones(7, 4), torch.zeros(7, dtype=torch.int64)).shape
    torch.Size([7, 2, 5])
    """

    def __init__(self, sizes: HeadSizes, generator: torch.Generator | None = None) -> None:
        """Weights as training starts with them: each head says what the target said last."""
        super().__init__()
        self.sizes = sizes
        shapes = sizes.shapes()

        def normal(name: str, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(shapes[name], generator=generator) * scale)

        self.inner = normal("inner", sizes.hidden_size**-0.5)
        self.inner_last = normal("inner_last", sizes.rank**-0.5)
        self.inner_bias = nn.Parameter(torch.zeros(shapes["inner_bias"]))
        self.outer = nn.Parameter(torch.zeros(shapes["outer"]))
        self.left = normal("left", 1.0)
        self.right = nn.Parameter(torch.zeros(shapes["right"]))
        self.head = nn.Parameter(torch.zeros(shapes["head"]), requires_grad=False)

    def forward(self, states: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Scores (rows, heads, draft vocabulary) without the Markov term, of states (rows, hidden) and the numbers
        (rows,) of the tokens behind them."""
        sizes = self.sizes  # rows are looked up by `embedding`: an index's gradient is summed in any order by threads
        normed = F.rms_norm(states, (sizes.hidden_size,), eps=EPS)
        inner = F.silu(
            F.linear(normed, self.inner, self.inner_bias) + F.linear(F.embedding(last, self.left), self.inner_last)
        )
        inner = inner.view(-1, sizes.num_heads, sizes.inner_size).transpose(0, 1)
        moved = states[:, None] + torch.bmm(inner, self.outer).transpose(0, 1)
        scores = F.linear(moved.flatten(0, 1), self.head)  # as they lie, torch would copy the head for each state
        return scores.view(-1, sizes.num_heads, sizes.draft_vocab)

    def markov(self, before: torch.Tensor) -> torch.Tensor:
        """The Markov term (..., draft vocabulary) behind the tokens of these numbers (...)."""
        return F.linear(F.embedding(before, self.left), self.right)
