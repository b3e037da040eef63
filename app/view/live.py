"""The speed line and the meters: how far a turn is, in words and figures."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from app.chat.answer import TurnState
from app.chat.queue import Waiting
from app.store.records import RunRecord
from app.view import remote, words
from app.view.figures import (
    DRAFTER_WORDS,
    NOTICED,
    about,
    circles,
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
from engine.metrics import estimated_speedup, ratio

RECENT, RECENT_S = 8, 2.0  # rounds, and seconds, that the sentence speaks of at least
PLOTTED = 120  # rounds that the picture can hold
LOOPING = "the answer goes in circles; unless you asked for that, stop it, or answer again with a repetition penalty"
LOOP_NOTE = "none for a loop"


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
        speedup_note="est." if shows_speedup else LOOP_NOTE if loop is not None else "",
        gains=shows_speedup and gains(speedup),
        per_round=f"{per_round:.1f}" if per_round is not None else None,
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
    sentence = "stopping" if state.stopping else remote.running_sentence(progress)
    if state.error is not None or (state.warning is not None and not state.done):
        phase, sentence = "problem", state.error or state.warning or ""
    elif state.finished is not None:
        phase, sentence = "ready", remote.ended_sentence(state.finished)
    figures = remote.server_figures(served, state.num_committed, state.decode_s, progress.ttft_s)
    return Live(phase=phase, sentence=sentence, running=not state.done, plot_label=remote.NO_ROUNDS, **figures)


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
        return "ready", "stopping after this round"
    if state.waiting is not None:
        return "prefill", waiting_sentence(state.waiting)
    if not state.num_tokens:
        if state.prefill is None:
            return "prefill", "preparing the prompt"
        reused = f", {state.prefill.reused:,} of them from the cache" if state.prefill.reused else ""
        return "prefill", f"reading the prompt: {state.prefill.done:,} of {tokens(state.prefill.total)}{reused}"
    if state.loop is not None:
        return "looping", LOOPING
    if state.mode == "plain":
        return "plain", "drafting is off: one token per round"
    if state.plain_so_far:
        return "plain", "one token per round: drafting was not ready when this answer began"
    if not recent:
        return "drafting", "first token" if not state.num_rounds else "drafting from this round on"
    drafted = [length for length in recent if length]
    if not drafted:
        return "paused", "paused: nothing here repeats"
    width = sum(drafted) / len(drafted)
    gain = f", {gain_words(speedup)}" if speedup is not None else ""
    return "drafting", f"guessing {tokens(round(width))} ahead{gain}{_match(state.last_sources)}"


def waiting_sentence(waiting: Waiting) -> str:
    """What an answer waits for.

    >>> waiting_sentence(Waiting(ahead=1, serving="api"))
    'waiting in line: another program is being answered'
    >>> waiting_sentence(Waiting(ahead=3, serving="page"))
    'waiting in line: another conversation is being answered, and 2 more come first'
    """
    serving = {
        "page": "another conversation is being answered",
        "api": "another program is being answered",
        "model": "a model is being loaded",
        "idle": "a title makes way",
    }[waiting.serving]
    more = waiting.ahead - 1
    then = f", and {more:,} more {'comes' if more == 1 else 'come'} first" if more else ""
    return f"waiting in line: {serving}{then}"


def undrafted(mode: Mode) -> str:
    """In the place of how many tokens are guessed ahead: it is switched off, or the model is not ready for it."""
    return "off" if mode == "plain" else "not yet"


def gain_words(speedup: float) -> str:
    """An estimated speedup; near 1 no figure, which would only flicker.

    >>> gain_words(2.43), gain_words(1.04), gain_words(0.9)
    ('2.4x est.', 'about the same speed', '0.90x est. (slower)')
    """
    same = 2 - NOTICED <= speedup < NOTICED
    return "about the same speed" if same else f"{factor(speedup)}x est.{slower(speedup)}"


def _recent(sizes: tuple[int, ...], decode_s: float, num_rounds: int) -> tuple[int, ...]:
    """The sizes of the latest drafts: those of two seconds, so that their mean can be read while it changes; of fewer
    rounds where these had none."""
    round_s = ratio(decode_s, num_rounds)
    number = max(RECENT, round(RECENT_S / round_s)) if round_s and any(sizes[-RECENT:]) else RECENT
    return sizes[-number:]


def _match(sources: tuple[str, ...]) -> str:
    """How many tokens before the draft it was found by: more make it surer.

    >>> _match(("ngram-4", "ngram-5")), _match(())
    (', after 4 matching tokens', '')
    """
    level = sources[0].removeprefix("ngram-") if sources else ""
    if not level.isdecimal():
        return ""
    return f", after {level} matching token{'' if level == '1' else 's'}"


def _ending(finished: Finished, mode: Mode) -> str:
    stats = finished.stats
    how = {
        "eos": "done",
        "stop": "done: a stop string was reached",
        "length": "done: the limit of new tokens was reached",
        "context": "done: the context is full",
        "cancelled": "stopped: the answer so far is kept",
    }[finished.stop_reason]
    took = f"{tokens(stats.num_tokens)} in {duration(stats.ttft_s + stats.decode_s)}"
    dropped = f"; {left_out(finished.dropped_turns)}" if finished.dropped_turns else ""
    drafting = "" if mode == "adaptive" else ", drafting was off"
    if mode == "plain" and stats.drafted:
        drafting += " at the end"
    if mode == "adaptive" and finished.certificate.provisional:
        drafting = ", drafting was not ready yet"
    if stats.loop is not None:
        drafting += f", {circles(stats.loop)}"
    return f"{how}, {took}{drafting}{dropped}" if ":" not in how else f"{how} ({took}{drafting}){dropped}"


def _plot_label(num_rounds: int, accepted: int, drafted: int) -> str:
    if not num_rounds:
        return "No rounds yet"
    return f"{num_rounds:,} rounds, {accepted:,} of {drafted:,} tokens guessed ahead were right"


def preparing_sentence(progress: LoadProgress | None) -> str:
    """How far the engine is with what it does until it can draft.

    >>> preparing_sentence(LoadProgress(stage="certify", message="x", done=2, total=5, seconds_left=29))
    'one-time check of this model: 40 %, about 30 s; until then it answers without drafting'
    """
    parts = []
    if progress is not None and progress.total:
        parts.append(f"{100 * progress.done // progress.total} %")
    if progress is not None and progress.stage == "warm-up":
        parts.append("compiling")
    elif progress is not None and progress.seconds_left is not None:
        parts.append(about(progress.seconds_left))
    how_far = f": {', '.join(parts)}" if parts else ""
    return f"one-time check of this model{how_far}; until then it answers without drafting"


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
        live = Live(phase="problem", sentence="no model is loaded: choose one under Model")
    elif info.server is not None:
        live = Live(phase="ready", sentence=remote.idle_sentence(info, info.server, mode))
    elif mode == "plain":
        live = Live(phase="plain", sentence="drafting is off: answers come one token per round")
    elif preparing is not None:
        fraction = ratio(preparing.done, preparing.total) if preparing.total else None
        live = Live(phase="ready", sentence=preparing_sentence(preparing), progress=fraction)
    elif info.provisional:
        live = Live(phase="plain", sentence="ready; it answers without drafting")
    else:
        by = "" if drafter == "adaptive" else f" ({DRAFTER_WORDS[drafter]})"
        live = Live(phase="ready", sentence=f"ready, drafting is on{by}")
    if last is None or info is None or last.model != info.name:  # another model's figures say nothing of this one
        return live
    return replace(live, **run_figures(last))


def context_figures(used: int, info: ModelInfo | None) -> dict[str, Any]:
    """How much of the model's context a conversation takes."""
    if info is None or not info.context_length:
        return {"context": None, "context_share": None}
    share = min(1.0, used / info.context_length)
    return {
        "context": f"context: {used:,} of {tokens(info.context_length)}",
        "context_share": share,
        "context_tip": words.CONTEXT_TIP if info.server is None else words.CONTEXT_TIP_SERVER,
    }


def context_used(last: RunRecord | None) -> int:
    """Tokens that the conversation takes, as its last answer left it."""
    return 0 if last is None else last.stats.num_prompt_tokens + last.stats.num_tokens


def run_figures(run: RunRecord) -> dict[str, Any]:
    """The meters of an answer that has ended."""
    stats = run.stats
    if stats.served is not None:
        return remote.stats_figures(stats) | {"plot_label": remote.NO_ROUNDS}
    measured = run.verdict.speedup if run.verdict is not None else None
    looping = stats.loop is not None
    adaptive = run.mode == "adaptive" and not run.certificate.provisional
    speedup = (measured or stats.estimated_speedup) if adaptive and not looping else None
    return {
        "looping": looping,
        "speed": number(stats.tokens_per_s) if stats.tokens_per_s is not None else None,
        "speedup": factor(speedup) if speedup is not None else None,
        "speedup_note": LOOP_NOTE if looping else ("measured" if measured else "est.") if speedup is not None else "",
        "gains": gains(speedup),
        "per_round": f"{stats.tokens_per_round:.1f}" if stats.tokens_per_round is not None else None,
        "draft": undrafted(run.mode)
        if not adaptive
        else f"{_mean(_recent(stats.draft_sizes, stats.decode_s, stats.rounds)):.0f}",
        "lengths": stats.accepted_lengths[-PLOTTED:],
        "sizes": stats.draft_sizes[-PLOTTED:],
        "plot_label": _plot_label(stats.rounds, stats.accepted, stats.drafted),
    }
