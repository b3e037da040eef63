"""What holds of every source, and of the layout that gives it its numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.drafting.adaptive import AdaptiveDrafter, DrafterOptions
from engine.drafting.drafter import EMPTY_DRAFT
from engine.drafting.layout import CELLS, FIELDS, NAMES, NODE, PATH, Layout
from engine.drafting.proposals import Situation, make_proposals
from engine.drafting.sources import chimera, heads, memory, ngram, pointer, recycled, registry, shared, skip

FIELD_COUNT, NODE_COUNT, PATH_COUNT = (layout.initial(np.int32).size for layout in (FIELDS, NODE, PATH))
MANY = 64


@given(value=st.integers(0, 64), path=st.lists(st.integers(-1, 30), min_size=PATH_COUNT, max_size=PATH_COUNT))
def test_no_source_writes_more_cells_than_it_says(value: int, path: list[int]) -> None:
    """The cells' array has room for what all of them say, and compiled code checks no bounds."""
    fields, node = np.full(FIELD_COUNT, min(value, 8), np.int32), np.full(NODE_COUNT, value, np.int32)
    fields[0] = value  # the length of a match
    cells, carried = np.zeros(MANY, np.int32), np.array(path, np.int32)
    situation = Situation(size=100, start=50, outcomes=31, band=3)
    used = {
        ngram: ngram.describe.py_func(fields, node, situation, cells, 0),
        pointer: pointer.describe.py_func(fields, carried, cells, 0),
        skip: skip.describe.py_func(fields, cells, 0),
        memory: memory.describe.py_func(fields, node, cells, 0),
        recycled: recycled.describe.py_func(fields, cells, 0),
        heads: heads.describe.py_func(fields, cells, 0),
        chimera: chimera.describe.py_func(fields, cells, 0),
    }
    assert all(count <= source.MAX_CELLS for source, count in used.items())
    assert value == 0 or used[ngram] >= 3
    proposals = make_proposals()
    assert shared.describe.py_func(proposals, 0, 31, cells) == shared.MAX_CELLS
    assert shared.MAX_CELLS + sum(source.MAX_CELLS for source in used) == registry.MAX_CELLS


def test_rows_cannot_be_taken_once_arrays_exist() -> None:
    """They would lie beyond the arrays' ends."""
    layout = Layout()
    layout.take()
    layout.initial(np.int32)
    with pytest.raises(RuntimeError, match="exist already"):
        layout.take()
    for each in (FIELDS, NODE, PATH, CELLS):
        with pytest.raises(RuntimeError, match="exist already"):
            each.take()


def test_only_the_blocks_of_an_answer_start_from_scratch() -> None:
    weights = CELLS.initial(np.float32)
    of_answer = np.zeros(weights.size, bool)
    for block in CELLS.answer_blocks:
        of_answer[block] = True
    assert 0 < of_answer.sum() < 20
    assert not weights[of_answer].any()


def test_every_name_is_another_one() -> None:
    assert len(set(NAMES.names)) == len(NAMES.names)
    assert {"ngram-1", "ngram-64", "pointer", "swap", "memory", "recycled", "skip", "heads", "chimera"} < set(
        NAMES.names
    )


def test_an_ablation_of_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match="pointr"):
        DrafterOptions(without=("pointr",))
    assert DrafterOptions(without=registry.SOURCE_NAMES)


def test_without_any_source_nothing_is_drafted() -> None:
    drafter = AdaptiveDrafter(options=DrafterOptions(without=registry.SOURCE_NAMES))
    drafter.begin([1, 2, 3, 1, 2, 3, 1, 2])
    drafter.commit(drafter.draft(8), [3])
    assert drafter.draft(8) is EMPTY_DRAFT
