"""The speed report: what drafting brought, from the figures that were kept with each answer. Pure.

Seconds saved are against plain rounds: those that a comparison measured, else what plain rounds would have taken at the
machine's speed then, from the measured T(1) / T(width) of the answer's own rounds (`engine.metrics`), and not more than
these rounds took: a busy machine may measure T(1) too long. Answers that go in circles, were written with drafting off,
or before drafting was ready are counted apart.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.store.figures import KeptRun
from app.store.origins import Drafted, Undrafted
from app.texts import decimal, tr
from app.view.figures import NOTICED, duration, factor, number
from app.view.listing import short_month
from app.view.origins import Kind, kind_of, why_words

Left = Literal["", "off", "early", "loop", "unmeasured", "compared"]

SHORTEST_S, LONGEST_S = 1e-6, 1e6  # an answer or a plain step outside was not measured, whatever a file says
POSITIONS = 10  # of a draft that are shown one by one
PAUSE = 8  # rounds in a row without a draft: a pause
LISTED = 40  # answers that can be replayed
LONGEST_PAUSES = 5
KINDS: tuple[Kind, ...] = ("prompt", "chat", "other", "model", "trained")


def kind_words(kind: Kind) -> str:
    return {
        "prompt": tr("report.kind_prompt"),
        "chat": tr("report.kind_chat"),
        "other": tr("report.kind_other"),
        "model": tr("report.kind_model"),
        "trained": tr("report.kind_trained"),
    }[kind]


def left_words(reason: Left, count: int) -> str:
    """So many answers that are in no figure; empty where they are in others."""
    match reason:
        case "off":
            return tr("report.left_off", count=count)
        case "early":
            return tr("report.left_early", count=count)
        case "loop":
            return tr("report.left_loop", count=count)
        case "unmeasured":
            return tr("report.left_unmeasured", count=count)
    return ""


def left_out(run: KeptRun) -> Left:
    """Why an answer is in no figure; "" where it is."""
    record = run.record
    if run.compared:
        return "compared"
    if record.mode == "plain":
        return "off"
    if record.certificate.provisional:
        return "early"
    if record.stats.loop is not None:
        return "loop"
    return "" if _plain_s(run) is not None else "unmeasured"


def _plain_s(run: KeptRun) -> float | None:
    """What the same tokens take one a round; None where that is not known, or cannot be."""
    stats, verdict = run.record.stats, run.record.verdict
    if not stats.num_committed or not stats.rounds or not _can_be(stats.decode_s):
        return None
    if verdict is not None and verdict.plain.num_committed and verdict.plain.decode_s:
        step_s = verdict.plain.decode_s / verdict.plain.num_committed
        return step_s * stats.num_committed if _can_be(step_s) else None
    if stats.plain_round_s is None or not _can_be(stats.plain_round_s):
        return None
    return min(stats.plain_round_s, stats.decode_s / stats.rounds) * stats.num_committed


def _can_be(seconds: float) -> bool:
    return SHORTEST_S <= seconds <= LONGEST_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ratio in words, and whether a person would notice it."""

    words: str
    gains: bool


def verdict(speedup: float | None) -> Verdict:
    """What a speedup is called: nothing is a gain that nobody would notice.

    >>> verdict(2.43).words, verdict(1.049), verdict(0.9).words, verdict(None).words
    ('2.4 times as fast', Verdict(words='about the same speed', gains=False), '0.90 times as fast: slower', '–')
    """
    if speedup is None:
        return Verdict("–", False)
    if speedup >= NOTICED:
        return Verdict(tr("report.times", factor=factor(speedup)), True)
    if speedup >= 2 - NOTICED:
        return Verdict(tr("figure.same_speed"), False)
    return Verdict(tr("report.times_slower", factor=factor(speedup)), False)


def report(kept: Sequence[KeptRun], older: int) -> dict[str, Any]:
    """Everything that the page draws of a report, in words and numbers; `older` runs were not read."""
    why = {run.run_id: left_out(run) for run in kept}
    counted = [run for run in kept if not why[run.run_id]]
    left = Counter(why.values())
    told = {
        "answers": len(counted),
        "models": sorted({run.record.model for run in counted if run.record.model}),
        "left": [said for reason, count in left.items() if (said := left_words(reason, count))],
        "older": older,
        "replays": [_replay(run) for run in counted[:LISTED]],
    }
    return told | (_figures(counted) if counted else {})


def _figures(counted: Sequence[KeptRun]) -> dict[str, Any]:
    stats = [run.record.stats for run in counted]
    decode_s = sum(each.decode_s for each in stats)
    plain_s = sum(_plain_s(run) or 0.0 for run in counted)
    rounds = sum(each.rounds for each in stats)
    committed = sum(each.num_committed for each in stats)
    gained = sum(each.accepted for each in stats)
    words = round(sum(run.record.stats.accepted * run.words_per_token for run in counted))
    measured = sum(run.record.verdict is not None for run in counted)
    speedup = plain_s / decode_s
    saved = plain_s - decode_s
    even, per_round = decode_s / plain_s * committed / rounds, committed / rounds
    said = verdict(speedup)
    return {
        "speed": {
            "words": said.words if measured == len(counted) else tr("report.estimated", words=said.words),
            "gains": said.gains,
            "speedup": round(speedup, 3),
        },
        "saved": {"s": round(saved, 2), "words": _saved_words(saved, same=2 - NOTICED <= speedup < NOTICED)},
        "gained": {"tokens": gained, "words": words},
        "against": _against(measured, len(counted)),
        "per_round": round(per_round, 2),
        "even": {"tokens": round(even, 2), "words": _even_words(even, per_round)},
        "tokens_per_s": number(committed / decode_s),
        "plain_per_s": number(committed / plain_s),
        "positions": positions(counted),
        "sources": sources(counted),
        "pauses": pauses(counted),
    }


def _saved_words(saved: float, *, same: bool) -> str:
    if same and abs(saved) < 0.05:
        return tr("report.nothing_saved")
    return tr("report.saved", time=duration(saved)) if saved > 0 else tr("report.lost", time=duration(-saved))


def _against(measured: int, answers: int) -> str:
    if not measured:
        return tr("report.against")
    if measured < answers:
        return tr("report.compared_some", measured=measured, answers=answers)
    return tr("report.compared", measured=measured, answers=answers)


def _even_words(even: float, per_round: float) -> str:
    return tr("report.even", even=decimal(even, 2), per_round=decimal(per_round, 2))


def positions(counted: Iterable[KeptRun]) -> list[dict[str, Any]]:
    """Of the rounds that guessed at least so many tokens, those in which that many were right."""
    tried, right = Counter[int](), Counter[int]()
    for run in counted:
        stats = run.record.stats
        for size, accepted in zip(stats.draft_sizes, stats.accepted_lengths, strict=True):
            tried[min(size, POSITIONS)] += 1
            right[min(accepted, POSITIONS)] += 1
    found = []
    for at in range(1, POSITIONS + 1):
        guessed, were = (sum(n for size, n in count.items() if size >= at) for count in (tried, right))
        if guessed:
            found.append({"at": at, "rounds": guessed, "right": were, "percent": round(100 * were / guessed)})
    return found


def sources(counted: Sequence[KeptRun]) -> dict[str, Any]:
    """By source: tokens that were right, how many in a row, and how often its guess was right."""
    accepted, runs, refused = Counter[Kind](), Counter[Kind](), Counter[Kind]()
    with_origins = [run.origins for run in counted if run.origins is not None]
    for origins in with_origins:
        for block in origins.blocks:
            if not isinstance(block, Drafted):
                continue
            before: Kind | None = None
            for source in block.sources:
                kind = kind_of(source)
                accepted[kind] += 1
                runs[kind] += kind != before
                before = kind
            if block.refused is not None:
                refused[kind_of(block.refused.source)] += 1
    listed = [
        {
            "kind": kind,
            "words": kind_words(kind),
            "tokens": accepted[kind],
            "in_a_row": round(accepted[kind] / runs[kind], 1) if runs[kind] else 0,
            "percent": round(100 * accepted[kind] / (accepted[kind] + refused[kind])),
        }
        for kind in KINDS
        if accepted[kind] + refused[kind]
    ]
    return {"listed": listed, "answers": len(with_origins)}


def pauses(counted: Sequence[KeptRun]) -> dict[str, Any]:
    """Where nothing was drafted for a while, and why, as far as that was kept."""
    rounds = paused = 0
    longest: list[dict[str, Any]] = []
    by_why = Counter[str]()
    for run in counted:
        rounds += run.record.stats.rounds
        paused += sum(size == 0 for size in run.record.stats.draft_sizes)
        token = 1
        for block in run.origins.blocks if run.origins is not None else ():
            if isinstance(block, Undrafted):
                by_why[why_words(block.why)] += block.rounds
                if block.rounds >= PAUSE:
                    longest.append(_pause(run, token, block))
            token += len(block.lengths) if isinstance(block, Drafted) else block.rounds
    longest.sort(key=lambda pause: -pause["steps"])
    return {
        "percent": round(100 * paused / rounds) if rounds else 0,
        "why": [{"words": words, "steps": steps} for words, steps in by_why.most_common()],
        "longest": longest[:LONGEST_PAUSES],
    }


def _pause(run: KeptRun, token: int, block: Undrafted) -> dict[str, Any]:
    where = tr("report.pause_where", title=run.title or tr("origins.untitled"), at=token + 1)
    return {"steps": block.rounds, "where": where, "why": why_words(block.why)}


def _replay(run: KeptRun) -> dict[str, Any]:
    """An answer's rounds, for the animation."""
    stats, plain_s, created = run.record.stats, _plain_s(run) or 0.0, run.created
    date = tr("dates.short", day=f"{created:%d}", month=short_month(created), time=f"{created:%H:%M}")
    title = run.title or tr("origins.untitled")
    return {
        "name": tr("report.replay_name", title=title, tokens=stats.num_tokens, date=date),
        "sizes": ",".join(map(str, stats.draft_sizes)),
        "lengths": ",".join(map(str, stats.accepted_lengths)),
        "tokens": stats.num_committed,
        "seconds": round(stats.decode_s, 4),
        "plain_seconds": round(plain_s, 4),
        "verdict": verdict(plain_s / stats.decode_s).words,
    }
