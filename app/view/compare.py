"""A comparison in words and figures: the two lanes, where it stands, how it ended."""

from dataclasses import replace
from typing import Any

from app.chat.answer import CompareState, TurnState
from app.texts import decimal, rounded, tr
from app.view.figures import duration, factor, gains, number, slower, tokens
from app.view.live import Live, turn_live, waiting_sentence
from app.view.markdown import markdown_html
from engine.events import Verdict
from engine.metrics import ratio


def _lane(state: TurnState, max_tokens: int) -> dict[str, Any]:
    per_round = ratio(state.num_committed, state.num_rounds)
    finished = state.finished is not None
    return {
        "text": state.text,
        "parts": None,
        "html": markdown_html(state.text) if finished else None,
        "speed": number(state.tokens_per_s) if state.tokens_per_s is not None else None,
        "clock": duration(state.decode_s),
        "count": tokens(state.num_tokens),
        "detail": tr("figure.per_round", value=decimal(per_round, 1)) if per_round is not None else "",
        "progress": 1.0 if finished else min(1.0, state.num_tokens / max_tokens),
        "done": finished,
    }


def compare_lanes(state: CompareState, prompt: str, max_tokens: int) -> dict[str, Any]:
    """Two lanes under one clock, and the card when both have ended."""
    plain, adaptive = _lane(state.plain, max_tokens), _lane(state.adaptive, max_tokens)
    card = verdict_card(state.verdict) if state.verdict is not None else None
    if state.verdict is not None and state.verdict.divergence is not None:
        at = _common_prefix(state.plain.text, state.adaptive.text)
        for lane in (plain, adaptive):
            lane["html"] = None
            lane["parts"] = [lane["text"][:at], lane["text"][at:]]
    return {
        "open": True,
        "prompt": prompt,
        "status": compare_sentence(state),
        "plain": plain,
        "adaptive": adaptive,
        "card": card,
    }


def _common_prefix(one: str, other: str) -> int:
    length = min(len(one), len(other))
    return next((at for at in range(length) if one[at] != other[at]), length)


def compare_sentence(state: CompareState) -> str:
    """Where a comparison stands."""
    if state.error is not None:
        return state.error
    if state.verdict is not None:
        return tr("compare.ended")
    if state.waiting is not None:
        sentence = waiting_sentence(state.waiting)
        return f"{sentence[:1].upper()}{sentence[1:]}."
    prefill = state.plain.prefill
    if not state.plain.num_tokens and not state.adaptive.num_tokens:
        if prefill:
            return tr("compare.reading_at", done=prefill.done, total=tokens(prefill.total))
        return tr("compare.reading")
    return tr("compare.running")


def verdict_card(verdict: Verdict) -> dict[str, str]:
    """How a comparison ended: speeds, ratio, and whether the tokens are the same."""
    speeds = tr(
        "compare.speeds",
        adaptive=_rate(verdict.adaptive.tokens_per_s),
        plain=_rate(verdict.plain.tokens_per_s),
    )
    count = verdict.num_compared
    if verdict.divergence is None:
        text = tr("compare.identical", count=count)
        detail = "" if verdict.complete else tr("compare.stopped")
    else:
        position, margin = verdict.divergence.position, verdict.divergence.margin
        text = tr("compare.diverge", at=position + 1, same=position)
        if verdict.divergence.plain_id is None or verdict.divergence.adaptive_id is None:
            detail = tr("compare.one_ended")
        elif margin is not None:
            detail = tr("compare.margin", margin=rounded(margin, 4))
        else:
            detail = ""
    speedup = (
        tr("live.times", factor=factor(verdict.speedup)) if verdict.speedup is not None and not _loops(verdict) else "–"
    )
    if _loops(verdict):
        detail = f"{tr('compare.loops')} {detail}".rstrip()
    kind = "same" if verdict.identical else "diverged"
    gained = gains(verdict.speedup) and not _loops(verdict)
    return {
        "kind": kind,
        "gains": "yes" if gained else "no",
        "ratio": speedup,
        "speeds": speeds,
        "verdict": text,
        "detail": detail,
    }


def _loops(verdict: Verdict) -> bool:
    return verdict.plain.loop is not None or verdict.adaptive.loop is not None


def _rate(value: float | None) -> str:
    return "–" if value is None else number(value)


def compare_live(state: CompareState) -> Live:
    """The meters during a comparison follow the adaptive lane."""
    live = turn_live(replace(state.adaptive, waiting=state.waiting))
    values: dict[str, Any] = {"running": not state.done, "message_id": None}
    if state.error is not None:
        values |= {"phase": "problem", "sentence": state.error}
    elif state.verdict is None and live.phase == "looping":
        values |= {"sentence": tr("compare.live_loops")}
    elif state.verdict is None:
        values |= {
            "sentence": tr("compare.live", sentence=live.sentence) if state.adaptive.num_tokens else live.sentence
        }
    else:
        speedup = state.verdict.speedup
        values |= {"phase": "ready", "sentence": verdict_card(state.verdict)["verdict"]}
        if speedup is not None and not _loops(state.verdict):
            values |= {"speedup": factor(speedup), "speedup_note": tr("figure.measured"), "gains": gains(speedup)}
            values["slower"] = bool(slower(speedup))
    return replace(live, **values)
