"""Answers that go in circles are noticed, others are not; from token ids alone."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.decoding.loop_detector import ALARM, EARLIER, LoopDetector, N
from engine.metrics import Loop

IDS = st.integers(0, 50_000)
FRESH_TEXTS = st.lists(IDS, unique=True, max_size=200)


def detect(token_ids: list[int]) -> Loop | None:
    detector = LoopDetector()
    detector.extend(token_ids)
    return detector.loop


@given(beginning=FRESH_TEXTS, pattern=st.lists(IDS, unique=True, min_size=1, max_size=120))
def test_every_period_is_noticed_with_its_length(beginning: list[int], pattern: list[int]) -> None:
    text = beginning + pattern * (2 + EARLIER + (ALARM + N) // len(pattern))
    loop = detect(text)
    assert loop is not None
    assert loop.period == len(pattern)
    assert text[loop.start :] == text[loop.start - loop.period : -loop.period]


@given(text=FRESH_TEXTS, pattern=st.lists(IDS, min_size=2, max_size=300, unique=True))
def test_a_text_said_twice_is_no_loop(text: list[int], pattern: list[int]) -> None:
    assert detect([*pattern, *text, *pattern]) is None


@given(pieces=st.lists(st.lists(IDS, max_size=5), max_size=60))
def test_how_the_tokens_are_cut_into_rounds_makes_no_difference(pieces: list[list[int]]) -> None:
    text = [*chain.from_iterable(pieces), *[1, 2, 3] * 60]
    in_rounds = LoopDetector()
    for piece in [*pieces, *[[1, 2, 3]] * 60]:
        in_rounds.extend(piece)
    assert in_rounds.loop == detect(text) is not None


@given(renamed=st.permutations(range(8)), text=st.lists(st.integers(0, 7), max_size=400))
def test_the_ids_themselves_mean_nothing(renamed: list[int], text: list[int]) -> None:
    assert detect(text) == detect([renamed[token_id] for token_id in text])


def test_lines_that_count_up_but_say_the_same_are_a_loop() -> None:
    line = list(range(100, 120))
    assert detect([token_id for number in range(20) for token_id in (number, *line)]) is not None


@pytest.mark.parametrize("end", [(), (10,), (11, 32)])
@pytest.mark.parametrize("width", [0, 3])
def test_counting_is_no_loop(end: tuple[int, ...], width: int) -> None:
    """One token for each digit, and what ends a number."""
    numbers = [[*map(int, f"{number:0{width}d}"), *end] for number in range(1, 300)]
    assert detect([*chain.from_iterable(numbers)]) is None


def test_an_answer_that_leaves_its_loop_is_free_of_it() -> None:
    detector = LoopDetector()
    detector.extend([5] * 2_000)
    assert detector.loop is not None
    detector.extend(range(10, 10 + 2 * ALARM))
    assert detector.loop is None
    detector.extend([6, 7] * 200)
    assert detector.loop is not None
    assert detector.loop.start >= 2_000 + 2 * ALARM - N
