"""Draft trees as rows: slots, order and the walk, against what they promise and against brute force."""

from collections.abc import Callable
from itertools import accumulate, pairwise
from operator import mul

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.decoding.choose import Prices, Rows, choose_rows, choose_size, walk
from engine.drafting.drafter import ROOT, Draft
from engine.forward.slots import slots_for

WIDTHS = (1, 2, 4, 8, 16, 32, 64)


@st.composite
def drafts(draw: Callable[..., object], max_nodes: int = 63) -> Draft:
    """Trees with distinct children, chances never rising; or none."""
    count = draw(st.integers(0, max_nodes))
    parents = [draw(st.integers(max(ROOT, node - 8), node - 1)) for node in range(count)]
    taken: dict[int, int] = {}
    token_ids = []
    for parent in parents:
        taken[parent] = taken.get(parent, -1) + 1
        token_ids.append(taken[parent])
    chances = [draw(st.floats(0.01, 1)), *(draw(st.sampled_from((1, 0.9, 0.5))) for _ in range(1, count))]
    chances = list(accumulate(chances[:count], mul)) if draw(st.booleans()) else []
    return Draft(tuple(token_ids), tuple(parents), tuple(chances), ("test",) * count)


def depth_of(parents: tuple[int, ...], row: int) -> int:
    return 0 if row == 0 else depth_of(parents, parents[row]) + 1


def plain_offsets(draft: Draft, room: int, start: int | None, trees: bool) -> dict[int, int]:
    """The nodes that can be verified, and where they stand: the first free slot that adds up alike."""
    offsets, depths = {ROOT: 0}, {ROOT: 0}
    for node, parent in enumerate(draft.parents):
        is_first = parent not in draft.parents[:node]
        if parent not in offsets or depths[parent] == room or not (trees or is_first):
            continue
        depth = depths[parent] + 1
        alike = (
            offset
            for offset in range(depth, depth + 128, 32)
            if offset > offsets[parent]
            and offset not in offsets.values()
            and ((start or 0) + offset) // 128 == ((start or 0) + depth) // 128
        )
        offset = node + 1000 if start is None else next(alike, None)
        if offset is not None:
            offsets[node], depths[node] = offset, depth
    del offsets[ROOT]
    return offsets


def plain_choice(draft: Draft, room: int, prices: Prices, start: int | None, trees: bool) -> tuple[Rows, int]:
    """`choose_rows` without arrays: everything by its definition."""
    offset_of = plain_offsets(draft, room, start, trees)
    nodes = list(offset_of)
    if draft.chances:
        above = [ROOT if draft.parents[node] == ROOT else nodes.index(draft.parents[node]) for node in nodes]
        size, width = choose_size([draft.chances[node] for node in nodes], prices, above)
    else:
        size = min(len(nodes), prices.widths[-1] - 1)
        fits = [each for each in range(len(prices.widths)) if prices.widths[each] > size]
        width = prices.widths[min(fits, key=prices.seconds.__getitem__)]
    verified = nodes[:size]

    def subtree(node: int) -> list[int]:
        return [node, *(row for child in verified if draft.parents[child] == node for row in subtree(child))]

    rows = subtree(ROOT)
    parents = (-1, *(rows.index(draft.parents[node]) for node in rows[1:]))
    offsets = range(len(rows)) if start is None else (0, *(offset_of[node] for node in rows[1:]))
    return Rows(tuple(rows[1:]), parents, tuple(offsets)), int(width)


@given(
    draft=drafts(),
    room=st.integers(0, 64),
    start=st.none() | st.integers(0, 600),
    trees=st.booleans(),
    widths=st.sets(st.integers(1, 64), min_size=1).map(sorted),
    seconds=st.lists(st.floats(0.1, 10), min_size=64, max_size=64),
    row_s=st.none() | st.floats(0, 0.3),
)
@example(  # the node that is left out would pay, the one that comes up in its place does not
    draft=Draft((5, 6, 7), (ROOT, 0, ROOT), (0.9, 0.8, 0.1), ("test",) * 3),
    room=1,
    start=None,
    trees=True,
    widths=[1, 2, 3],
    seconds=[1.0] * 64,
    row_s=0.2,
)
@settings(max_examples=200)  # the first call compiles
def test_rows_are_those_of_the_plain_rules(
    draft: Draft,
    room: int,
    start: int | None,
    trees: bool,
    widths: list[int],
    seconds: list[float],
    row_s: float | None,
) -> None:
    """Compiled or by definition, the same nodes in the same rows, slots and width."""
    prices = Prices(widths, lambda width: seconds[width - 1] if row_s is None else 1 + width * row_s)
    chosen = choose_rows(draft, room, prices, start=start, trees=trees)
    assert chosen == plain_choice(draft, room, prices, start, trees)
    rows, width = chosen
    assert {type(number) for number in (*rows.nodes, *rows.parents, *rows.offsets, width)} == {int}


@given(draft=drafts(), room=st.integers(0, 40), start=st.none() | st.integers(0, 600))
def test_rows_are_a_tree_of_the_draft(draft: Draft, room: int, start: int | None) -> None:
    if start is not None:
        room = min(room, slots_for(start) - start - 1)
    rows, width = choose_rows(draft, room, Prices(WIDTHS, lambda width: 1 + width / 100), start=start)
    assert len(rows.nodes) < width
    assert width in WIDTHS
    assert len(rows.parents) == len(rows.offsets) == len(rows.nodes) + 1
    assert len(set(rows.nodes)) == len(rows.nodes)
    assert len(set(rows.offsets)) == len(rows.offsets)
    row_of = {ROOT: 0} | {node: row for row, node in enumerate(rows.nodes, start=1)}
    for row, node in enumerate(rows.nodes, start=1):
        assert rows.parents[row] == row_of[draft.parents[node]] < row
        assert rows.offsets[rows.parents[row]] < rows.offsets[row]
        depth = depth_of(rows.parents, row)
        assert depth <= room
        if start is None:
            assert rows.offsets[row] == row
        else:  # the same lane and the same block as in a chain
            assert (rows.offsets[row] - depth) % 16 == 0
            assert (start + rows.offsets[row]) // 128 == (start + depth) // 128
            assert slots_for(start + rows.offsets[row]) == slots_for(start)


@given(draft=drafts())
def test_the_likeliest_path_stands_where_a_chain_would(draft: Draft) -> None:
    """So the usual accept is a crop, in rows and in slots; whatever tree grows beside it, nothing of it is left out."""
    for start in (None, 120, 240):
        rows, _ = choose_rows(draft, 15, Prices((64,), lambda width: 1.0), start=start)
        node, depth = ROOT, 0
        while depth < 15 and (below := [n for n, parent in enumerate(draft.parents) if parent == node]):
            node, depth = below[0], depth + 1
            assert rows.nodes[depth - 1] == node
            assert rows.offsets[depth] == depth


@given(draft=drafts(), seed=st.integers(0, 10))
def test_the_walk_follows_what_was_picked(draft: Draft, seed: int) -> None:
    rows, _ = choose_rows(draft, 64, Prices((64,), lambda width: 1.0))
    token_ids = [99, *(draft.token_ids[node] for node in rows.nodes)]
    picks = [(seed + row * row) % 3 for row in range(len(token_ids))]
    asked: list[int] = []

    def pick(row: int, path: list[int]) -> int:
        asked.append(row)
        assert path[-1] == row
        return picks[row]

    path, bonus = walk(rows, token_ids, pick)
    assert asked == path
    for above, row in pairwise(path):
        assert rows.parents[row] == above
        assert token_ids[row] == picks[above]
    assert bonus == picks[path[-1]]
    below = [row for row, parent in enumerate(rows.parents) if parent == path[-1]]
    assert bonus not in [token_ids[row] for row in below]


def test_a_draft_that_pays_nothing_is_not_verified() -> None:
    draft = Draft((1, 2, 3), (ROOT, ROOT, 0), (0.02, 0.01, 0.005), ("test",) * 3)
    assert choose_rows(draft, 9, Prices(WIDTHS, float)) == (Rows((), (-1,), (0,)), 1)


def test_slots_run_out_at_the_end_of_a_block() -> None:
    draft = Draft((5, 6, 7), (ROOT, ROOT, 0), (), ("test",) * 3)
    prices = Prices((64,), lambda width: 1.0)
    assert choose_rows(draft, 9, prices, start=126)[0].nodes == (0, 2)
    assert choose_rows(draft, 9, prices, start=127)[0].offsets == (0, 1, 2, 33)


@given(draft=drafts(), start=st.integers(0, 600))
def test_a_tree_where_a_chain_was_asked_for_is_cut_to_one(draft: Draft, start: int) -> None:
    rows, _ = choose_rows(draft, 30, Prices((64,), lambda width: 1.0), start=start, trees=False)
    assert rows.parents == tuple(range(-1, len(rows.nodes)))
    assert rows.offsets == tuple(range(len(rows.nodes) + 1))
    assert bool(rows.nodes) == bool(draft.token_ids)
