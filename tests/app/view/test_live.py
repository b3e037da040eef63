"""The speed line, the meters and the card of a comparison: never silent, never more than is known."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.chat.answer import CompareState, TurnState
from app.chat.loading import LoadState, ModelState
from app.store.records import RunRecord
from app.texts import tr
from app.view.compare import compare_lanes, compare_live, verdict_card
from app.view.live import context_figures, context_used, idle_live, turn_live
from app.view.model import load_live
from engine.config import Mode, ModelSpec, Sampling
from engine.events import Divergence, Finished, LoadProgress, PrefillProgress, ServerInfo, Verdict
from engine.metrics import GenerationStats, Loop
from tests.scripted_answer import EXACT, scripted_info

INFO = scripted_info(ModelSpec())
STATS = GenerationStats(
    num_prompt_tokens=9,
    num_reused_tokens=0,
    num_tokens=41,
    num_committed=40,
    draft_sizes=(12,) * 10,
    accepted_lengths=(3,) * 10,
    prefill_s=0.1,
    ttft_s=0.1,
    decode_s=0.4,
    draft_s=0.0,
    plain_round_s=0.02,
)


def state(mode: Mode = "adaptive", **values: object) -> TurnState:
    return TurnState(sequence=1, conversation_id=1, message_id=2, mode=mode, **values)  # type: ignore[arg-type]


def running(sizes: tuple[int, ...], accepted: tuple[int, ...], mode: Mode = "adaptive") -> TurnState:
    committed = sum(accepted) + len(accepted)
    return state(
        mode,
        text="so far",
        num_rounds=len(sizes),
        draft_sizes=sizes,
        accepted_lengths=accepted,
        num_tokens=committed + 1,
        num_committed=committed,
        decode_s=0.025 * len(sizes),
        plain_round_s=0.02,
    )


def finished(reason: str = "eos") -> Finished:
    return Finished(stop_reason=reason, text="x", token_ids=(1,), stats=STATS, certificate=EXACT)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["adaptive", "plain"])
def test_an_answer_in_circles_is_named_and_has_no_speedup(mode: Mode) -> None:
    live = turn_live(replace(running((12,) * 10, (12,) * 10, mode), loop=Loop(start=40, period=3)))
    assert live.phase == "looping"
    assert live.sentence.startswith("the answer goes in circles")
    assert (live.looping, live.message_id) == (True, 2)
    assert live.speedup is None
    assert live.speed is not None
    stopping = turn_live(replace(running((12,), (12,), mode), loop=Loop(start=40, period=3), stopping=True))
    assert (stopping.looping, stopping.message_id) == (True, None)


def test_the_figures_of_a_loop_stay_marked_when_it_has_ended() -> None:
    looping = replace(finished("cancelled"), stats=replace(STATS, loop=Loop(start=40, period=3)))
    live = turn_live(replace(running((12,) * 10, (12,) * 10), finished=looping))
    assert "goes in circles from token 41 on" in live.sentence
    assert (live.looping, live.speedup, live.message_id) == (True, None, None)
    run = RunRecord(
        model=INFO.name, mode="adaptive", sampling=Sampling(), stop_reason="cancelled", stats=looping.stats,
        certificate=EXACT, created=datetime(2026, 3, 10, tzinfo=UTC),
    )  # fmt: skip
    later = idle_live(INFO, "adaptive", "adaptive", run)
    assert (later.looping, later.speedup, later.speedup_note) == (True, None, live.speedup_note)
    assert not idle_live(INFO, "adaptive", "adaptive", replace(run, stats=STATS)).looping


def test_drafting_is_told_with_its_width_and_gain() -> None:
    live = turn_live(replace(running((12,) * 10, (2,) * 10), last_sources=("ngram-3", "ngram-4")))
    assert live.phase == "drafting"
    assert live.sentence == "guessing 12 tokens ahead, 2.4x est., after 3 matching tokens"
    assert (live.speed, live.speedup, live.speedup_note, live.per_round, live.draft) == (
        "120",
        "2.4",
        "est.",
        "3.0",
        "12",
    )
    assert live.running
    assert live.plot_label == "10 rounds, 20 of 120 tokens guessed ahead were right"


def test_a_pause_is_told_by_the_latest_rounds() -> None:
    live = turn_live(running((12,) + (0,) * 8, (4,) + (0,) * 8))
    assert (live.phase, live.sentence, live.draft) == ("paused", "paused: nothing here repeats", "0")


def test_no_gain_is_more_than_tokens_a_round() -> None:
    """Where a plain round was measured on a busy machine."""
    nothing_gained = replace(running((4,) * 10, (0,) * 10), plain_round_s=0.3)
    assert (turn_live(nothing_gained).speedup, turn_live(nothing_gained).gains) == ("1.00", False)


def test_what_was_guessed_ahead_is_said_alike_when_an_answer_is_looked_at_again() -> None:
    sizes = (8,) * 12 + (4,) * 8
    shown = turn_live(running(sizes, (1,) * 20))
    run = RunRecord(
        model=INFO.name, mode="adaptive", sampling=Sampling(), stop_reason="eos",
        stats=replace(STATS, draft_sizes=sizes, accepted_lengths=(1,) * 20, decode_s=0.5),
        certificate=EXACT, created=datetime(2026, 3, 10, tzinfo=UTC),
    )  # fmt: skip
    assert idle_live(INFO, "adaptive", "adaptive", run).draft == shown.draft == "6"


def test_plain_decoding_shows_no_gain() -> None:
    live = turn_live(running((0,) * 5, (0,) * 5, mode="plain"))
    assert live.sentence == "drafting is off: one token per round"
    assert (live.speedup, live.draft, live.per_round) == (None, "off", "1.0")


def test_reading_the_prompt_is_shown_with_both_counts() -> None:
    live = turn_live(state(prefill=PrefillProgress(done=512, total=1900, reused=0)))
    assert live.sentence == "reading the prompt: 512 of 1,900 tokens"
    assert live.progress == pytest.approx(512 / 1900)
    reused = turn_live(state(prefill=PrefillProgress(done=512, total=1900, reused=400)))
    assert reused.sentence.endswith(", 400 of them from the cache")
    assert turn_live(state()).sentence == "preparing the prompt"


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("eos", "done, 41 tokens in 0.5 s, 0.1 s of it for the first one"),
        ("length", "done: the limit of new tokens was reached (41 tokens in 0.5 s, 0.1 s of it for the first one)"),
        ("context", "done: the context is full (41 tokens in 0.5 s, 0.1 s of it for the first one)"),
        ("cancelled", "stopped: the answer so far is kept (41 tokens in 0.5 s, 0.1 s of it for the first one)"),
    ],
)
def test_every_end_is_told(reason: str, sentence: str) -> None:
    live = turn_live(replace(running((12,) * 10, (3,) * 10), finished=finished(reason)))
    assert live.sentence == sentence
    assert not live.running
    assert live.speedup == "2.0"  # from the stats: what was measured at load


def test_left_out_messages_are_told() -> None:
    end = replace(finished(), dropped_turns=3)
    assert turn_live(state(finished=end)).sentence.endswith("; the 3 oldest messages no longer fitted")


def test_an_error_is_the_sentence() -> None:
    live = turn_live(state(error="The engine's process ended."))
    assert (live.phase, live.sentence, live.running) == ("problem", "The engine's process ended.", False)


def test_an_answer_that_cannot_be_saved_warns_while_it_goes_on() -> None:
    live = turn_live(replace(running((4,), (1,)), warning="The disk is full: free some space."))
    assert (live.phase, live.sentence, live.running) == ("problem", "The disk is full: free some space.", True)


def sentence_of(model: ModelState) -> str:
    live = load_live(model)
    assert live is not None
    return live.sentence


def test_the_line_is_never_silent() -> None:
    states = [
        state(),
        state(stopping=True),
        state(num_tokens=1),
        running((4,), (1,)),
        running((0,), (0,), mode="plain"),
        replace(running((4,), (1,)), stopping=True),
    ]
    for info in (INFO, None):
        assert all(turn_live(one).sentence for one in states)
        for mode in ("adaptive", "plain"):
            assert idle_live(info, mode, "adaptive").sentence
    assert idle_live(INFO, "adaptive", "anpd").sentence == "ready, drafting is on (ANPD as published)"
    progress = LoadProgress(stage="weights", message="Reading", done=1, total=4)
    coming = LoadState(running=True, progress=progress)
    assert sentence_of(ModelState(info=None, load=coming)) == "loading weights 25 %"
    assert sentence_of(ModelState(info=None, load=LoadState(running=True)))
    again = ModelState(info=None, load=LoadState(), reloading=True, reload_progress=progress)
    assert "being loaded again (loading weights 25 %)" in sentence_of(again)
    failed = load_live(ModelState(info=None, load=LoadState(error="No such folder.")))
    assert failed is not None
    assert failed.phase == "problem"
    assert load_live(ModelState(info=INFO, load=LoadState())) is None


def test_until_drafting_is_ready_the_words_say_so() -> None:
    progress = LoadProgress(stage="certify", message="Checking", done=2, total=5, seconds_left=29.0)
    info = replace(INFO, exact=None, cost_curve=None, provisional=True)
    idle = idle_live(info, "adaptive", "adaptive", preparing=progress)
    assert idle.sentence.startswith("one-time check of this model: 40 %, about 30 s; it waits while you chat")
    assert idle.progress == 0.4
    assert "drafting is off" in idle_live(info, "plain", "adaptive", preparing=progress).sentence
    assert "answers without drafting" in idle_live(info, "adaptive", "adaptive").sentence
    live = turn_live(replace(running((0, 0), (0, 0)), plain_so_far=True))
    assert "not ready when this answer began" in live.sentence
    assert (live.speedup, live.draft) == (None, "not yet")


def test_without_a_measured_plain_round_no_gain_is_claimed() -> None:
    live = turn_live(replace(running((12,) * 3, (2,) * 3), plain_round_s=None))
    assert (live.speedup, live.sentence) == (None, "guessing 12 tokens ahead")


def test_the_picture_holds_the_newest_rounds() -> None:
    live = turn_live(running(tuple(range(300)), (0,) * 300))
    assert live.sizes == tuple(range(180, 300))
    assert len(live.lengths) == 120


def verdict(divergence: Divergence | None = None, **values: object) -> Verdict:
    defaults: dict[str, object] = {
        "identical": divergence is None,
        "num_compared": 512,
        "divergence": divergence,
        "plain": replace(STATS, decode_s=1.0),
        "adaptive": STATS,
        "speedup": 2.5,
        "complete": True,
    }
    return Verdict(**(defaults | values))  # type: ignore[arg-type]


def test_an_identical_comparison() -> None:
    card = verdict_card(verdict())
    assert card == {
        "kind": "same",
        "gains": "yes",
        "ratio": "2.5x",
        "speeds": "100 tok/s with drafting, 40 tok/s plain",
        "verdict": "512 of 512 tokens identical",
        "detail": "",
    }


def test_a_stopped_comparison_claims_only_what_both_have() -> None:
    card = verdict_card(verdict(num_compared=17, complete=False))
    assert card["verdict"] == "17 of 17 tokens identical"
    assert card["detail"].startswith("Stopped before both answers ended")


def test_where_and_how_closely_answers_part() -> None:
    diverged = Divergence(position=1031, plain_id=5, adaptive_id=6, margin=0.0078125)
    card = verdict_card(verdict(diverged))
    assert card["kind"] == "diverged"
    assert card["verdict"] == "The answers diverge at token 1,032; the 1,031 before it are identical"
    assert card["detail"] == "There the logits of the two likeliest tokens differed by 0.007812."
    ended = replace(diverged, adaptive_id=None)
    assert verdict_card(verdict(ended))["detail"] == "One of the answers ended there."


def compare(**values: object) -> CompareState:
    plain = replace(running((0,) * 3, (0,) * 3, mode="plain"), text="The same, then this")
    adaptive = replace(running((4,) * 3, (2,) * 3), text="The same, then that")
    return CompareState(
        sequence=1,
        conversation_id=1,
        message_id=2,
        plain=plain,
        adaptive=adaptive,
        **values,  # type: ignore[arg-type]
    )


def test_lanes_fill_at_their_own_pace() -> None:
    lanes = compare_lanes(compare(), "Prompt", 100)
    assert lanes["plain"]["count"] == "4 tokens"
    assert lanes["adaptive"]["count"] == "10 tokens"
    assert lanes["plain"]["progress"] == pytest.approx(0.04)
    assert lanes["card"] is None
    assert lanes["plain"]["parts"] is None


def test_diverged_lanes_are_marked_from_where_they_diverge() -> None:
    diverged = verdict(Divergence(position=3, plain_id=1, adaptive_id=2, margin=None))
    lanes = compare_lanes(compare(verdict=diverged), "Prompt", 100)
    assert lanes["plain"]["parts"] == ["The same, then th", "is"]
    assert lanes["adaptive"]["parts"] == ["The same, then th", "at"]


def test_the_meters_follow_the_adaptive_lane_and_end_measured() -> None:
    live = compare_live(compare())
    assert live.running
    assert live.sentence.startswith("comparing: guessing 4 tokens ahead")
    ended = compare_live(compare(verdict=verdict()))
    assert (ended.running, ended.speedup, ended.speedup_note) == (False, "2.5", "measured")
    assert ended.sentence == "512 of 512 tokens identical"
    failed = compare_live(compare(error="The engine stopped."))
    assert (failed.phase, failed.sentence, failed.running) == ("problem", "The engine stopped.", False)


def test_a_comparison_of_loops_shows_speeds_but_no_speedup() -> None:
    loop = replace(STATS, loop=Loop(start=40, period=3))
    verdict = Verdict(
        identical=True, num_compared=41, divergence=None, plain=loop, adaptive=loop, speedup=12.0, complete=True
    )  # fmt: skip
    card = verdict_card(verdict)
    assert card["ratio"] == "–"
    assert "go in circles" in card["detail"]
    running_lane = replace(running((12,) * 10, (12,) * 10), loop=loop.loop)
    both = CompareState(sequence=1, conversation_id=1, message_id=2, plain=state("plain"), adaptive=running_lane)
    live = compare_live(both)
    assert (live.sentence, live.speedup, live.message_id) == ("comparing: the answer goes in circles", None, None)
    ended = replace(running_lane, finished=replace(finished(), stats=loop))
    live = compare_live(replace(both, adaptive=ended, verdict=verdict))
    assert (live.looping, live.speedup) == (True, None)


def test_a_figure_in_the_colour_of_success_is_a_speedup_that_a_person_would_notice() -> None:
    slow = replace(running((1,) * 10, (1,) * 10), decode_s=20 * 0.0197, plain_round_s=0.02)
    live = turn_live(slow)
    assert (live.speedup, live.gains) == ("1.02", False)
    assert turn_live(running((12,) * 10, (2,) * 10)).gains


def test_the_figures_of_another_model_are_not_shown_as_those_of_this_one() -> None:
    run = RunRecord(
        model=INFO.name, mode="adaptive", sampling=Sampling(), stop_reason="eos", stats=STATS,
        certificate=EXACT, created=datetime(2026, 3, 10, tzinfo=UTC),
    )  # fmt: skip
    assert idle_live(INFO, "adaptive", "adaptive", run).speed is not None
    switched = idle_live(INFO, "adaptive", "adaptive", replace(run, model="another"))
    assert (switched.speed, switched.speedup, switched.lengths) == (None, None, ())


def test_a_switch_in_mid_answer_is_told_from_the_next_round_on() -> None:
    off = turn_live(replace(running((12,) * 10, (2,) * 10), mode="plain", mode_since=10))
    assert (off.sentence, off.draft, off.speedup) == ("drafting is off: one token per round", "off", None)
    on = turn_live(replace(running((0,) * 10, (0,) * 10), mode_since=10))
    assert on.sentence == "drafting from this round on"


def test_the_context_is_told_with_how_full_it_is() -> None:
    half = context_figures(INFO.context_length // 2, INFO)
    said = f"context: {INFO.context_length // 2:,} of {INFO.context_length:,} tokens"
    assert half == {"context": said, "context_share": 0.5, "context_tip": tr("meters.context_tip")}
    at_server = replace(
        INFO, server=ServerInfo(kind="vLLM", address="http://127.0.0.1:8000", is_here=True, speculation="on")
    )
    assert "the server is sent all of it" in context_figures(5, at_server)["context_tip"]
    assert context_figures(10**9, INFO)["context_share"] == 1.0
    assert context_figures(5, None)["context"] is None
    assert context_used(None) == 0
