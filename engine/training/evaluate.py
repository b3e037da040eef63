"""How good block drafts are, replayed over recorded answers; and how sure their scores may be.

Each answer is decoded again as chains of drafts: what agrees with the answer is committed with one token more. Tokens
per round are the papers' block efficiency. `rescoring` says how a draft is made of a lattice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from engine.drafting.sources.heads import NUM_LATTICE
from engine.metrics import ratio
from engine.trained.block_heads import BlockHeads
from engine.trained.chimera import Chimera, unrolled
from engine.training.examples import NO_TOKEN, Examples
from engine.training.lessons import Text

_ROWS = 256  # examples whose scores are computed together
_SHARPNESS = np.geomspace(0.1, 3.0, 69)

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Draft = Callable[[int], Sequence[int]]
"""The tokens drafted at an example, as numbers in the draft vocabulary."""


class Recorded(Protocol):
    """Examples of recorded answers, in order."""

    @property
    def wanted(self) -> Numbers:
        """(examples, 1 + positions): the token that is known and what came behind it, as numbers."""

    @property
    def answers(self) -> npt.NDArray[np.int32]:
        """(examples,): which answer each is of."""


@dataclass(frozen=True, slots=True)
class Lattices:
    """Of some examples: `numbers` and `scores` (examples, heads, NUM_LATTICE) of the likeliest tokens, where the first
    head's Markov term, whose token before is known, decided which they are. `rests` (examples, heads): the log-sum of
    all other scores."""

    numbers: Numbers
    scores: Floats
    rests: Floats
    wanted: Numbers  # (examples, 1 + heads): what came, as numbers
    answers: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numbers)


@torch.inference_mode()
def lattices_of(
    heads: BlockHeads, states: torch.Tensor, numbers: torch.Tensor, examples: Examples, chosen: Numbers
) -> Lattices:
    """The lattices of the chosen examples."""
    device = heads.head.device
    found: list[tuple[torch.Tensor, ...]] = []
    for start in range(0, len(chosen), _ROWS):
        rows = torch.from_numpy(chosen[start : start + _ROWS])
        last = numbers[rows, 0].to(device)
        scores = heads(states[torch.from_numpy(examples.rows[rows.numpy()])].to(device, torch.float32), last)
        whole = scores.clone()
        whole[:, 0] += heads.markov(last)
        top = torch.topk(whole, NUM_LATTICE)
        rests = torch.logsumexp(whole.scatter(2, top.indices, -torch.inf), 2)
        found.append((top.indices.cpu(), scores.gather(2, top.indices).cpu(), rests.cpu()))
    count, size = heads.sizes.num_heads, (0, heads.sizes.num_heads, NUM_LATTICE)
    empty = (torch.zeros(size, dtype=torch.int64), torch.zeros(size), torch.zeros(size[:2]))
    top_numbers, top_scores, top_rests = (torch.cat(parts).numpy() for parts in zip(empty, *found, strict=True))
    wanted = numbers[torch.from_numpy(chosen)][:, : 1 + count].numpy()
    return Lattices(top_numbers, top_scores, top_rests, wanted, examples.answers[chosen])


def replayed(recorded: Recorded, draft: Draft) -> dict[str, Any]:
    """Tokens per round of chains of drafts over all answers, and how often neighbours in a draft are equal."""
    tokens = rounds = repeats = neighbours = 0
    right = np.zeros(0, np.int64)
    at, owners = 0, recorded.answers
    while at < len(owners):
        drafted = np.asarray(draft(at))
        wanted = recorded.wanted[at, 1 : 1 + len(drafted)]
        agrees = (drafted == wanted) & (wanted != NO_TOKEN)
        accepted = int(agrees.argmin()) if not agrees.all() else len(drafted)
        right = agrees + (right if len(right) else 0)
        repeats += int(((drafted[1:] == drafted[:-1]) & (drafted[1:] != NO_TOKEN)).sum())
        neighbours += len(drafted) - 1
        step = 1
        while step <= accepted and at + step < len(owners) and owners[at + step] == owners[at]:
            step += 1
        tokens += step
        rounds += 1
        at += step
    return {
        "tokens_per_round": ratio(tokens, rounds),
        "rounds": rounds,
        "repeats": ratio(repeats, neighbours),
        "top1": [ratio(int(count), rounds) for count in right],
    }


def sharpness_of(heads: BlockHeads, lattices: Lattices) -> tuple[float, ...]:
    """By head, what makes its scores, with the Markov term of the token that came before, the most likely."""
    left, right = (each.detach().float().cpu().numpy() for each in (heads.left, heads.right))
    found = []
    for head in range(lattices.numbers.shape[1]):
        wanted = lattices.wanted[:, 1 + head]
        real = wanted != NO_TOKEN
        numbers = lattices.numbers[real, head]
        before = lattices.wanted[real, head]
        scores = lattices.scores[real, head] + np.einsum("nkr,nr->nk", right[numbers], left[before])
        whole = np.concatenate((scores, lattices.rests[real, head][:, None]), 1)
        place = np.where(numbers == wanted[real][:, None], np.arange(NUM_LATTICE), NUM_LATTICE).min(1)
        found.append(_sharpest(whole, place))
    return tuple(found)


def _sharpest(scores: Floats, place: Numbers) -> float:
    """What makes the right places (rows,) of the scores (rows, columns) the most likely."""
    if not len(scores):
        return 1.0

    def likelihood(sharpness: float) -> float:
        sharp = scores * sharpness
        top = sharp.max(1, keepdims=True)
        totals = top[:, 0] + np.log(np.exp(sharp - top).sum(1))
        return float((sharp[np.arange(len(place)), place] - totals).sum())

    return float(max(_SHARPNESS, key=likelihood))


@dataclass(frozen=True, slots=True)
class Drafts:
    """Chimera's chains at some examples, and the `scores` (examples, depth, NUM_LATTICE) of its likeliest tokens along
    the true ones, `numbers`, with the log-sums of all others, `rests`."""

    drafted: Numbers  # (examples, positions)
    numbers: Numbers
    scores: Floats
    rests: Floats
    wanted: Numbers
    answers: npt.NDArray[np.int32]

    def chain(self, at: int) -> Sequence[int]:
        found: list[int] = self.drafted[at].tolist()
        return found


@torch.inference_mode()
def drafts_of(
    chimera: Chimera,
    states: torch.Tensor,
    texts: Sequence[Text],
    numbers: torch.Tensor,
    examples: Examples,
    chosen: Numbers,
    length: int,
) -> Drafts:
    """Chimera's drafts of so many tokens at the chosen examples, which are all of their answers'."""
    device, depth = chimera.head.device, chimera.sizes.depth
    drafted: list[torch.Tensor] = [torch.zeros(0, length, dtype=torch.int64)]
    tops: list[tuple[torch.Tensor, ...]] = []
    for answer in dict.fromkeys(examples.answers[chosen].tolist()):
        text = texts[answer]
        count = len(text.numbers) - 1
        true = states[text.start : text.start + count].to(device, torch.float32)
        tokens, first = text.numbers.to(device), text.first - 1
        free = unrolled(chimera, true, tokens, first, length, drafting=True)
        drafted.append(torch.stack([scores.argmax(-1) for _, scores in free], 1)[:-1].cpu())
        forced = torch.stack([scores for _, scores in unrolled(chimera, true, tokens, first, depth)], 1)[:-1]
        top = torch.topk(forced, NUM_LATTICE)
        rests = torch.logsumexp(forced.scatter(2, top.indices, -torch.inf), 2)
        tops.append((top.indices.cpu(), top.values.cpu(), rests.cpu()))
    empty = (torch.zeros(0, depth, NUM_LATTICE, dtype=torch.int64), torch.zeros(0, depth, NUM_LATTICE))
    top_numbers, top_scores, top_rests = (
        torch.cat(parts).numpy() for parts in zip((*empty, torch.zeros(0, depth)), *tops, strict=True)
    )
    wanted = numbers[torch.from_numpy(chosen)].numpy()[:, : 1 + max(length, depth)]
    return Drafts(torch.cat(drafted).numpy(), top_numbers, top_scores, top_rests, wanted, examples.answers[chosen])


def chimera_sharpness_of(drafts: Drafts) -> tuple[float, ...]:
    """By depth, what makes Chimera's scores along the true tokens the most likely."""
    found = []
    for depth in range(drafts.numbers.shape[1]):
        wanted = drafts.wanted[:, 1 + depth]
        real = wanted != NO_TOKEN
        whole = np.concatenate((drafts.scores[real, depth], drafts.rests[real, depth][:, None]), 1)
        held = drafts.numbers[real, depth] == wanted[real][:, None]
        place = np.where(held, np.arange(NUM_LATTICE), NUM_LATTICE).min(1) if len(whole) else np.zeros(0, np.int64)
        found.append(_sharpest(whole, place))
    return tuple(found)
