"""The figures of an answer that was written in several runs."""

from dataclasses import replace

from app.view.whole import whole_stats
from engine.events import Verdict
from engine.metrics import Loop
from tests.app.view.test_messages import RUN

FIRST = replace(
    RUN.stats,
    num_tokens=11,
    num_committed=10,
    draft_sizes=(4, 0),
    accepted_lengths=(4, 4),
    decode_s=1.0,
    plain_round_s=0.2,
    num_prompt_tokens=7,
)
SECOND = replace(
    RUN.stats,
    num_tokens=31,
    num_committed=30,
    draft_sizes=(9,),
    accepted_lengths=(9,),
    decode_s=2.0,
    plain_round_s=0.1,
    num_prompt_tokens=18,
)


def runs(*stats: object) -> list[object]:
    return [replace(RUN, stats=one) for one in stats]  # type: ignore[arg-type]


def test_a_continued_answer_counts_all_its_runs() -> None:
    whole = whole_stats(runs(FIRST, SECOND))  # type: ignore[arg-type]
    assert (whole.num_tokens, whole.rounds, whole.decode_s, whole.num_prompt_tokens) == (42, 3, 3.0, 7)
    assert whole.tokens_per_s == 40 / 3
    assert whole.tokens_per_round == 40 / 3
    assert whole.plain_round_s is not None
    assert abs(whole.plain_round_s - (0.2 * 10 + 0.1 * 30) / 40) < 1e-12
    assert (whole.drafted, whole.accepted) == (13, 17)


def test_one_run_is_the_answer_and_an_unknown_time_stays_unknown() -> None:
    assert whole_stats(runs(FIRST)) == FIRST  # type: ignore[arg-type]
    unknown = whole_stats(runs(FIRST, replace(SECOND, plain_round_s=None)))  # type: ignore[arg-type]
    assert unknown.estimated_speedup is None
    loop = Loop(start=3, period=2)
    assert whole_stats(runs(FIRST, replace(SECOND, loop=loop))).loop == loop  # type: ignore[arg-type]


def test_a_comparison_s_plain_run_is_not_counted() -> None:
    verdict = Verdict(
        identical=True, num_compared=11, divergence=None, plain=FIRST, adaptive=FIRST, speedup=2.0, complete=True
    )
    plain, adaptive, more = runs(FIRST, FIRST, SECOND)
    adaptive = replace(adaptive, verdict=verdict)  # type: ignore[type-var]
    assert whole_stats([plain, adaptive]) == FIRST  # type: ignore[list-item]
    assert whole_stats([plain, adaptive, more]).num_tokens == 42  # type: ignore[list-item]
