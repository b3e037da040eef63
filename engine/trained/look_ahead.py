"""Block heads as the drafter uses them: from a state to the lattice of the next positions, all heads' rows together."""

from typing import Any

import numpy as np
import torch

from engine.drafting.sources.heads import NUM_LATTICE, make_lattice
from engine.trained.block_heads import BlockHeads
from engine.trained.pack import Pack


class TrainedHeads:
    """A pack's heads on the target's device. Implements `engine.drafting.sources.heads.Heads`."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        sizes = pack.config.heads
        assert sizes is not None
        self._dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        with torch.device("meta"):  # without memory: the pack's weights take the place of what training begins with
            self._heads = BlockHeads(sizes)
        weights = pack.part("heads")
        self._heads.load_state_dict(weights, assign=True)
        self._heads = self._heads.to(device, self._dtype).eval().requires_grad_(False)
        self._draft_ids = pack.draft_ids.to(device)
        self._sharpness = torch.tensor(pack.sharpness, device=device, dtype=torch.float32)
        number_of = np.full(pack.config.model.vocab_size, sizes.draft_vocab, np.int32)
        number_of[pack.draft_ids.numpy()] = np.arange(sizes.draft_vocab, dtype=np.int32)
        left, right = (weights[name].float().numpy() for name in ("left", "right"))
        self.lattice = make_lattice(number_of, left, right)
        self.lattice.num_heads[0] = sizes.num_heads
        self.lattice.sharpness[: sizes.num_heads] = pack.sharpness

    @property
    def num_bytes(self) -> int:
        """What it takes beside the target, on its device and for the tree."""
        weights = sum(each.nbytes for each in self._heads.parameters())
        return weights + sum(array.nbytes for array in self.lattice)

    @torch.inference_mode()
    def look(self, state: Any, last_id: int) -> None:
        """See `Heads`. Synchronises with the device once."""
        lattice = self.lattice
        draft_vocab = self._heads.sizes.draft_vocab
        number = int(lattice.number_of[last_id]) if last_id < lattice.number_of.size else draft_vocab
        last = torch.tensor([number], device=state.device)
        scores = self._heads(state[None].to(self._dtype), last)[0].float()
        whole = scores.clone()
        whole[0] += self._heads.markov(last)[0].float()  # of the first position the token before is known
        top = torch.topk(whole, NUM_LATTICE)
        rests = torch.logsumexp(whole.scatter_(1, top.indices, -torch.inf), 1) * self._sharpness
        count = len(scores)
        lattice.numbers[:count] = top.indices.cpu().numpy()
        lattice.token_ids[:count] = self._draft_ids[top.indices].cpu().numpy()
        lattice.scores[:count] = scores.gather(1, top.indices).cpu().numpy()
        lattice.rests[:count] = rests.cpu().numpy()
