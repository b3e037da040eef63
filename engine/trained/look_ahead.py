"""Block heads as the drafter uses them: from a state to the lattice of the next positions, all heads' rows together."""

from typing import Any

import numpy as np
import torch

from engine.drafting.history import Tokens
from engine.drafting.sources.heads import NUM_LATTICE, Floats, make_lattice
from engine.trained.block_heads import BlockHeads
from engine.trained.int8_heads import Int8Heads, int8_heads
from engine.trained.pack import Pack


class TrainedHeads:
    """A pack's heads on the target's device. Implements `engine.drafting.sources.heads.Heads`."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        sizes = pack.config.heads
        assert sizes is not None
        with torch.device("meta"):  # without memory: the pack's weights take the place of what training begins with
            heads = BlockHeads(sizes)
        weights = pack.part("heads")
        heads.load_state_dict(weights, assign=True)
        in_int8 = int8_heads(heads) if device.type == "cpu" else None
        self._heads: _FloatHeads | Int8Heads = in_int8 or _FloatHeads(heads, device)
        self._draft_ids = pack.draft_ids.numpy().astype(np.int32)
        number_of = np.full(pack.config.model.vocab_size, sizes.draft_vocab, np.int32)
        number_of[self._draft_ids] = np.arange(sizes.draft_vocab, dtype=np.int32)
        left, right = (weights[name].float().numpy() for name in ("left", "right"))
        self.lattice = make_lattice(number_of, left, right)
        self.lattice.num_heads[0] = sizes.num_heads
        self.lattice.sharpness[: sizes.num_heads] = pack.sharpness
        self._outside = sizes.draft_vocab

    @property
    def num_bytes(self) -> int:
        """What it takes beside the target, on its device and for the tree."""
        return self._heads.num_bytes + sum(array.nbytes for array in self.lattice)

    def look(self, state: Any, last_id: int) -> None:
        """See `Heads`. Synchronises with the device once."""
        lattice = self.lattice
        number = int(lattice.number_of[last_id]) if last_id < lattice.number_of.size else self._outside
        numbers, scores, rests = self._heads.lattice(state, number)
        count = len(numbers)
        lattice.numbers[:count] = numbers
        lattice.token_ids[:count] = self._draft_ids[numbers]
        lattice.scores[:count] = scores
        lattice.rests[:count] = rests * lattice.sharpness[:count]


class _FloatHeads:
    """The weights of `heads` on a device, and the lattice that they give."""

    def __init__(self, heads: BlockHeads, device: torch.device) -> None:
        self._dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        self._heads = heads.to(device, self._dtype).eval().requires_grad_(False)

    @property
    def num_bytes(self) -> int:
        return sum(each.nbytes for each in self._heads.parameters())

    @torch.inference_mode()
    def lattice(self, state: torch.Tensor, last: int) -> tuple[Tokens, Floats, Floats]:
        """See `Int8Heads.lattice`."""
        number = torch.tensor([last], device=state.device)
        scores = self._heads(state[None].to(self._dtype), number)[0].float()
        whole = scores.clone()
        whole[0] += self._heads.markov(number)[0].float()  # of the first position the token before is known
        top = torch.topk(whole, NUM_LATTICE)
        rests = torch.logsumexp(whole.scatter_(1, top.indices, -torch.inf), 1)
        own = scores.gather(1, top.indices)
        return top.indices.cpu().numpy(), own.cpu().numpy(), rests.cpu().numpy()
