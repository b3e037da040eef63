"""Drafter packs of random numbers for tests, and heads that know what a tiny model says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from engine.drafting.sources.heads import MAX_HEADS, NUM_LATTICE, make_lattice
from engine.models.identity import ModelIdentity
from engine.trained.block_heads import HeadSizes
from engine.trained.pack import PackConfig, write_pack


def identity(hidden_size: int = 32, vocab_size: int = 384, weights: str = "w") -> ModelIdentity:
    return ModelIdentity("LlamaForCausalLM", hidden_size, vocab_size, "t", weights)


def random_pack(
    folder: Path, model: ModelIdentity, *, num_heads: int = 3, draft_vocab: int = 64, seed: int = 0, scale: float = 1.0
) -> Path:
    """A pack whose weights are noise."""
    sizes = HeadSizes(num_heads=num_heads, hidden_size=model.hidden_size, inner_size=8, rank=4, draft_vocab=draft_vocab)
    generator = torch.Generator().manual_seed(seed)
    weights = {name: scale * torch.randn(shape, generator=generator) for name, shape in sizes.shapes().items()}
    ids = torch.randperm(model.vocab_size, generator=generator)[:draft_vocab].sort().values
    write_pack(folder, PackConfig(kind="heads", sizes=sizes, model=model), weights, ids, (1.0,) * num_heads, {})
    return folder


class KnowingHeads:
    """Heads that know a text and the states behind its tokens, and so what comes behind a state."""

    def __init__(self, token_ids: Sequence[int], states: torch.Tensor, vocab_size: int) -> None:
        self._token_ids = list(token_ids)
        self._states = states.float()
        self.lattice = make_lattice(np.arange(vocab_size, dtype=np.int32))
        self.looked: list[int] = []  # behind which tokens of the text

    def look(self, state: torch.Tensor, last_id: int) -> None:
        distances = (self._states - state.float()).norm(dim=1)
        at = min(
            (at for at in range(len(self._token_ids) - 1) if self._token_ids[at + 1] == last_id),
            key=lambda at: float(distances[at]),
        )
        self.looked.append(at)
        following = self._token_ids[at + 2 : at + 2 + MAX_HEADS]
        self.lattice.num_heads[0] = len(following)
        for head, token_id in enumerate(following):
            others = [other for other in range(NUM_LATTICE) if other != token_id]
            self.lattice.token_ids[head] = [token_id, *others][:NUM_LATTICE]
            self.lattice.scores[head] = [0.0] + [-9.0] * (NUM_LATTICE - 1)
            self.lattice.rests[head] = -9.0
