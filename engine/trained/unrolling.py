"""Chimera as the drafter uses it: what it has read of a text stays in a KV cache, and each look goes on from there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from engine.drafting.history import NOWHERE, Tokens
from engine.drafting.sources.chimera import BEAM, MAX_UNROLLED, NUM_CHILDREN, make_unrolled
from engine.trained.chimera import CACHED, CONTEXT, TRIGRAM, Chimera, Seen
from engine.trained.pack import Pack


class TrainedChimera:
    """A pack's Chimera on the target's device. Implements `engine.drafting.sources.chimera.Chimera`."""

    num_states = CONTEXT

    def __init__(self, pack: Pack, device: torch.device) -> None:
        sizes = pack.config.chimera
        assert sizes is not None
        self._device = device
        self._dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        with torch.device("meta"):  # without memory: the pack's weights take the place of what training begins with
            self._chimera = Chimera(sizes)
        self._chimera.load_state_dict(pack.part("chimera"), assign=True)
        self._chimera = self._chimera.to(device, self._dtype).eval().requires_grad_(False)
        self._sharpness = pack.chimera_sharpness
        self._outside = sizes.draft_vocab
        self._draft_ids = pack.draft_ids.numpy().astype(np.int32)
        self._number_of = np.full(pack.config.model.vocab_size, sizes.draft_vocab, np.int64)
        self._number_of[self._draft_ids] = np.arange(sizes.draft_vocab)
        self.unrolled = make_unrolled()
        heads = sizes.attention_heads
        shape = (1, heads, CACHED + MAX_UNROLLED if sizes.context else 0, sizes.width // heads)
        self._seen = Seen(*(torch.zeros(shape, device=device, dtype=self._dtype) for _ in range(2)))
        self._positions = np.zeros(0, np.int64)  # of the tokens whose keys and values stand there, ascending
        self._token_ids = np.zeros(0, np.int32)  # the text that was read

    @property
    def num_bytes(self) -> int:
        """What it takes beside the target, on its device and for the tree."""
        weights = sum(each.nbytes for each in self._chimera.parameters())
        cache = self._seen.keys.nbytes + self._seen.values.nbytes
        return weights + cache + self._number_of.nbytes + sum(array.nbytes for array in self.unrolled)

    def begin(self, token_ids: Tokens) -> None:
        """See `Chimera`."""
        most = min(token_ids.size, self._token_ids.size)
        differ = np.flatnonzero(token_ids[:most] != self._token_ids[:most])
        self.crop(int(differ[0]) if differ.size else most)

    def crop(self, position: int) -> None:
        """Forget what was read from a position on."""
        self._positions = self._positions[: np.searchsorted(self._positions, position)]
        self._token_ids = self._token_ids[:position]

    @torch.inference_mode()
    def look(self, states: Sequence[Any], token_ids: Tokens) -> None:
        """See `Chimera`. Synchronises with the device once."""
        given = torch.cat(list(states))[-CONTEXT:].to(self._dtype)
        count = min(len(given), token_ids.size - 1)
        first = token_ids.size - count
        self.crop(first)  # what was there already is known better now
        self._token_ids = token_ids.copy()
        if self._positions.size + count > CACHED:
            self._make_room()
        numbers = self._numbers(token_ids[max(0, first - TRIGRAM + 1) :])
        numbers = F.pad(numbers, (TRIGRAM - 1 - min(first, TRIGRAM - 1), 0), value=self._outside)
        windows = numbers.unfold(0, TRIGRAM, 1)
        positions = torch.arange(first, token_ids.size, device=self._device)
        before = self._positions.size
        after = before + count
        self._positions = np.concatenate((self._positions, np.arange(first, token_ids.size)))
        visible = torch.ones(count, after, dtype=torch.bool, device=self._device).tril(before)
        following, scores = self._step(given[-count:], windows, positions, before, visible)
        self._write_tree(following[-1:], scores[-1:], windows[-1:], token_ids.size, after)

    def _step(
        self, states: torch.Tensor, windows: torch.Tensor, positions: torch.Tensor, start: int, visible: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The next states and scores of rows whose keys and values are written from slot `start` on."""
        chimera = self._chimera
        entered = chimera.enter(states, windows)
        attended = None
        if chimera.sizes.context:
            queries, keys, values = chimera.project(entered[None], positions[None])
            end = start + len(states)
            self._seen.keys[:, :, start:end] = keys
            self._seen.values[:, :, start:end] = values
            low = max(0, self._positions.size - CONTEXT)
            seen = Seen(self._seen.keys[:, :, low:end], self._seen.values[:, :, low:end])
            attended = chimera.attend(queries, seen, visible[None, None, :, low:])[0]
        return chimera.leave(entered, attended)

    def _write_tree(
        self, states: torch.Tensor, scores: torch.Tensor, windows: torch.Tensor, position: int, known: int
    ) -> None:
        """Unroll behind the text's last token, `known` positions of which are in the cache."""
        depths = len(self._sharpness)
        above = torch.zeros(1, 0, dtype=torch.bool, device=self._device)  # of the paths' own slots, which each sees
        odds = torch.zeros(1, device=self._device)
        written: list[tuple[torch.Tensor, ...]] = []
        for depth in range(depths):
            logs = torch.log_softmax(scores.float() * self._sharpness[depth], -1)
            top = torch.topk(logs, NUM_CHILDREN)
            paths = (odds[:, None] + top.values).flatten()
            if depth + 1 == depths:
                written.append((top.indices, top.values, torch.zeros(0, dtype=torch.int64, device=self._device)))
                break
            best = torch.topk(paths, min(BEAM, len(paths))).indices
            written.append((top.indices, top.values, best))
            parents = best // NUM_CHILDREN
            odds, states = paths[best], states[parents]
            tokens = top.indices.flatten()[best]
            windows = torch.cat((windows[parents, 1:], tokens[:, None]), 1)
            own = torch.eye(len(best), dtype=torch.bool, device=self._device)
            above = torch.cat((above[parents], own), 1)
            start = known + above.shape[1] - len(best)
            visible = torch.cat((above.new_ones(len(best), known), above), 1)
            positions = torch.full((len(best),), position + depth, device=self._device)
            states, scores = self._step(states, windows, positions, start, visible)
        self._keep([tuple(each.cpu().numpy() for each in level) for level in written])

    def _keep(self, levels: list[tuple[Any, ...]]) -> None:
        """Write what was unrolled where the tree of drafts reads it."""
        unrolled = self.unrolled
        unrolled.chances[:] = 0.0
        unrolled.rows[:] = NOWHERE
        start = 0
        for depth, (numbers, logs, best) in enumerate(levels):
            rows = slice(start, start + len(numbers))
            unrolled.token_ids[rows] = self._draft_ids[numbers]
            unrolled.chances[rows] = np.exp(logs)
            unrolled.depths[rows] = depth
            start += len(numbers)
            unrolled.rows[rows].reshape(-1)[best] = np.arange(start, start + len(best))

    def _numbers(self, token_ids: Tokens) -> torch.Tensor:
        """Numbers in the draft vocabulary; tokens that the model lacks are others, too."""
        known = np.minimum(token_ids, self._number_of.size - 1)
        numbers = np.where(token_ids < self._number_of.size, self._number_of[known], self._outside)
        return torch.from_numpy(numbers).to(self._device)

    def _make_room(self) -> None:
        """Keep the last CONTEXT positions alone."""
        kept = slice(max(0, self._positions.size - CONTEXT), self._positions.size)
        count = kept.stop - kept.start
        for each in (self._seen.keys, self._seen.values):
            each[:, :, :count] = each[:, :, kept].clone()
        self._positions = self._positions[kept]
