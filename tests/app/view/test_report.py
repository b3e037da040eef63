"""The speed report: figures that add up, nothing green that nobody would notice, loops and plain answers apart."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.figures import KeptRun
from app.store.origins import AnswerOrigins, Drafted, Refused, Source, Undrafted
from app.store.records import RunRecord
from app.view.report import left_out, positions, report
from app.view.trainer import gained
from engine.config import Mode, Sampling
from engine.events import Certificate, Verdict
from engine.metrics import GenerationStats, Loop

EXACT = Certificate(setting="exact", tier="B", widths=(16,))
ROUNDS = st.lists(st.integers(0, 14).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size))), max_size=30)


def stats(
    sizes: tuple[int, ...] = (4, 4), accepted: tuple[int, ...] = (3, 1), *, decode_s: float = 0.3, plain_s: float = 0.1
) -> GenerationStats:
    committed = len(sizes) + sum(accepted)
    return GenerationStats(
        num_prompt_tokens=9,
        num_reused_tokens=0,
        num_tokens=committed + 1,
        num_committed=committed,
        draft_sizes=sizes,
        accepted_lengths=accepted,
        prefill_s=0.1,
        ttft_s=0.1,
        decode_s=decode_s,
        draft_s=0.0,
        plain_round_s=plain_s,
    )


def kept(
    figures: GenerationStats | None = None,
    *,
    run_id: int = 1,
    mode: Mode = "adaptive",
    origins: AnswerOrigins | None = None,
    verdict: Verdict | None = None,
    compared: bool = False,
    certificate: Certificate = EXACT,
) -> KeptRun:
    record = RunRecord(
        model="smollm2",
        mode=mode,
        sampling=Sampling(),
        stop_reason="eos",
        stats=figures or stats(),
        certificate=certificate,
        created=datetime(2026, 1, 31, tzinfo=UTC),
        verdict=verdict,
    )
    return KeptRun(
        run_id=run_id,
        message_id=run_id,
        conversation_id=1,
        title="Trains",
        record=record,
        words_per_token=0.75,
        origins=origins,
        compared=compared,
    )


def test_the_figures_of_one_answer() -> None:
    told = report([kept()], 1)  # six tokens in two steps: 0.3 s, where six plain ones take 0.6 s
    assert told["speed"] == {"words": "2.0 times as fast, est.", "gains": True, "speedup": 2.0}
    assert told["saved"]["words"] == "0.3 s saved"
    assert told["gained"] == {"tokens": 4, "words": 3}
    assert told["even"]["words"] == (
        "A round took 1.50 times as long as a plain one, so it pays from 1.50 tokens a round on; there were 3.00."
    )
    assert told["positions"][0] == {"at": 1, "rounds": 2, "right": 2, "percent": 100}
    assert told["positions"][1] == {"at": 2, "rounds": 2, "right": 1, "percent": 50}
    assert told["against"].startswith("Against a plain round's time, measured on this machine")


def test_a_plain_step_is_never_said_to_take_longer_than_those_with_guesses_did() -> None:
    """As a busy machine's clock may say."""
    told = report([kept(stats(plain_s=5.0))], 1)
    assert told["speed"]["words"] == "3.0 times as fast, est."  # as many as tokens a step
    assert told["even"]["tokens"] == 1.0


@pytest.mark.parametrize(
    ("decode_s", "words", "gains"),
    [
        (0.58, "about the same speed, est.", False),
        (0.62, "about the same speed, est.", False),
        (0.57, "1.05 times as fast, est.", True),
        (0.8, "0.8 times as fast: slower, est.", False),
    ],
)
def test_nothing_is_a_gain_that_nobody_would_notice(decode_s: float, words: str, gains: bool) -> None:
    told = report([kept(stats(decode_s=decode_s))], 1)
    assert (told["speed"]["words"], told["speed"]["gains"]) == (words, gains)
    assert (told["saved"]["words"] == "0.2 s lost") == (decode_s == 0.8)


def test_a_gain_is_never_said_to_save_nothing() -> None:
    short = replace(stats(decode_s=0.057), plain_round_s=0.01)
    told = report([kept(short)], 1)
    assert (told["speed"]["words"], told["saved"]["words"]) == ("1.05 times as fast, est.", "3 ms saved")
    told = report([kept(replace(short, decode_s=0.06))], 1)
    assert (told["speed"]["words"], told["saved"]["words"]) == ("about the same speed, est.", "no time saved or lost")


def test_as_many_tokens_came_from_guesses_as_were_right() -> None:
    """Also where an answer ends within a guess, without a token of the model's own behind it."""
    told = report([kept(replace(stats(), num_committed=5))], 1)
    assert told["gained"]["tokens"] == 4


def test_what_says_nothing_of_drafting_is_in_no_figure() -> None:
    others = [
        kept(replace(stats(), loop=Loop(start=5, period=2)), run_id=2),
        kept(mode="plain", run_id=3),
        kept(mode="plain", run_id=4, compared=True),
        kept(replace(stats(), plain_round_s=None), run_id=5),
        kept(certificate=replace(EXACT, provisional=True), run_id=6),
    ]
    told = report([kept(), *others], 2)
    assert told["answers"] == 1
    assert told["speed"] == report([kept()], 0)["speed"]
    assert sorted(told["left"]) == [
        "1 answer before drafting was ready",
        "1 answer that went in circles",
        "1 answer too short to measure, or without a measured plain speed",
        "1 answer with drafting off",
    ]
    assert told["older"] == 2
    assert [left_out(run) for run in others] == ["loop", "off", "compared", "unmeasured", "early"]
    assert report(others, 5)["answers"] == 0
    assert "speed" not in report(others, 5)


def compared_with(plain: GenerationStats) -> Verdict:
    return Verdict(
        identical=True,
        num_compared=6,
        divergence=None,
        plain=plain,
        adaptive=stats(),
        speedup=3.0,
        complete=True,
    )


PLAIN = stats((0,) * 6, (0,) * 6, decode_s=0.9)
NO_STEPS = replace(stats(), draft_sizes=(), accepted_lengths=())
NO_FIGURES = [
    *(kept(stats(plain_s=plain_s)) for plain_s in (5e-324, 1e308, 1e-7, 1e7)),
    *(kept(stats(decode_s=decode_s)) for decode_s in (5e-324, 1e308)),
    kept(NO_STEPS),
    kept(NO_STEPS, verdict=compared_with(PLAIN)),
    *(kept(verdict=compared_with(replace(PLAIN, decode_s=decode_s))) for decode_s in (5e-324, 1e308)),
    kept(verdict=compared_with(replace(PLAIN, num_committed=2**63 - 1))),
]


@pytest.mark.parametrize("run", NO_FIGURES)
def test_figures_that_cannot_be_count_as_unmeasured(run: KeptRun) -> None:
    """As a copied or damaged file may bring."""
    told = report([run, kept(run_id=2)], 2)
    assert told["answers"] == 1
    assert told["left"] == ["1 answer too short to measure, or without a measured plain speed"]
    json.dumps(told, allow_nan=False)


def test_a_comparison_is_measured() -> None:
    verdict = compared_with(PLAIN)
    told = report([kept(verdict=verdict)], 1)
    assert told["speed"]["words"] == "3.0 times as fast"  # not the estimate
    assert told["against"] == "1 of 1 answers were compared with a plain one, side by side."
    assert report([kept(verdict=verdict), kept(run_id=2)], 2)["speed"]["words"].endswith("est.")


def test_sources_and_pauses_come_from_what_was_kept_of_each_token() -> None:
    chat, prompt = Source("ngram-4", "answer"), Source("ngram-5", "prompt")
    blocks = (
        Drafted((1, 1, 1, 1), (chat, chat, prompt), (90, 80, 70), Refused(" x", chat, 30)),
        Undrafted(12, 40, "resting"),
        Undrafted(3, 9, "unsure"),
        Drafted((1,), (), (), Refused(" y", prompt, 10)),
    )
    origins = AnswerOrigins(start=0, first=3, blocks=blocks)
    told = report([kept(stats((4, *(0,) * 15, 2), (3, *(0,) * 16)), origins=origins)], 1)
    assert told["sources"]["listed"] == [
        {"kind": "prompt", "words": "your message", "tokens": 1, "in_a_row": 1.0, "percent": 50},
        {"kind": "chat", "words": "this chat", "tokens": 2, "in_a_row": 2.0, "percent": 67},
    ]
    assert told["pauses"]["percent"] == 88
    (pause,) = told["pauses"]["longest"]
    assert pause == {
        "steps": 12,
        "where": "“Trains”, from token 6 on",
        "why": "guessing rested, because it had cost more than it brought",
    }
    assert [reason["steps"] for reason in told["pauses"]["why"]] == [12, 3]


@given(rounds=ROUNDS)
def test_fewer_rounds_are_right_further_on(rounds: list[tuple[int, int]]) -> None:
    sizes, accepted = tuple(size for size, _ in rounds), tuple(right for _, right in rounds)
    found = positions([kept(stats(sizes, accepted))])
    assert all(0 <= each["right"] <= each["rounds"] for each in found)
    rights = [each["right"] for each in found]
    assert rights == sorted(rights, reverse=True)
    assert sum(rights) == sum(min(right, 10) for right in accepted)


def test_what_a_trained_drafter_gained_in_a_chat() -> None:
    block = Drafted(
        lengths=(1, 1, 1, 1),
        sources=(Source("heads", ""), Source("ngram-4", "chat"), Source("chimera", "")),
        percents=(),
    )
    answers = [kept(origins=AnswerOrigins(start=0, first=1, blocks=(block,))), kept(run_id=2)]
    assert gained(answers) == "In this chat 2 of the 3 guessed tokens that were right came from it (67 %)."
    assert gained([kept()]) == ""
