"""Figures of servers as they come: metrics of any shape, and numbers that cannot be."""

import math
from typing import Any

import pytest

from engine.metrics import Speculation
from engine.remote.figures import Counters, between, counters_of, speculation_of
from engine.remote.values import MOST, count, number

DRAFTS = "vllm:spec_decode_num_drafts_total"


def short(value: Any) -> str:
    return repr(value)[:9]


def test_metrics_are_read_line_by_line() -> None:
    """What spans lines is no count; looking for its end would take a time that grows with the square of the text."""
    assert counters_of(f"{DRAFTS}{{\n}} 7\n{DRAFTS}\n 9\n") is None
    assert counters_of(f'{DRAFTS}{{a="}}"}} 3 1700000000\r\n{DRAFTS}{{}}4\n{DRAFTS} 2.0') == Counters(5, 0, 0)


@pytest.mark.parametrize("value", ["1e999", "-1e999", "1e300", "-3", "1e", "--"])
def test_counts_that_cannot_be_are_passed_over(value: str) -> None:
    assert counters_of(f"{DRAFTS} {value}\n") is None
    after = counters_of(f"{DRAFTS} {value}\n{DRAFTS} 5\n")
    assert between(Counters(3, 0, 0), after) == Speculation(drafted=0, accepted=0, num_drafts=2, mean_length=1.0)


def test_counts_that_add_up_to_too_many_are_not_known() -> None:
    many = counters_of(f"{DRAFTS} {MOST}\n" * 3)
    assert between(Counters(0, 0, 0), many) is None


@pytest.mark.parametrize("value", [10**400, -(10**400), MOST + 1, -1, 0.5, True, "3", None, [3]], ids=short)
def test_what_is_no_count(value: Any) -> None:
    assert count(value) is None
    assert count(MOST) == MOST


@pytest.mark.parametrize("value", [10**400, -math.inf, math.nan, True, "3", None], ids=short)
def test_what_is_no_number(value: Any) -> None:
    assert number(value) is None
    assert number(3) == 3.0


def test_sglang_counts_passes_and_tokens() -> None:
    """It counts neither drafted nor accepted tokens; before its first answer it lists none of its counts."""
    fresh = counters_of("# HELP sglang:x\nsglang:num_running_reqs 0.0\n")
    one = 'sglang:spec_verify_calls_total{model_name="m"} 10.0\nsglang:generation_tokens_total{a="b"} 24.0\n'
    more = one.replace("10.0", "14.0").replace("24.0", "30.0")
    assert between(fresh, counters_of(one)) == Speculation(num_drafts=10, mean_length=2.4)
    assert between(counters_of(one), counters_of(more)) == Speculation(num_drafts=4, mean_length=1.5)
    assert between(counters_of(one), counters_of(one)) == Speculation(num_drafts=0)
    assert between(counters_of(more), fresh) is None, "it was started anew"
    assert counters_of("# TYPE sglang:spec_verify_calls_total counter\n") is None


def test_rounds_without_drafts_are_told_from_no_word_of_drafts() -> None:
    none = {"timings": {"predicted_n": 3}, "metrics": {"speculative_decoding": None}}
    assert speculation_of(none | {"slipstream": {"rounds": 3}}) == Speculation(drafted=0, accepted=0)
    assert speculation_of(none | {"slipstream": {"rounds": 0}}) is None, "another server answered in its place"


def test_figures_that_cannot_be_are_not_known() -> None:
    said = {"mean_acceptance_length": 10**400, "num_draft_tokens": 2**60, "num_spec_steps": 4}
    assert speculation_of({"metrics": {"speculative_decoding": said}}) == Speculation(num_drafts=4)
