"""What Chimera proposes in the tree: behind the paths that it has unrolled, and nowhere else."""

from collections.abc import Sequence

import numpy as np
import pytest

from engine.drafting.adaptive import AdaptiveDrafter, DrafterOptions
from engine.drafting.drafter import ROOT, Draft
from engine.drafting.history import NOWHERE
from engine.drafting.sources.chimera import make_unrolled
from engine.drafting.sources.registry import SOURCE_NAMES


class GivenChimera:
    """Chimera whose tree is given: `paths` leads from tokens to the likeliest ones behind them, each half as likely as
    the one before."""

    num_states = 4

    def __init__(self, paths: dict[tuple[int, ...], list[int]]) -> None:
        self.unrolled = make_unrolled()
        self.given: list[tuple[int, list[int]]] = []  # how many states, behind which text
        self._paths = paths

    def begin(self, token_ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
        pass

    def look(self, states: Sequence[Sequence[object]], token_ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
        self.given.append((sum(map(len, states)), token_ids.tolist()))
        numbers = {path: number for number, path in enumerate(self._paths)}
        self.unrolled.chances[:] = 0.0
        self.unrolled.rows[:] = NOWHERE
        for path, tokens in self._paths.items():
            row = numbers[path]
            self.unrolled.depths[row] = len(path)
            for rank, token_id in enumerate(tokens):
                self.unrolled.token_ids[row, rank] = token_id
                self.unrolled.chances[row, rank] = 0.5 ** (rank + 1)
                self.unrolled.rows[row, rank] = numbers.get((*path, token_id), NOWHERE)


PATHS = {(): [11, 12], (11,): [21, 22], (12,): [31], (11, 21): [41]}


def drafting(chimera: GivenChimera, without: Sequence[str] = ()) -> AdaptiveDrafter:
    others = {*SOURCE_NAMES} - {"chimera", "ngram"}
    drafter = AdaptiveDrafter(chimera=chimera, options=DrafterOptions(without=(*others, *without)))
    drafter.draft_every_round()
    drafter.begin([1, 2, 3])
    drafter.see(["state"])
    return drafter


def nodes(draft: Draft) -> set[tuple[int, ...]]:
    """The draft as paths."""
    paths: list[tuple[int, ...]] = []
    for token_id, parent in zip(draft.token_ids, draft.parents, strict=True):
        paths.append((*(paths[parent] if parent != ROOT else ()), token_id))
    return set(paths)


def test_tokens_stand_behind_the_path_that_they_were_unrolled_behind() -> None:
    draft = drafting(GivenChimera(PATHS)).draft(12)
    assert nodes(draft) == {(11,), (12,), (11, 21), (11, 22), (12, 31), (11, 21, 41)}
    assert set(draft.sources) == {"chimera"}


def test_a_path_that_has_left_the_tree_is_not_led_back_into_it() -> None:
    """The conversation proposes 5 behind 3, which is no path; behind it 11 means nothing."""
    drafter = drafting(GivenChimera(PATHS))
    drafter.begin([1, 2, 3, 5, 11, 1, 2, 3])
    drafter.see(["state"])
    found = nodes(drafter.draft(12))
    assert (5, 11) in found
    assert not any(path[:2] == (5, 11) and len(path) > 2 and path[2] in (21, 22) for path in found)


def test_a_tree_is_that_of_one_round_and_one_answer() -> None:
    drafter = drafting(GivenChimera(PATHS))
    assert "chimera" in drafter.draft(4).sources
    assert "chimera" not in drafter.draft(4).sources
    drafter.commit(drafter.draft(1), [11])
    assert len(drafter.draft(4)) == 0, "what stands behind 11 was of the last round"
    drafter.see(["state"])
    drafter.begin([1, 2])
    assert len(drafter.draft(4)) == 0


def test_it_reads_in_one_go_what_was_said_while_it_rested() -> None:
    chimera = GivenChimera(PATHS)
    drafter = drafting(chimera)
    look = drafter.chimera_look
    drafter.draft(1)
    drafter.commit(drafter.draft(1), [11])
    resting = type("Resting", (), {"drafts": False})()
    look.allowance = resting
    for token_id in (21, 41, 9):
        drafter.see([f"behind {token_id}"])
        assert "chimera" not in drafter.draft(4).sources
        drafter.commit(drafter.draft(1), [token_id])
    look.allowance = None
    drafter.see(["behind 9"])
    drafter.draft(1)
    assert chimera.given == [(1, [1, 2, 3]), (4, [1, 2, 3, 11, 21, 41, 9])]
    for _ in range(9):
        drafter.see(["a", "b"])
    drafter.draft(1)
    assert chimera.given[-1][0] == 4, "no more than it reads are kept"


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_chances_that_are_no_numbers_propose_nothing_or_are_no_harm(number: float) -> None:
    chimera = GivenChimera(PATHS)
    look = chimera.look

    def broken(states: Sequence[Sequence[object]], ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
        look(states, ids)
        chimera.unrolled.chances[:] = number

    chimera.look = broken  # type: ignore[method-assign]
    draft = drafting(chimera).draft(12)
    assert all(0.0 <= chance <= 1.0 for chance in draft.chances)


def test_an_ablation_leaves_it_out() -> None:
    chimera = GivenChimera(PATHS)
    drafter = drafting(chimera, without=("chimera",))
    assert drafter.num_states == 0
    assert len(drafter.draft(4)) == 0
    assert chimera.given == []


@pytest.mark.parametrize("right", [True, False])
def test_it_learns_how_far_it_can_be_trusted(right: bool) -> None:
    drafter = drafting(GivenChimera(PATHS))
    chances = []
    for _ in range(30):
        drafter.begin([1, 2, 3])
        drafter.see(["state"])
        draft = drafter.draft(1)
        chances += [draft.chances[0] if draft.chances else 0.0]
        drafter.commit(draft, [11] if right else [35])
    assert (chances[-1] > chances[0]) == right
