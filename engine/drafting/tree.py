"""The draft: a tree of proposals, grown best-first, and what a commit learns from.

The node with the greatest chance, all nodes above it included, is taken next; then what may come behind it is proposed.
"""

from typing import NamedTuple

import numpy as np

from engine.drafting.calibration import LEARNS, OUTCOMES, Calibration, Floats, judge, learn
from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.drafter import ROOT, MinChance
from engine.drafting.history import LONGEST, Tokens, append
from engine.drafting.layout import PATH
from engine.drafting.proposals import MAX_PROPOSALS
from engine.drafting.sources import registry
from engine.drafting.sources.registry import Sources
from engine.drafting.sources.shared import note_outcome

MAX_NODES = 256
_CONTEXT = LONGEST + 8  # committed tokens at hand before the tree's own
_MAX_WAITING = MAX_NODES * MAX_PROPOSALS
_PATH_FIELDS = PATH.initial(np.int32).size


class Tree(NamedTuple):
    """A draft and what is waiting to become part of it.

    Nodes, row 0 for the root: `paths`, `outcomes`, `depths`. A draft's node i, row i: `nodes` (token, parent,
    source, place) and `chances`. Waiting proposals: `waiting` (token, parent, source, place, likeliest of its node)
    and `waiting_chances`; `heap` holds their rows, the likeliest on top.
    """

    nodes: Tokens  # (4, MAX_NODES)
    chances: Floats
    paths: Tokens  # (MAX_NODES + 1, fields)
    outcomes: Tokens
    depths: Tokens
    line: Tokens  # the end of the text, then the path to the present node
    waiting: Tokens  # (_MAX_WAITING, 5)
    waiting_chances: Floats
    heap: Tokens


def make_path() -> Tokens:
    """What sources carry along a path, before anything is known."""
    return PATH.initial(np.int32)


def make_tree() -> Tree:
    return Tree(
        np.zeros((4, MAX_NODES), np.int32),
        np.zeros(MAX_NODES, np.float32),
        np.tile(make_path(), (MAX_NODES + 1, 1)),
        np.zeros(MAX_NODES + 1, np.int32),
        np.zeros(MAX_NODES + 1, np.int32),
        np.zeros(_CONTEXT + MAX_NODES + 1, np.int32),
        np.zeros((_MAX_WAITING, 5), np.int32),
        np.zeros(_MAX_WAITING, np.float32),
        np.zeros(_MAX_WAITING, np.int32),
    )


@compiled
def _push(tree: Tree, size: int, row: int) -> None:
    """Let a row wait behind `size` others."""
    heap, chances = tree.heap, tree.waiting_chances
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if chances[heap[above]] >= chances[row]:
            break
        heap[at] = heap[above]
        at = above
    heap[at] = row


@compiled
def _pop(tree: Tree, size: int) -> int:
    """Take the likeliest of `size` waiting rows."""
    heap, chances = tree.heap, tree.waiting_chances
    top, row = heap[0], heap[size - 1]
    size -= 1
    at = 0
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and chances[heap[below + 1]] > chances[heap[below]]:
            below += 1
        if chances[heap[below]] <= chances[row]:
            break
        heap[at] = heap[below]
        at = below
    heap[at] = row
    return int(top)


@compiled
def _write_path(tree: Tree, node: int, kept: int) -> int:
    """Write the tokens down to a node behind the text's end; returns where the line ends."""
    end = int(kept + tree.depths[node + 1])
    at = end
    while node != ROOT:
        at -= 1
        tree.line[at] = tree.nodes[0, node]
        node = tree.nodes[1, node]
    return end


@compiled
def _take(tree: Tree, node: int, row: int) -> None:
    """Make a waiting row the draft's node of this number."""
    parent = tree.waiting[row, 1]
    for field in range(4):
        tree.nodes[field, node] = tree.waiting[row, field]
    tree.chances[node] = tree.waiting_chances[row]
    tree.depths[node + 1] = tree.depths[parent + 1] + 1
    tree.outcomes[node + 1] = note_outcome(tree.outcomes[parent + 1], tree.waiting[row, 4] == 1)
    for field in range(_PATH_FIELDS):
        tree.paths[node + 1, field] = tree.paths[parent + 1, field]


@compiled
def grow(
    tree: Tree,
    sources: Sources,
    calibration: Calibration,
    path: Tokens,
    max_size: int,
    chain: bool,
    least: float,
    min_chance: MinChance,
) -> int:
    """Grow a draft of at most `max_size` nodes; returns their number.

    It ends with the last node that is not less likely than `least`, and than `min_chance` says for as many nodes as
    stand before it (its last number holds for all more).
    """
    least = max(least, min_chance.min())
    history = sources.history
    size = history.size[0]
    kept = min(size, _CONTEXT)
    tree.line[:kept] = history.tokens[size - kept : size]
    tree.paths[0, :] = path
    tree.outcomes[0] = calibration.state[OUTCOMES]
    node, chance, grown, rows, waiting = ROOT, np.float32(1.0), 0, 0, 0
    while True:
        end = _write_path(tree, node, kept)
        here = tree.paths[node + 1]
        if node != ROOT:
            registry.advance(here, sources.uses, history, sources.unrolled, tree.line, end)
        registry.gather(sources, tree.line, end, size + tree.depths[node + 1], here)
        best = judge(calibration, sources.proposals, here, tree.outcomes[node + 1], size)
        if chain:
            waiting = 0
        for row in range(sources.proposals.size[0]):
            its_chance = chance * calibration.chances[row]
            if its_chance < least or (chain and row != best):
                continue
            tree.waiting[rows, 0] = sources.proposals.token_ids[row]
            tree.waiting[rows, 1] = node
            tree.waiting[rows, 2] = registry.name_source(sources.proposals.fields[row])
            tree.waiting[rows, 3] = registry.place_of(sources.proposals.fields[row])
            tree.waiting[rows, 4] = 1 if row == best else 0
            tree.waiting_chances[rows] = its_chance
            _push(tree, waiting, rows)
            waiting += 1
            rows += 1
        if waiting == 0:
            return grown
        row = _pop(tree, waiting)
        if tree.waiting_chances[row] < min_chance[min(grown, len(min_chance) - 1)]:
            return grown
        waiting -= 1
        _take(tree, grown, row)
        node, chance = grown, tree.chances[grown]
        grown += 1
        if grown == max_size:
            return grown


@compiled
def follow(sources: Sources, calibration: Calibration, path: Tokens, token_ids: Tokens) -> None:
    """Commit tokens one by one: propose, learn from what came, append. There must be room."""
    history, state = sources.history, calibration.state
    for token_id in token_ids:
        size = history.size[0]
        registry.gather(sources, history.tokens, size, size, path)
        best = judge(calibration, sources.proposals, path, state[OUTCOMES], size)
        right = sources.proposals.size[0] > 0 and sources.proposals.token_ids[best] == token_id
        if state[LEARNS]:
            learn(calibration, sources.proposals, token_id)
        state[OUTCOMES] = note_outcome(state[OUTCOMES], right)
        registry.learn(sources, token_id, path)
        append(history, token_id)
        registry.advance(path, sources.uses, history, sources.unrolled, history.tokens, size + 1)
