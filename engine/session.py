"""The cached conversation of a loaded model: which tokens the KV cache holds, and how the next prompt reuses them.

A conversation that another one follows is set aside (`engine.prefixes`), and comes back with its next prompt.
Knows token ids, no text and no drafter.
"""

import time
from collections.abc import Callable, Generator, Sequence
from functools import partial

import torch

from engine.config import Exactness
from engine.decoding.generation import Prefilled
from engine.errors import NotEnoughMemory
from engine.events import PrefillProgress
from engine.forward.target import Cache
from engine.forward.top_tokens import TopTokens, read_chunk, rows_to_read
from engine.models.out_of_memory import require_bytes
from engine.models.ram import free_ram
from engine.prefixes import WORTH, Prefix, Prefixes, common_prefix
from engine.ready import ReadyModel

_KEPT_ROWS = 16  # last rows of prompts, up to half a MB each


class Session:
    """A KV cache and the ids that it holds.

    `cached_ids` are the tokens of the cache's committed slots. Prefill and certified widths alone computed the first
    `num_certified` of them, so that `exact` answers may reuse them. A prompt that is asked again has the same bits at
    once: its last row's logits are kept, since a pass over its last token alone could round otherwise. `private` names
    the cached conversation where no trace of it may stay.
    """

    def __init__(self, model: ReadyModel) -> None:
        self.model = model
        self.cache = model.cache
        self.cached_ids: list[int] = []
        self.num_certified = 0
        self.private: str | None = None
        # Logits and state of prompts that are cached, by their length
        self._last_rows: dict[tuple[int, Exactness], tuple[torch.Tensor, torch.Tensor | None]] = {}
        self._prefixes = Prefixes(_room_for_prefixes(model))

    def reset(self) -> None:
        """Forget the cached conversation: the next prompt is prefilled from its first token."""
        self.cached_ids = []
        self.num_certified = 0
        self.cache.crop(0)
        self._prefixes.clear()

    def leave(self) -> None:
        """Forget the cached conversation alone: it is not set aside, and its keys and values are let go."""
        self.cached_ids = []
        self.num_certified = 0
        self.private = None
        self._last_rows = {}
        self.cache.clear()

    def prefill(
        self,
        token_ids: Sequence[int],
        exactness: Exactness,
        num_top: int,
        cancelled: Callable[[], bool],
        *,
        num_states: int = 0,
    ) -> Generator[PrefillProgress, None, Prefilled | None]:
        """Bring the cache to the prompt, reusing the longest common prefix; returns None where it was cancelled.

        With `num_top`, some rows' likeliest tokens are kept for the drafter, as many as cost little. In `exact` these
        rows go through the head for every drafter: their number may decide the bits of the last row. With
        `num_states`, the target hands over its last hidden states from here on, and as many of the last are kept.
        """
        started = time.perf_counter()
        asked = (len(token_ids), exactness)
        reused = self._crop_to_common(token_ids, exactness)
        wanted = None
        self.model.target.hand_states(num_states > 0)
        if num_top > 0 or exactness == "exact":
            wanted = partial(rows_to_read, most=self.model.target.logit_rows_per_chunk)
        logits, state = self._last_rows.get(asked, (None, None))
        states = [state[None]] if state is not None else []
        tops: list[TopTokens] = []
        done = reused
        yield PrefillProgress(done=reused, total=len(token_ids), reused=reused)
        for rows in self.model.target.prefill(self.cache, token_ids, wanted):
            logits = rows[-1:]
            length = self.cache.length
            states = self._with_handed(states, num_states)
            if wanted is not None and num_top:
                tops.append(read_chunk(rows, token_ids, done, wanted(token_ids[done:length]), num_top))
            if self.num_certified == done:
                self.num_certified = length
            done = length
            if cancelled():
                return None
            yield PrefillProgress(done=done, total=len(token_ids), reused=reused)
        assert logits is not None
        self.model.target.synchronize()
        if done > reused:
            # A sampler may write into the other, and a view would keep all rows
            self._last_rows[asked] = (logits.to("cpu", copy=True), states[-1][-1].clone() if states else None)
            for oldest in list(self._last_rows)[:-_KEPT_ROWS]:
                del self._last_rows[oldest]
        else:
            logits = logits.to(self.model.target.device, copy=True)
        return Prefilled(
            logits,
            reused,
            time.perf_counter() - started,
            tuple(tops),
            torch.cat(states)[-num_states:] if states else None,
        )

    def _with_handed(self, states: list[torch.Tensor], num_states: int) -> list[torch.Tensor]:
        """The last hidden states so far with those of the last chunk, no more parts than are needed."""
        handed = self.model.target.states
        if handed is None:
            return []
        if not self.model.target.hands_every_state:  # then no two of them need be neighbours
            return [handed[-1:]]
        states = [*states, handed]
        while len(states) > 1 and sum(map(len, states[1:])) >= num_states:
            del states[0]
        return states

    def keep(self, cached_ids: list[int], *, certified: bool) -> None:
        """Note the ids that the cache holds after an answer, however it ended; `certified`: certified widths alone
        computed them."""
        self.cached_ids = cached_ids
        self.num_certified = len(cached_ids) if certified else min(self.num_certified, len(cached_ids))
        self.cache.crop(len(cached_ids))

    def require_twin(self, tokens: int) -> None:
        """Raise `NotEnoughMemory` unless a second cache of so many tokens fits beside this one now, if need be in place
        of the conversations that are set aside."""
        wanted = (self.model.cache_bytes(tokens), self.model.loaded.device, "The second answer's cache")
        try:
            require_bytes(*wanted)
        except NotEnoughMemory:
            if not len(self._prefixes):
                raise
            self._prefixes.clear()
            require_bytes(*wanted)

    def twin(self, tokens: int) -> Cache:
        """A second cache for so many tokens that begins with what this one holds."""
        return self.cache.copy(self.model.target.padded_capacity(tokens))

    def _crop_to_common(self, token_ids: Sequence[int], exactness: Exactness) -> int:
        """Crop the cache to what the prompt may reuse of it, and return how many tokens that are."""
        reused = self._choose_prefix(token_ids, exactness)
        self._last_rows = {asked: row for asked, row in self._last_rows.items() if asked[0] <= reused}
        if reused == len(token_ids) and (reused, exactness) not in self._last_rows:
            reused -= 1  # its last row's logits are needed
        self.cache.crop(reused)
        self.num_certified = min(self.num_certified, reused)
        return reused

    def _choose_prefix(self, token_ids: Sequence[int], exactness: Exactness) -> int:
        """Let the cache hold the conversation that saves the most, and set the present one aside where the prompt
        leaves it; returns how many of its tokens can be reused."""
        reusable = self.cached_ids if exactness == "fast" else self.cached_ids[: self.num_certified]
        reused = common_prefix(reusable, token_ids)
        better = self._prefixes.take(token_ids, exactness, reused)
        left = len(self.cached_ids) - common_prefix(self.cached_ids, token_ids)
        whole = self.cache.length == len(self.cached_ids)  # else it failed, and is not to be kept
        if left >= WORTH and whole and self.private is None and self._prefixes.takes(self.cached_ids):
            rows = dict(self._last_rows)
            self._prefixes.add(Prefix(self.cached_ids, self.num_certified, self.cache.save(), rows))
        if better is None:
            return reused
        self.cache.restore(better.saved)
        self.cached_ids, self.num_certified = better.token_ids, better.num_certified
        self._last_rows = dict(better.last_rows)
        return better.shared(token_ids, exactness)


def _room_for_prefixes(model: ReadyModel) -> int:
    """Tokens that may be set aside in main memory: a context's worth, and no more than a quarter of what is free beside
    the cache when the model is loaded."""
    spare = free_ram() - model.cache_bytes(model.loaded.context_length)
    return max(0, min(model.loaded.context_length, spare // (4 * model.loaded.kv_bytes)))
