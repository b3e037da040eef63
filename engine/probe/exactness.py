"""The probe that finds which round widths of this model on this device give bit-equal rows.

Kernels round differently for different numbers of rows, so a near-tie may flip when a token is verified beside
others. The probe runs one chain of tokens through rounds of every width, cut at different places and with padding
beside it, and compares all logits bit by bit; then once more through trees, from branch to branch.
Which widths are used, and whether trees are, follows from that alone, never from a timing.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from engine.events import Certificate
from engine.forward.slots import BLOCK, slots_for, take_slot
from engine.forward.target import Cache, Target
from engine.forward.widths import MAX_WIDTH, WIDTHS
from engine.probe.steps import Passes, Steps, counted, run

_CONTEXTS = (40, 300)  # one and two blocks of cache slots
# A kernel that rounds differently shows in few of the numbers it makes: on a CPU in bfloat16, attention with one row
# differed from the others in 1 of 2,500. Small models make few numbers a row, so they are given more rows.
_EVIDENCE = 150_000  # hidden numbers (rows x layers x hidden size) that each width is judged by, in all contexts
# Libraries have other kernels for one row alone. Of a tiny model's numbers one in some 70,000 came out otherwise; it
# stays in the cache and spoils what follows. So a single row is believed on more evidence, or not at all.
_EVIDENCE_ALONE = 1_000_000
_ROWS = (16, 512)
_PASSES = 4  # over other tokens, at most: where a short context leaves room for few of a library's rows at a time
_TREE_ROWS = 16  # narrower rounds have no room for the probe's trees, and little use for any
_TREE_PATH = 8  # tokens that one of them commits at most
FAST = Certificate(setting="fast", tier="C", widths=WIDTHS, trees=True)


def certify(target: Target[Any], progress: Callable[[Passes], None] = lambda _: None) -> Certificate:
    """Take all steps of `certify_steps`; `progress` gets each of them."""
    return run(certify_steps(target), progress)


def certify_steps(target: Target[Any]) -> Steps[Certificate]:
    """Find the largest set of widths whose rows agree to the last bit; among equals the one with the narrowest.

    Where no two agree, one width serves both modes, if its rows do not depend on where they are in a round and what is
    beside them; where even that fails, the certificate is tier C and promises nothing. A step is one forward pass, or
    one comparison of what several found; the target may do other work between two steps.
    """
    plan = _plan(target)
    return counted(_probe(target, plan), plan.num_steps)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the probe of one model consists of: so many rows of these widths, in every pass."""

    rows: int
    widths: tuple[int, ...]
    passes: "tuple[_Pass, ...]"

    @property
    def num_steps(self) -> int:
        """About how many steps the probe takes, where all widths agree."""
        return sum(
            2 + 2 * self.rows // _TREE_PATH + sum(self._steps_of(width) for width in self.widths) for _ in self.passes
        )

    def _steps_of(self, width: int) -> int:
        chain = max(self.rows, width)
        return -(-chain // width) + -(-max(width, chain // 4) // ((width + 1) // 2)) + 1


def _plan(target: Target[Any]) -> _Plan:
    evidence = _EVIDENCE if target.row_independent else _EVIDENCE_ALONE
    wanted_rows = min(max(-(-evidence // (target.numbers_per_row * len(_CONTEXTS))), _ROWS[0]), _ROWS[1])
    rows = max(1, min(wanted_rows, target.context_length // 4))
    limit = max(0, target.context_length - max(rows, MAX_WIDTH) - MAX_WIDTH)
    contexts = sorted({min(context, limit) for context in _CONTEXTS})
    salts = 1 if target.row_independent else min(-(-wanted_rows // rows), _PASSES)
    passes = tuple(_Pass(context, salt) for salt in range(salts) for context in contexts)
    evidence = rows * len(passes) * target.numbers_per_row
    probed = WIDTHS if target.row_independent or evidence >= _EVIDENCE_ALONE else WIDTHS[1:]
    return _Plan(rows, probed, passes)


def _probe(target: Target[Any], plan: _Plan) -> Generator[None, None, Certificate]:
    rows = plan.rows
    traces: dict[int, list[torch.Tensor] | None] = {width: [] for width in plan.widths}
    cache = target.new_cache(max(its.context for its in plan.passes) + max(rows, MAX_WIDTH))
    groups: list[list[int]] = [[width] for width in plan.widths]
    for its in plan.passes:
        chain = its.chain(max(rows, MAX_WIDTH), target.vocab_size)
        yield from its.prefill(target, cache)
        for width in [width for group in groups for width in group]:
            trace = traces[width]
            if trace is not None:
                piece = yield from _trace(target, cache, its.context, chain[: max(rows, width)], width)
                traces[width] = [*trace, piece] if piece is not None else None
        judged = sorted(width for group in groups for width in group)
        groups = yield from _groups({width: traces[width] for width in judged})
        if any(len(group) > 1 for group in groups):  # a width that agrees with no other needs no further pass
            groups = [group for group in groups if len(group) > 1]
    if not groups:
        return Certificate(setting="exact", tier="C", widths=WIDTHS, trees=target.trees)
    widths = _best(groups, narrow=target.rows_cost)
    if len(widths) == 1:  # a fixed width: wide enough to draft in
        widths = max(groups, key=lambda group: group[0] if group[0] <= 8 else -group[0])
    trees = False
    if target.trees and widths[-1] >= _TREE_ROWS:
        trees = yield from _trees_agree(target, cache, plan.passes, widths, traces[widths[-1]] or [])
    tier: Literal["A", "B"] = "A" if len(widths) == len(WIDTHS) else "B"
    return Certificate(setting="exact", tier=tier, widths=tuple(widths), trees=trees)


@dataclass(frozen=True, slots=True)
class _Pass:
    """One run of the probe: a chain of tokens behind `context` others; each `salt` means other ones."""

    context: int
    salt: int

    def prefill(self, target: Target[Any], cache: Cache) -> Iterator[None]:
        cache.crop(0)
        for _ in target.prefill(cache, _tokens(self.context, 2 * self.salt + 1, target.vocab_size)):
            yield

    def chain(self, count: int, vocab_size: int) -> list[int]:
        return _tokens(count, 2 * self.salt + 2, vocab_size)


def _best(groups: Sequence[list[int]], *, narrow: bool) -> list[int]:
    """The group with the most widths, of equals the one with the narrowest; with `narrow`, one with width 1 first.

    >>> _best([[1, 2, 3], [8, 12, 16, 24]], narrow=False), _best([[1, 2, 3], [8, 12, 16, 24]], narrow=True)
    ([8, 12, 16, 24], [1, 2, 3])
    """
    return max(groups, key=lambda group: (narrow and group[0] == 1, len(group), -group[0]))


def _groups(traces: Mapping[int, list[torch.Tensor] | None]) -> Generator[None, None, list[list[int]]]:
    """The widths whose traces agree, group by group."""
    groups: list[list[int]] = []
    for width, trace in traces.items():
        if trace is None:
            continue
        for group in groups:
            agree = _agree(trace, traces[group[0]])
            yield
            if agree:
                group.append(width)
                break
        else:
            groups.append([width])
    return groups


def _trace(
    target: Target[Any], cache: Cache, context: int, chain: Sequence[int], width: int
) -> Generator[None, None, torch.Tensor | None]:
    """Logits of the probe chain behind `context` tokens through rounds of one width; None where they depend on place
    or neighbours."""
    whole = yield from _run(target, cache, context, chain, width, step=width)
    # The same rows at other places of the round and beside padding: cut the chain into other pieces.
    cut = yield from _run(target, cache, context, chain[: max(width, len(chain) // 4)], width, step=(width + 1) // 2)
    return whole if torch.equal(whole[: len(cut)], cut) else None


def _trees_agree(
    target: Target[Any],
    cache: Cache,
    passes: Sequence[_Pass],
    widths: Sequence[int],
    wanted: Sequence[torch.Tensor],
) -> Generator[None, None, bool]:
    """Whether each pass's chain has the same logits, those `wanted`, where it changes from branch to branch of trees,
    round after round; twice, through other trees."""
    wide = [width for width in widths if width >= _TREE_ROWS]
    for turn, (its, rows) in enumerate([*zip(passes, wanted, strict=True)] * 2):
        yield from its.prefill(target, cache)
        chain = its.chain(len(rows), target.vocab_size)
        done = 0
        while done < len(rows):
            width = wide[(turn + done) % len(wide)]
            room = min(slots_for(cache.length) - cache.length, len(rows) - done)
            token_ids, parents, offsets, path = _tree(cache.length, chain[done : done + room], width, turn + done)
            logits = target.forward(cache, token_ids, parents=parents, offsets=offsets, width=width)
            if not torch.equal(logits[path], rows[done : done + len(path)]):
                return False
            cache.commit([offsets[row] for row in path])
            done += len(path)
            yield
    return True


def _tree(start: int, chain: Sequence[int], width: int, turn: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """A tree of up to `width` rows for a round at slot `start`: tokens, parents, offsets, and the rows of the chain.

    At every depth other tokens are placed before and beside the chain's, so that it gets ever further from its
    slots in a chain, each `turn` in another pattern, until no slot is left.
    """
    taken = [False] * (_TREE_PATH + BLOCK)
    token_ids, parents, offsets, path = [chain[0]], [-1], [0], [0]
    for depth in range(1, min(len(chain), _TREE_PATH)):
        decoys = (0, 1, 3, 0, 2)[(turn + depth) % 5]
        for number in range(decoys + 1):
            if len(token_ids) == width:
                return token_ids, parents, offsets, path
            offset = take_slot(taken, start, depth, offsets[path[-1]])
            if offset < 0:
                return token_ids, parents, offsets, path
            token_ids.append(chain[depth] if number == decoys else chain[(-number - 1) % len(chain)])
            parents.append(path[-1])
            offsets.append(offset)
        path.append(len(token_ids) - 1)
    return token_ids, parents, offsets, path


def _run(
    target: Target[Any], cache: Cache, start: int, chain: Sequence[int], width: int, step: int
) -> Generator[None, None, torch.Tensor]:
    """Logits (len(chain), vocab) with up to `step` tokens a round of `width` rows; as in decoding, no round reaches
    beyond the block of cache slots that it starts in."""
    cache.crop(start)
    rows = []
    done = 0
    while done < len(chain):
        room = slots_for(cache.length) - cache.length
        piece = chain[done : done + min(step, room)]
        rows.append(target.forward(cache, piece, width=width))
        done += len(piece)
        cache.crop(cache.length + len(piece))
        yield
    return torch.cat(rows)


def _agree(rows: list[torch.Tensor], others: list[torch.Tensor] | None) -> bool:
    """Whether two traces are bit-equal as far as both go."""
    if others is None:
        return False
    pairs = [(a, b, min(len(a), len(b))) for a, b in zip(rows, others, strict=True)]
    return all(torch.equal(a[:n], b[:n]) for a, b, n in pairs)


def _tokens(count: int, salt: int, vocab_size: int) -> list[int]:
    """Token ids that the vocabulary has, and that do not repeat soon."""
    return [(index * 7919 + salt * 104729) % min(4093, vocab_size - 1) + 1 for index in range(count)]
