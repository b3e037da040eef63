"""A server in words and figures: where words go, what it says of its drafts, what is not to be had there and why."""

from typing import Any

from app.view.figures import duration, number, tokens
from engine.config import Mode
from engine.events import Finished, ModelInfo, ServerInfo, ServerProgress
from engine.metrics import GenerationStats, Served, Speculation, ratio

NO_COMPARE = (
    "Compare is not available with a server: it drafts as it was started, and cannot answer both ways from one prompt. "
    "Load a model on this machine to compare."
)
NO_CERTIFICATE = (
    "There is no certificate for a server: it is given by measuring the model's rounding, which needs the model on "
    "this machine. Whether drafts change a word there is up to the server."
)
NO_ROUNDS = "A server tells no single rounds"
SHORT_FLAGS = 40  # characters that fit into the speed line
PER_DRAFT = "tokens per draft, says the server"
PER_DRAFT_ALL = "tokens per draft, all its answers"
DRAFT_SIZE = "tokens a draft, says the server"
DRAFT_SIZE_ALL = "tokens a draft, all its answers"


def where(info: ModelInfo | None) -> dict[str, str]:
    """Where a person's words go, for the header: it says so at all times."""
    server = info.server if info is not None else None
    if info is None or server is None:
        return {"kind": "here", "label": "on this machine", "detail": "What you write stays on this machine."}
    if server.is_here:
        detail = f"What you write goes to {server.address} ({server.kind}), a server on this machine."
        return {"kind": "here", "label": f"to {info.device_name}", "detail": detail}
    open_line = " The line is not encrypted." if server.address.startswith("http://") else ""
    detail = f"What you write goes to {server.address} ({server.kind}), another machine.{open_line}"
    return {"kind": "away", "label": f"to {info.device_name}", "detail": detail}


def server_badge(server: ServerInfo) -> dict[str, str]:
    return {"kind": "absent", "label": "no certificate", "explanation": f"{NO_CERTIFICATE} {NO_COMPARE}"}


def server_words(info: ModelInfo | None) -> dict[str, str] | None:
    """What the controls say that do nothing with a server; None where there is none."""
    if info is None or info.server is None:
        return None
    drafts = drafts_there(info.server, "adaptive")
    return {"compare": NO_COMPARE, "drafting": f"{drafts[:1].upper()}{drafts[1:]}."}


def drafts_there(server: ServerInfo, mode: Mode) -> str:
    """Whether the server drafts, and what switches N-gram drafts on; `mode` is what the switch beside it says."""
    by = f" ({server.method})" if server.method else ""
    if server.switches:
        return "the server drafts" if mode == "adaptive" else "drafting is off: the server is asked for plain answers"
    if server.speculation == "on":
        if server.method and "ngram" not in server.method:
            return f"the server was started with drafts{by}, not with N-grams{_flags(server)}"
        told = f"the server was started with drafts{by}"
        return f"{told}, and the switch changes nothing there" if mode == "plain" else told
    if server.speculation == "off":
        return f"the server was started without drafts{_flags(server)}"
    return f"the server does not say whether it drafts{_flags(server)}"


def _flags(server: ServerInfo) -> str:
    if not server.switch_on:
        return ""
    short = len(server.switch_on) <= SHORT_FLAGS
    return f": {server.switch_on} switches N-grams on" if short else "; its flags for N-grams stand under Model"


def server_detail(info: ModelInfo, server: ServerInfo) -> str:
    """What is known of a model at a server, one fact a line."""
    drafts = drafts_there(server, "adaptive").partition(":")[0].partition(";")[0]
    facts = [
        f"{server.kind} at {server.address}",
        *([f"context {info.context_length:,} tokens"] if info.context_length else []),
        f"{drafts[:1].upper()}{drafts[1:]}.",
        *([f"N-gram drafts are switched on there by {server.switch_on}"] if server.switch_on else []),
        *info.notes,
    ]
    return "\n".join(facts)


def idle_sentence(info: ModelInfo, server: ServerInfo, mode: Mode) -> str:
    return f"ready at {info.device_name}; {drafts_there(server, mode)}"


def running_sentence(progress: ServerProgress) -> str:
    """How far an answer is.

    >>> running_sentence(ServerProgress())
    'waiting for the first word of the server'
    >>> running_sentence(ServerProgress(num_tokens=7, ttft_s=0.25))
    'the server answers: 7 tokens, the first after 0.2 s'
    """
    if progress.note:
        return progress.note
    if progress.ttft_s is None:
        return "waiting for the first word of the server"
    so_far = _accepted(progress.served.answer) if progress.served is not None else ""
    drafts = f"; {so_far} so far" if so_far else ""
    return f"the server answers: {tokens(progress.num_tokens)}, the first after {duration(progress.ttft_s)}{drafts}"


def ended_sentence(finished: Finished) -> str:
    stats = finished.stats
    how = {
        "eos": "done",
        "stop": "done at a stop string",
        "length": "done at the limit of new tokens",
        "context": "done: the context is full",
        "cancelled": "stopped, the answer so far is kept",
    }[finished.stop_reason]
    served = stats.served
    said = _accepted(served.answer) if served is not None else ""
    drafts = f"; {said}, says the server" if said else ""
    first = f", the first after {duration(stats.ttft_s)}" if stats.num_tokens else ""
    return f"{how}: {tokens(stats.num_tokens)} in {duration(stats.decode_s)}{first}{drafts}"


def _accepted(said: Speculation | None) -> str:
    if said is None or said.drafted is None or said.accepted is None:
        return ""
    if not said.drafted:
        return "no draft tokens"
    return f"{said.accepted:,} of {tokens(said.drafted).replace('token', 'draft token')} accepted"


def server_figures(served: Served | None, num_committed: int, decode_s: float, ttft_s: float | None) -> dict[str, Any]:
    """The meters: speed by the clock here, drafts as the server says it."""
    speed = ratio(num_committed, decode_s)
    shown: dict[str, Any] = {"speed": number(speed) if speed is not None else None, "served": served_lines(served)}
    if ttft_s is not None:
        shown["ttft"] = duration(ttft_s)
    if served is None:
        return shown
    for said, per_round_note, draft_note in (
        (served.answer, PER_DRAFT, DRAFT_SIZE),
        (served.meanwhile, PER_DRAFT_ALL, DRAFT_SIZE_ALL),
    ):
        if said is None:
            continue
        if "per_round" not in shown and said.mean_length is not None:
            shown |= {"per_round": f"{said.mean_length:.1f}", "per_round_note": per_round_note}
        size = ratio(said.drafted, said.num_drafts) if said.drafted is not None and said.num_drafts else None
        if "draft" not in shown and size is not None:
            shown |= {"draft": f"{size:.0f}", "draft_note": draft_note}
    return shown


def stats_figures(stats: GenerationStats) -> dict[str, Any]:
    return server_figures(stats.served, stats.num_committed, stats.decode_s, stats.ttft_s)


def served_lines(served: Served | None) -> str:
    """The server's own figures, a line each.

    >>> print(served_lines(Served(kind="vLLM", meanwhile=Speculation(drafted=8, accepted=4, num_drafts=2))))
    vLLM's own figures
    all its answers meanwhile: 4 of 8 draft tokens accepted, 2 drafts
    """
    if served is None:
        return ""
    lines = []
    for name, said in (("this answer", served.answer), ("all its answers meanwhile", served.meanwhile)):
        parts = [_accepted(said)] if _accepted(said) else []
        if said is not None and said.num_drafts:
            parts.append(f"{said.num_drafts:,} draft{'' if said.num_drafts == 1 else 's'}")
        if parts:
            lines.append(f"{name}: {', '.join(parts)}")
    if not lines:
        return f"{served.kind} says nothing of its drafts here."
    return "\n".join([f"{served.kind}'s own figures", *lines])


def server_footer(stats: GenerationStats) -> list[str]:
    """What the line under an answer says of the server, behind speed and tokens."""
    served = stats.served
    assert served is not None
    said = _accepted(served.answer)
    return [f"by {served.kind}", *([said] if said else [])]


def server_footer_detail(stats: GenerationStats) -> list[str]:
    rest = served_lines(stats.served).splitlines()
    return [f"{tokens(stats.num_tokens)} in {duration(stats.decode_s)} by the clock here", *rest]
