"""The speed line and the meters: how far a turn is, in words and figures."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from app.chat.answer import TurnState
from app.chat.queue import Waiting
from app.store.records import RunRecord
from app.texts import decimal, tr
from app.view import remote
from app.view.figures import (
    NOTICED,
    about,
    circles,
    drafter_words,
    duration,
    factor,
    gains,
    left_out,
    number,
    slower,
    tokens,
)
from engine.config import DrafterName, Mode
from engine.events import Finished, LoadProgress, ModelInfo, ServerProgress
from engine.metrics import GenerationStats, estimated_speedup, ratio

RECENT, RECENT_S = 8, 2.0  # rounds, and seconds, that the sentence speaks of at least
NOTED_READING = 0.1  # of the time of the other tokens: a first one that took less is not told apart
PLOTTED = 120  # rounds that the picture can hold


Phase = Literal["ready", "loading", "prefill", "drafting", "plain", "paused", "looping", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the speed line and the meters show. Figures are text, None where there is none; never silent."""

    phase: Phase
    sentence: str
    running: bool = False
    speed: str | None = None
    speedup: str | None = None
    speedup_note: str = ""  # "est." or "measured"
    gains: bool = False  # the speedup is one that a person would notice: in the colour of success
    slower: bool = False  # it is none, noticeably
    per_round: str | None = None
    draft: str | None = None
    lengths: tuple[int, ...] = ()  # accepted, per round: the newest rounds
    sizes: tuple[int, ...] = ()  # drafted, per round
    plot_label: str = ""
    progress: float | None = None  # of loading or reading, 0..1
    context: str | None = None  # how full it is
    context_share: float | None = None  # 0..1
    context_tip: str = ""  # what happens where it is full
    looping: bool = False  # the figures are those of a loop: no speedup, no colour of success
    message_id: int | None = None  # a looping answer that is being written
    per_round_note: str = ""  # what the figure above it is, where it is a server's; as for the next
    draft_note: str = ""
    ttft: str | None = None  # in the speedup's place
    served: str = ""  # the server's own figures, a line each

    def to_json(self) -> dict[str, Any]:
        """As the page takes it; the rounds as text, because Gradio would send every element of a list that shifts."""
        rounds = {
            name: ",".join(map(str, values)) for name, values in (("lengths", self.lengths), ("sizes", self.sizes))
        }
        return asdict(self) | rounds


def _speedup(state: TurnState) -> float | None:
    if state.finished is not None:
        return state.finished.stats.estimated_speedup
    if state.tokens_per_s is None or state.plain_round_s is None or not state.num_rounds:
        return None
    return estimated_speedup(state.tokens_per_s, state.plain_round_s, state.num_committed / state.num_rounds)


def _mean(values: tuple[int, ...]) -> float:
    return sum(values) / len(values) if values else 0.0


def turn_live(state: TurnState) -> Live:
    """A turn while it runs and when it has ended."""
    if state.server is not None:
        return _server_live(state, state.server)
    loop = state.finished.stats.loop if state.finished is not None else state.loop
    speedup = _speedup(state) if loop is None else None
    per_round = ratio(state.num_committed, state.num_rounds)
    adaptive = state.mode == "adaptive" and not state.plain_so_far
    recent = _recent(state.draft_sizes[state.mode_since :], state.decode_s, state.num_rounds)
    phase, sentence = _words(state, speedup, recent)
    if state.warning is not None and not state.done:
        phase, sentence = "problem", state.warning
    shows_speedup = adaptive and speedup is not None and state.num_rounds > 0
    return Live(
        phase=phase,
        sentence=sentence,
        running=not state.done,
        speed=number(state.tokens_per_s) if state.tokens_per_s is not None else None,
        speedup=factor(speedup) if shows_speedup and speedup is not None else None,
        speedup_note=tr("figure.est") if shows_speedup else tr("live.loop_note") if loop is not None else "",
        slower=shows_speedup and bool(slower(speedup or 1.0)),
        gains=shows_speedup and gains(speedup),
        per_round=decimal(per_round, 1) if per_round is not None else None,
        draft=f"{_mean(recent):.0f}" if recent and adaptive else (None if adaptive else undrafted(state.mode)),
        lengths=state.accepted_lengths[-PLOTTED:],
        sizes=state.draft_sizes[-PLOTTED:],
        plot_label=_plot_label(state.num_rounds, sum(state.accepted_lengths), sum(state.draft_sizes)),
        progress=_prefill_fraction(state),
        looping=loop is not None,
        message_id=state.message_id if phase == "looping" else None,
    )


def _server_live(state: TurnState, progress: ServerProgress) -> Live:
    """A turn that a server answers."""
    served = state.finished.stats.served if state.finished is not None else progress.served
    phase: Phase = "prefill" if progress.ttft_s is None else "drafting"
    sentence = tr("live.stopping") if state.stopping else remote.running_sentence(progress)
    if state.error is not None or (state.warning is not None and not state.done):
        phase, sentence = "problem", state.error or state.warning or ""
    elif state.finished is not None:
        phase, sentence = "ready", remote.ended_sentence(state.finished)
    figures = remote.server_figures(served, state.num_committed, state.decode_s, progress.ttft_s)
    return Live(phase=phase, sentence=sentence, running=not state.done, plot_label=tr("remote.no_rounds"), **figures)


def _prefill_fraction(state: TurnState) -> float | None:
    if state.prefill is None or state.num_tokens or state.done:
        return None
    return ratio(state.prefill.done, state.prefill.total)


def _words(state: TurnState, speedup: float | None, recent: tuple[int, ...]) -> tuple[Phase, str]:
    if state.error is not None:
        return "problem", state.error
    if state.finished is not None:
        return "ready", _ending(state.finished, state.mode)
    if state.stopping:
        return "ready", tr("live.stopping_round")
    if state.waiting is not None:
        return "prefill", waiting_sentence(state.waiting)
    if not state.num_tokens:
        if state.prefill is None:
            return "prefill", tr("live.preparing_prompt")
        done, total, reused = state.prefill.done, tokens(state.prefill.total), state.prefill.reused
        if reused:
            return "prefill", tr("live.reading_reused", done=done, total=total, reused=reused)
        return "prefill", tr("live.reading", done=done, total=total)
    if state.loop is not None:
        return "looping", tr("live.looping")
    if state.mode == "plain":
        return "plain", tr("live.plain")
    if state.plain_so_far:
        return "plain", tr("live.plain_so_far")
    if not recent:
        return "drafting", tr("live.first_token") if not state.num_rounds else tr("live.from_here")
    drafted = [length for length in recent if length]
    if not drafted:
        return "paused", tr("live.paused")
    width = sum(drafted) / len(drafted)
    gain = gain_words(speedup) if speedup is not None else ""
    guessing = tr("live.guessing", tokens=tokens(round(width)))
    return "drafting", ", ".join(filter(None, [guessing, gain, _match(state.last_sources)]))


def waiting_sentence(waiting: Waiting) -> str:
    """What an answer waits for.

    >>> waiting_sentence(Waiting(ahead=1, serving="api"))
    'waiting in line: another program is being answered'
    >>> waiting_sentence(Waiting(ahead=3, serving="page"))
    'waiting in line: another conversation is being answered, and 2 more come first'
    """
    serving = {
        "page": tr("live.serving_page"),
        "api": tr("live.serving_api"),
        "model": tr("live.serving_model"),
        "idle": tr("live.serving_idle"),
    }[waiting.serving]
    more = waiting.ahead - 1
    return tr("live.waiting_more", serving=serving, count=more) if more else tr("live.waiting", serving=serving)


def undrafted(mode: Mode) -> str:
    """In the place of how many tokens are guessed ahead: it is switched off, or the model is not ready for it."""
    return tr("live.draft_off") if mode == "plain" else tr("live.draft_not_yet")


def gain_words(speedup: float) -> str:
    """An estimated speedup; near 1 no figure, which would only flicker.

    >>> gain_words(2.43), gain_words(1.04), gain_words(0.9)
    ('2.4x est.', 'about the same speed', '0.90x est. (slower)')
    """
    same = 2 - NOTICED <= speedup < NOTICED
    return tr("figure.same_speed") if same else f"{tr('figure.times_est', factor=factor(speedup))}{slower(speedup)}"


def _recent(sizes: tuple[int, ...], decode_s: float, num_rounds: int) -> tuple[int, ...]:
    """The sizes of the latest drafts: those of two seconds, so that their mean can be read while it changes; of fewer
    rounds where these had none."""
    round_s = ratio(decode_s, num_rounds)
    number = max(RECENT, round(RECENT_S / round_s)) if round_s and any(sizes[-RECENT:]) else RECENT
    return sizes[-number:]


def _match(sources: tuple[str, ...]) -> str:
    """How many tokens before the draft it was found by: more make it surer.

    >>> _match(("ngram-4", "ngram-5")), _match(())
    ('after 4 matching tokens', '')
    """
    level = sources[0].removeprefix("ngram-") if sources else ""
    if not level.isdecimal():
        return ""
    return tr("live.matching", count=int(level))


def _ending(finished: Finished, mode: Mode) -> str:
    stats = finished.stats
    how = {
        "eos": tr("live.done"),
        "stop": tr("live.done_stop"),
        "length": tr("live.done_length"),
        "context": tr("live.done_context"),
        "cancelled": tr("live.done_cancelled"),
    }[finished.stop_reason]
    said = [_took(stats)]
    if mode == "plain":
        said.append(tr("live.was_off_at_end") if stats.drafted else tr("live.was_off"))
    elif finished.certificate.provisional:
        said.append(tr("live.was_not_ready"))
    if stats.loop is not None:
        said.append(circles(stats.loop))
    dropped = f"; {left_out(finished.dropped_turns)}" if finished.dropped_turns else ""
    if finished.stop_reason == "eos":
        return f"{', '.join([how, *said])}{dropped}"
    return f"{how} ({', '.join(said)}){dropped}"


def _took(stats: GenerationStats) -> str:
    """Tokens and time, and how much of it the first token took: the speed beside it does not count that."""
    count, time = tokens(stats.num_tokens), duration(stats.ttft_s + stats.decode_s)
    if stats.ttft_s < NOTED_READING * stats.decode_s:
        return tr("live.took", tokens=count, time=time)
    return tr("live.took_reading", tokens=count, time=time, reading=duration(stats.ttft_s))


def _plot_label(num_rounds: int, accepted: int, drafted: int) -> str:
    if not num_rounds:
        return tr("meters.no_rounds")
    return tr("live.plot", rounds=num_rounds, right=accepted, guessed=drafted)


def preparing_sentence(progress: LoadProgress | None) -> str:
    """How far the engine is with what it does until it can draft.

    >>> preparing_sentence(LoadProgress(stage="certify", message="x", done=2, total=5, seconds_left=29))
    'one-time check of this model: 40 %, about 30 s; it waits while you chat, and until it ends nothing is drafted'
    """
    parts = []
    if progress is not None and progress.total:
        parts.append(tr("live.percent", percent=100 * progress.done // progress.total))
    if progress is not None and progress.stage == "warm-up":
        parts.append(tr("live.compiling"))
    elif progress is not None and progress.seconds_left is not None:
        parts.append(about(progress.seconds_left))
    return tr("live.checking_at", how_far=", ".join(parts)) if parts else tr("live.checking")


def idle_live(
    info: ModelInfo | None,
    mode: Mode,
    drafter: DrafterName,
    last: RunRecord | None = None,
    preparing: LoadProgress | None = None,
) -> Live:
    """When nothing runs; the meters keep the figures of the conversation's last answer. `preparing`: how far the engine
    is until it can draft."""
    if info is None:
        live = Live(phase="problem", sentence=tr("live.no_model"))
    elif info.server is not None:
        live = Live(phase="ready", sentence=remote.idle_sentence(info, info.server, mode))
    elif mode == "plain":
        live = Live(phase="plain", sentence=tr("live.idle_plain"))
    elif preparing is not None:
        fraction = ratio(preparing.done, preparing.total) if preparing.total else None
        live = Live(phase="ready", sentence=preparing_sentence(preparing), progress=fraction)
    elif info.provisional:
        live = Live(phase="plain", sentence=tr("live.idle_provisional"))
    else:
        by = tr("live.idle") if drafter == "adaptive" else tr("live.idle_by", drafter=drafter_words()[drafter])
        live = Live(phase="ready", sentence=by)
    if last is None or info is None or last.model != info.name:  # another model's figures say nothing of this one
        return live
    return replace(live, **run_figures(last))


def context_figures(used: int, info: ModelInfo | None) -> dict[str, Any]:
    """How much of the model's context a conversation takes."""
    if info is None or not info.context_length:
        return {"context": None, "context_share": None}
    share = min(1.0, used / info.context_length)
    return {
        "context": tr("live.context", used=used, total=tokens(info.context_length)),
        "context_share": share,
        "context_tip": tr("meters.context_tip") if info.server is None else tr("meters.context_tip_server"),
    }


def context_used(last: RunRecord | None) -> int:
    """Tokens that the conversation takes, as its last answer left it."""
    return 0 if last is None else last.stats.num_prompt_tokens + last.stats.num_tokens


def run_figures(run: RunRecord) -> dict[str, Any]:
    """The meters of an answer that has ended."""
    stats = run.stats
    if stats.served is not None:
        return remote.stats_figures(stats) | {"plot_label": tr("remote.no_rounds")}
    measured = run.verdict.speedup if run.verdict is not None else None
    looping = stats.loop is not None
    adaptive = run.mode == "adaptive" and not run.certificate.provisional
    speedup = (measured or stats.estimated_speedup) if adaptive and not looping else None
    return {
        "looping": looping,
        "speed": number(stats.tokens_per_s) if stats.tokens_per_s is not None else None,
        "speedup": factor(speedup) if speedup is not None else None,
        "speedup_note": _note(looping=looping, measured=bool(measured), known=speedup is not None),
        "slower": speedup is not None and bool(slower(speedup)),
        "gains": gains(speedup),
        "per_round": decimal(stats.tokens_per_round, 1) if stats.tokens_per_round is not None else None,
        "draft": undrafted(run.mode)
        if not adaptive
        else f"{_mean(_recent(stats.draft_sizes, stats.decode_s, stats.rounds)):.0f}",
        "lengths": stats.accepted_lengths[-PLOTTED:],
        "sizes": stats.draft_sizes[-PLOTTED:],
        "plot_label": _plot_label(stats.rounds, stats.accepted, stats.drafted),
    }


def _note(*, looping: bool, measured: bool, known: bool) -> str:
    """How a speedup is known."""
    if looping:
        return tr("live.loop_note")
    return (tr("figure.measured") if measured else tr("figure.est")) if known else ""
