"""Drafter packs of random numbers for tests, and heads that know what a tiny model says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from engine.drafting.history import NOWHERE
from engine.drafting.sources.chimera import MAX_DEPTH, NUM_CHILDREN, make_unrolled
from engine.drafting.sources.heads import MAX_HEADS, NUM_LATTICE, make_lattice
from engine.models.identity import ModelIdentity
from engine.trained.block_heads import HeadSizes
from engine.trained.chimera import ChimeraSizes
from engine.trained.pack import Kind, PackConfig, write_pack


def identity(hidden_size: int = 32, vocab_size: int = 384, weights: str = "w") -> ModelIdentity:
    return ModelIdentity("LlamaForCausalLM", hidden_size, vocab_size, "t", weights)


def random_pack(
    folder: Path,
    model: ModelIdentity,
    *,
    kind: Kind = "heads",
    num_heads: int = 3,
    draft_vocab: int = 64,
    seed: int = 0,
    scale: float = 1.0,
) -> Path:
    """A pack whose weights are noise."""
    shared = {"hidden_size": model.hidden_size, "draft_vocab": draft_vocab}
    config = PackConfig(
        model=model,
        heads=HeadSizes(num_heads=num_heads, inner_size=8, rank=4, **shared) if kind != "chimera" else None,
        chimera=ChimeraSizes(width=16, trigram_size=8, inner_size=8, depth=4, **shared) if kind != "heads" else None,
    )
    generator = torch.Generator().manual_seed(seed)
    weights = {
        part: {name: scale * torch.randn(shape, generator=generator) for name, shape in sizes.shapes().items()}
        for part, sizes in config.parts.items()
    }
    ids = torch.randperm(model.vocab_size, generator=generator)[:draft_vocab].sort().values
    write_pack(folder, config, weights, ids, {"heads": (1.0,) * num_heads, "chimera": (1.0,) * 4}, {})
    return folder


class KnowingChimera:
    """Chimera that knows a text and the states behind its tokens; it notes behind which tokens it looked, and whether
    the states that it was given are those of the tokens before, one after the other."""

    num_states = 512

    def __init__(self, token_ids: Sequence[int], states: torch.Tensor) -> None:
        self._token_ids = list(token_ids)
        self._states = states.float()
        self.unrolled = make_unrolled()
        self.looked: list[int] = []
        self.read: dict[int, bool] = {}  # by position of a state: whether it was the right one
        self.kept: list[int] = []  # how many tokens each text shared with the one before
        self._text: list[int] = []

    def begin(self, token_ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
        text = token_ids.tolist()
        pairs = zip(text, self._text, strict=False)
        self.kept.append(next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(text), len(self._text))))

    def look(self, states: Sequence[torch.Tensor], token_ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
        size = token_ids.size
        self._text = token_ids.tolist()
        given = torch.cat(list(states)).float()
        for at, state in zip(range(size - 1 - len(given), size - 1), given, strict=True):
            self.read[at] = bool(torch.allclose(state, self._states[at], atol=1e-3, rtol=1e-3))
        self.looked.append(size - 1)
        following = self._token_ids[size : size + MAX_DEPTH]
        self.unrolled.chances[:] = 0.0
        self.unrolled.rows[:] = NOWHERE
        for depth, token_id in enumerate(following):
            others = [other for other in range(NUM_CHILDREN) if other != token_id]
            self.unrolled.token_ids[depth] = [token_id, *others][:NUM_CHILDREN]
            self.unrolled.chances[depth] = [0.9] + [0.01] * (NUM_CHILDREN - 1)
            self.unrolled.depths[depth] = depth
            if depth + 1 < len(following):
                self.unrolled.rows[depth, 0] = depth + 1


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
