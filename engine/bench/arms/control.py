"""A temperature at which rounding shows: what makes the negative control sure to differ where widths round differently.

At a given temperature, the seed's noise decides between two tokens; at some temperature its choice changes, and which
one exactly depends on the last bits of the logits. A row computed alone and the same row of a wide round change at
slightly different temperatures. Between these two they must pick different tokens, in float32 too.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch

from engine.bench.harness import BenchEngine
from engine.config import GenerationRequest, Sampling
from engine.decoding.sampling import NodeSampler, gumbel_noise
from engine.prompt.context import build_prompt

_TEMPERATURES = torch.linspace(0.4, 1.6, 241, dtype=torch.float64)
_WIDE = 16


def telling_temperature(engine: BenchEngine, request: GenerationRequest) -> float | None:
    """A temperature at which this request's first round picks another token in a wide round than alone.

    None where the rows are the same, or where the noise leaves no choice open.
    """
    loaded = engine.loaded
    prompt = build_prompt(loaded.tokenizer, request, loaded.context_length, loaded.vocab_size).token_ids
    position = len(prompt)

    def pick(logits: torch.Tensor, temperature: float, path: Sequence[int] = ()) -> int:
        sampling = _at(request.sampling, temperature)
        sampler = NodeSampler(sampling, prompt, loaded.vocab_size, loaded.device)
        return sampler.pick_one(logits, path, position + len(path))

    prefilled = engine.next_logits(prompt, width=None)
    tried: set[int] = set()
    for start in (0.8, 0.6, 1.2):  # the first token depends on the temperature too
        first = pick(prefilled, start)
        if first in tried:
            continue
        tried.add(first)
        alone, wide = (engine.next_logits((*prompt, first), width=width) for width in (1, _WIDE))
        noise = gumbel_noise(request.sampling.seed, [position + 1], len(alone), torch.device("cpu"))[0]
        for temperature in _changes(alone.cpu().double(), wide.cpu().double(), noise):
            picked = [pick(logits, temperature, (first,)) for logits in (alone, wide)]
            if picked[0] != picked[1] and pick(prefilled, temperature) == first:
                return temperature
    return None


def _at(sampling: Sampling, temperature: float) -> Sampling:
    return replace(sampling, temperature=temperature)


def _changes(alone: torch.Tensor, wide: torch.Tensor, noise: torch.Tensor) -> list[float]:
    """Temperatures half-way between those at which the choice of either row (vocab,) changes."""
    picks = (alone[None] / _TEMPERATURES[:, None] + noise[None]).argmax(-1).tolist()
    found = []
    for before, after in pairwise(picks):
        gain = float(noise[after] - noise[before])
        if before == after or gain == 0:
            continue
        ends = [float(row[before] - row[after]) / gain for row in (alone, wide)]
        if min(ends) > 0 and ends[0] != ends[1]:
            found.append(sum(ends) / 2)
    return found
