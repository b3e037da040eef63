"""A server in words and figures: where words go, what it says of its drafts, what is not to be had there and why."""

from typing import Any

from app.texts import decimal, tr
from app.view.figures import duration, number, tokens
from engine.config import Mode
from engine.events import Finished, ModelInfo, ServerInfo, ServerProgress
from engine.metrics import GenerationStats, Served, Speculation, ratio

SHORT_FLAGS = 40  # characters that fit into the speed line


def where(info: ModelInfo | None) -> dict[str, str]:
    """Where a person's words go, for the header: it says so at all times."""
    server = info.server if info is not None else None
    if info is None or server is None:
        return {"kind": "here", "label": tr("remote.on_this_machine"), "detail": tr("remote.stays")}
    if server.is_here:
        detail = tr("remote.goes_here", address=server.address, kind=server.kind)
        return {"kind": "here", "label": tr("remote.to", name=info.device_name), "detail": detail}
    open_line = f" {tr('remote.open_line')}" if server.address.startswith("http://") else ""
    detail = f"{tr('remote.goes_away', address=server.address, kind=server.kind)}{open_line}"
    return {"kind": "away", "label": tr("remote.to", name=info.device_name), "detail": detail}


def server_badge(server: ServerInfo) -> dict[str, str]:
    why = f"{tr('remote.no_certificate')} {tr('remote.no_compare')}"
    return {"kind": "absent", "label": tr("remote.certificate_label"), "explanation": why}


def server_words(info: ModelInfo | None) -> dict[str, str] | None:
    """What the controls say that do nothing with a server; None where there is none."""
    if info is None or info.server is None:
        return None
    drafts = drafts_there(info.server, "adaptive")
    return {"compare": tr("remote.no_compare"), "drafting": f"{drafts[:1].upper()}{drafts[1:]}."}


def drafts_there(server: ServerInfo, mode: Mode) -> str:
    """Whether the server drafts, and what switches N-gram drafts on; `mode` is what the switch beside it says."""
    if server.switches:
        return tr("remote.drafts") if mode == "adaptive" else tr("remote.asked_plain")
    return _with_flags(_told(server, mode), server)


def _told(server: ServerInfo, mode: Mode) -> str:
    """What the server says of its drafts."""
    if server.speculation == "on":
        if server.method and "ngram" not in server.method:
            return tr("remote.started_with_other", method=server.method)
        method = server.method
        told = tr("remote.started_with_method", method=method) if method else tr("remote.started_with")
        return tr("remote.switch_does_nothing", told=told) if mode == "plain" else told
    return tr("remote.started_without") if server.speculation == "off" else tr("remote.does_not_say")


def _with_flags(told: str, server: ServerInfo) -> str:
    """And what switches N-grams on there, where they are not."""
    drafts = server.speculation == "on" and (not server.method or "ngram" in server.method)
    if drafts or not server.switch_on:
        return told
    if len(server.switch_on) <= SHORT_FLAGS:
        return tr("remote.flags", told=told, flags=server.switch_on)
    return tr("remote.long_flags", told=told)


def server_detail(info: ModelInfo, server: ServerInfo) -> str:
    """What is known of a model at a server, one fact a line."""
    drafts = tr("remote.drafts") if server.switches else _told(server, "adaptive")
    facts = [
        tr("remote.at", kind=server.kind, address=server.address),
        *([tr("model.context", tokens=info.context_length)] if info.context_length else []),
        f"{drafts[:1].upper()}{drafts[1:]}.",
        *([tr("remote.switched_on_by", flags=server.switch_on)] if server.switch_on else []),
        *info.notes,
    ]
    return "\n".join(facts)


def idle_sentence(info: ModelInfo, server: ServerInfo, mode: Mode) -> str:
    return tr("remote.idle", name=info.device_name, drafts=drafts_there(server, mode))


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
        return tr("remote.first_word")
    so_far = _accepted(progress.served.answer) if progress.served is not None else ""
    drafts = f"; {tr('remote.so_far', figures=so_far)}" if so_far else ""
    answers = tr("remote.answers", tokens=tokens(progress.num_tokens), time=duration(progress.ttft_s))
    return f"{answers}{drafts}"


def ended_sentence(finished: Finished) -> str:
    stats = finished.stats
    how = {
        "eos": tr("live.done"),
        "stop": tr("remote.done_stop"),
        "length": tr("remote.done_length"),
        "context": tr("live.done_context"),
        "cancelled": tr("remote.done_cancelled"),
    }[finished.stop_reason]
    served = stats.served
    said = _accepted(served.answer) if served is not None else ""
    drafts = f"; {tr('remote.says', figures=said)}" if said else ""
    first = f", {tr('remote.first_after', time=duration(stats.ttft_s))}" if stats.num_tokens else ""
    ended = tr("remote.ended", how=how, tokens=tokens(stats.num_tokens), time=duration(stats.decode_s))
    return f"{ended}{first}{drafts}"


def _accepted(said: Speculation | None) -> str:
    if said is None or said.drafted is None or said.accepted is None:
        return ""
    if not said.drafted:
        return tr("remote.no_draft_tokens")
    return tr("remote.accepted", accepted=said.accepted, drafted=tr("count.draft_tokens", count=said.drafted))


def server_figures(served: Served | None, num_committed: int, decode_s: float, ttft_s: float | None) -> dict[str, Any]:
    """The meters: speed by the clock here, drafts as the server says it."""
    speed = ratio(num_committed, decode_s)
    shown: dict[str, Any] = {"speed": number(speed) if speed is not None else None, "served": served_lines(served)}
    if ttft_s is not None:
        shown["ttft"] = duration(ttft_s)
    if served is None:
        return shown
    for said, per_round_note, draft_note in (
        (served.answer, tr("remote.per_draft"), tr("remote.draft_size")),
        (served.meanwhile, tr("remote.per_draft_all"), tr("remote.draft_size_all")),
    ):
        if said is None:
            continue
        if "per_round" not in shown and said.mean_length is not None:
            shown |= {"per_round": decimal(said.mean_length, 1), "per_round_note": per_round_note}
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
    for name, said in ((tr("remote.this_answer"), served.answer), (tr("remote.all_answers"), served.meanwhile)):
        parts = [_accepted(said)] if _accepted(said) else []
        if said is not None and said.num_drafts:
            parts.append(tr("count.drafts", count=said.num_drafts))
        if parts:
            lines.append(tr("remote.figures_of", name=name, figures=", ".join(parts)))
    if not lines:
        return tr("remote.says_nothing", kind=served.kind)
    return "\n".join([tr("remote.own_figures", kind=served.kind), *lines])


def server_footer(stats: GenerationStats) -> list[str]:
    """What the line under an answer says of the server, behind speed and tokens."""
    served = stats.served
    assert served is not None
    said = _accepted(served.answer)
    return [tr("remote.by", kind=served.kind), *([said] if said else [])]


def server_footer_detail(stats: GenerationStats) -> list[str]:
    rest = served_lines(stats.served).splitlines()
    took = tr("remote.by_the_clock", tokens=tokens(stats.num_tokens), time=duration(stats.decode_s))
    return [took, *rest]
