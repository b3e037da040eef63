"""Block heads on a processor: their products with 8-bit weights, through the kernel that rounds use.

A look reads every weight once, so bytes decide how long it takes: here a quarter of float32's.
"""

import numpy as np
import torch
import torch.nn.functional as F

from engine.drafting.history import Tokens
from engine.drafting.sources.heads import NUM_LATTICE, Floats
from engine.forward.cpu.row_operations import most_likely
from engine.forward.int8.product import Int8Weight, multiply, pack, quantised
from engine.trained.block_heads import EPS, BlockHeads

_LEAST_REST = 1e-3  # of all chances, which are known to 4 %


class Int8Heads:
    """The weights of `heads` in 8 bits, and the lattice that they give."""

    def __init__(self, heads: BlockHeads, products: tuple[Int8Weight, ...]) -> None:
        """See `int8_heads`."""
        self._sizes = heads.sizes
        self._left = heads.left.float()
        self._inner, self._last, self._head, *self._outer = products

    @property
    def num_bytes(self) -> int:
        products = (self._inner, self._last, self._head, *self._outer)
        kept = (each for product in products for each in (product.blocks, product.scales, product.bias))
        return self._left.nbytes + sum(each.nbytes for each in kept)

    @torch.inference_mode()
    def lattice(self, state: torch.Tensor, last: int) -> tuple[Tokens, Floats, Floats]:
        """Numbers and scores (heads, NUM_LATTICE) of the likeliest tokens, the first head's by its scores with the
        Markov term and here without; and of each head the log-sum of all other scores, the first head's with it."""
        sizes = self._sizes
        of_last = multiply(self._left[last][None], self._last)[0]
        inner, markov = of_last[: len(of_last) - sizes.draft_vocab], of_last[len(of_last) - sizes.draft_vocab :]
        state = state.float()[None]
        inner = inner + multiply(F.rms_norm(state, (sizes.hidden_size,), eps=EPS), self._inner)[0]
        inner = F.silu(inner).view(sizes.num_heads, 1, sizes.inner_size)
        moved = torch.cat([multiply(row, weight) for row, weight in zip(inner, self._outer, strict=True)])
        scores = multiply(moved + state, self._head)
        first = scores[0].clone()
        scores[0] += markov
        numbers, chances = most_likely(scores, NUM_LATTICE)
        top = np.take_along_axis(scores.numpy(), numbers, 1)
        with np.errstate(all="ignore"):  # where weights are large there are no numbers, and nothing is drafted
            rests = top[:, 0] + np.log(np.maximum(1 - chances.sum(1), _LEAST_REST) / chances[:, 0])
        top[0] = first.numpy()[numbers[0]]
        return numbers, top, rests


def int8_heads(heads: BlockHeads) -> Int8Heads | None:
    """Heads with 8-bit weights, or None where the kernel does not compute what float64 does."""
    weights = {name: each.detach().float() for name, each in heads.named_parameters()}
    products = (
        pack(*quantised(weights["inner"]), weights["inner_bias"]),
        pack(*quantised(torch.cat((weights["inner_last"], weights["right"]))), None),
        pack(*quantised(weights["head"]), None),
        *(pack(*quantised(each.T.contiguous()), None) for each in weights["outer"]),
    )
    found = tuple(each for each in products if each is not None)
    return Int8Heads(heads, found) if len(found) == len(products) else None
