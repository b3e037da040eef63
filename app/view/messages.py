"""A conversation as the chat shows it: its lines, and the note under each line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.chat.chat import WARMER
from app.store.records import Attachment, RunRecord, StoredMessage
from app.texts import decimal, rounded, tr
from app.view.attachments import attached, copied
from app.view.figures import circles, drafter_words, factor, left_out, number, slower, tokens
from app.view.markdown import Markdown, lone_line
from app.view.remote import server_footer, server_footer_detail
from app.view.whole import whole_stats
from engine.metrics import GenerationStats

REASONING = ("<think>", "</think>")

Reasoning = Literal["", "open", "closed"]  # not reasoning; being written; ended
_PROSE: Reasoning = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the chat. A message with reasoning has several; `last` marks the one that carries its note."""

    message: StoredMessage
    text: str
    reasoning: Reasoning = ""
    last: bool = True


def split_reasoning(text: str) -> list[tuple[str, Reasoning]]:
    """Cut an answer behind its reasoning: a block in tags at its beginning, or what a lone closing tag ends.

    Such a tag stands on a line of its own; the model's template opened the block. Elsewhere tags are text.

    >>> split_reasoning("<think>so</think>\\n\\n  x = 1")
    [('so', 'closed'), ('  x = 1', '')]
    >>> split_reasoning("<think>still")
    [('still', 'open')]
    >>> split_reasoning("so\\n</think>\\n\\nYes.")
    [('so', 'closed'), ('Yes.', '')]
    """
    start, end = REASONING
    kind: Reasoning = "closed"
    if text.lstrip().startswith(start):
        inner, closed, rest = text.lstrip()[len(start) :].partition(end)
        kind = "closed" if closed else "open"
    else:
        at = lone_line(text, end)
        if at is None:
            return [(text, "")]
        lines = text.split("\n")
        inner, rest = "\n".join(lines[:at]), "\n".join(lines[at + 1 :])
    rest = rest.lstrip("\n")
    pieces: list[tuple[str, Reasoning]] = [(inner.strip(), kind)] if inner.strip() else []
    if rest.strip() or not pieces:
        pieces.append((rest, ""))
    return pieces


def with_reasoning_of(whole: str, text: str) -> str:
    """Another text for what an answer says, behind the same reasoning.

    >>> with_reasoning_of("<think>so</think>\\n\\nNo.", "Yes."), with_reasoning_of("No.", "Yes.")
    ('<think>so</think>\\n\\nYes.', 'Yes.')
    """
    said, kind = split_reasoning(whole)[-1]
    before = whole.removesuffix(said) if not kind and whole.endswith(said) else ""
    return before + text


def rows(path: Sequence[StoredMessage]) -> list[Row]:
    """The chat's lines for the messages from root to tip, in order; system messages are settings, not lines."""
    lines: list[Row] = []
    for message in path:
        if message.role == "system" or (message.status == "streaming" and not message.text):
            continue
        pieces = split_reasoning(message.text) if message.role == "assistant" else [(message.text, _PROSE)]
        for at, (text, kind) in enumerate(pieces, 1):
            if kind == "open" and message.status != "streaming":
                kind = "closed"
            lines.append(Row(message, text, kind, at == len(pieces)))
    return lines


def drawn(lines: Iterable[Row], markdown: Markdown) -> list[tuple[Row, tuple[str, ...]]]:
    """Each line with what the chat draws of it: a long answer is several of the chat's messages."""
    found = []
    for row in lines:
        if row.message.role == "user":
            pieces: tuple[str, ...] = (markdown.said(row.text),)
        else:
            draw = markdown.growing if row.message.status == "streaming" else markdown.finished
            pieces = draw(row.text)
        found.append((row, ("\n\n".join(pieces),) if row.reasoning else pieces))
    return found


def chat_messages(drawn_lines: Iterable[tuple[Row, tuple[str, ...]]]) -> list[dict[str, Any]]:
    """The lines as Gradio's chat takes them. Content is a list of parts: plain strings lose their indentation."""
    messages: list[dict[str, Any]] = []
    for row, pieces in drawn_lines:
        for piece in pieces:
            message: dict[str, Any] = {"role": row.message.role, "content": [{"type": "text", "text": piece}]}
            if row.reasoning:
                message["metadata"] = {
                    "title": tr("message.reasoning"),
                    "status": "pending" if row.reasoning == "open" else "done",
                }
            messages.append(message)
    return messages


def footer(run: RunRecord) -> str:
    """The line under an answer that people copy: `96 tok/s · 214 tokens · 3.1 per round · 2.4x est.`

    The speed of an answer that goes in circles is marked as that, and is no speedup.
    """
    stats = run.stats
    parts = []
    if stats.tokens_per_s is not None:
        parts.append(tr("figure.tokens_per_s", value=number(stats.tokens_per_s)))
    parts.append(tokens(stats.num_tokens))
    if stats.served is not None:
        parts += server_footer(stats)
    elif run.mode == "plain":
        parts.append(tr("message.drafting_off"))
    elif run.certificate.provisional:
        parts.append(tr("message.not_ready"))
    elif stats.tokens_per_round is not None:
        parts.append(tr("figure.per_round", value=decimal(stats.tokens_per_round, 1)))
        if (speedup := _speedup(run)) is not None:
            parts.append(speedup)
        if run.drafter != "adaptive":
            parts.append(drafter_words()[run.drafter])
    if stats.loop is not None:
        parts.append(circles(stats.loop))
    if run.dropped_turns:
        parts.append(left_out(run.dropped_turns))
    return " · ".join(parts)


def _speedup(run: RunRecord) -> str | None:
    if run.stats.loop is not None:
        return None
    if run.verdict is not None and run.verdict.speedup is not None:
        measured = tr("figure.times_measured", factor=factor(run.verdict.speedup))
        return f"{measured}{slower(run.verdict.speedup)}"
    estimated = run.stats.estimated_speedup
    if estimated is None:
        return None
    return f"{tr('figure.times_est', factor=factor(estimated))}{slower(estimated)}"


def footer_detail(run: RunRecord) -> str:
    """The rest of an answer's figures, for a pointer held over its footer."""
    stats = run.stats
    parts = [
        tr("message.model", name=run.model),
        tr("message.prompt", tokens=stats.num_prompt_tokens, reused=stats.num_reused_tokens),
        tr("message.first_token", time=decimal(stats.ttft_s, 2)),
        *(server_footer_detail(stats) if stats.served is not None else [_rounds(stats)]),
    ]
    if stats.acceptance_rate is not None:
        parts.append(
            tr(
                "message.right",
                right=stats.accepted,
                guessed=stats.drafted,
                percent=f"{100 * stats.acceptance_rate:.0f}",
            )
        )
    if run.sampling.greedy:
        parts.append(tr("message.greedy"))
    else:
        parts.append(tr("message.sampled", temperature=rounded(run.sampling.temperature), seed=str(run.seed)))
    return "\n".join(parts)


def _rounds(stats: GenerationStats) -> str:
    return tr("message.rounds", rounds=stats.rounds, time=decimal(stats.decode_s, 2))


def _remark(status: str) -> tuple[str, str]:
    """What is said of an answer that was not written to its end, and how."""
    if status == "stopped":
        return tr("message.stopped"), ""
    return (tr("message.interrupted"), "warn") if status == "interrupted" else ("", "")


def notes(drawn_lines: Sequence[tuple[Row, tuple[str, ...]]], running_id: int | None = None) -> list[dict[str, Any]]:
    """The notes under single lines: exact text, figures, versions, remarks, "Continue". `row`: of the chat's messages
    the one that carries it."""
    found: list[dict[str, Any]] = []
    said: list[Attachment] = []  # what was attached so far
    at = -1
    for row, pieces in drawn_lines:
        message, newest = row.message, row is drawn_lines[-1][0]
        at += len(pieces)
        said += message.attachments
        if not row.last or message.id == running_id:
            continue
        note: dict[str, Any] = {"row": at, "id": message.id, "text": row.text, "editable": True}
        if message.sibling_count > 1:
            note["versions"] = {"at": message.sibling_index + 1, "of": message.sibling_count}
        if message.role == "user":
            note["mine"] = True
        if message.attachments:
            note["attachments"] = attached(message.attachments)
        if message.role == "assistant":
            note |= _answer_note(message, newest)
        elif newest and running_id is None:
            note["unanswered"] = True
        if message.role == "assistant" and "figures" in note and (from_where := copied(row.text, said)):
            note["figures"] += f" · {from_where}"
        found.append(note)
    return found


def _why_repeated(message: StoredMessage, run: RunRecord) -> str:
    """Why Retry wrote the same answer; empty where it did not, or where a higher temperature is no mend."""
    if run.sampling.greedy and message.sibling_count > 1:
        return tr("message.repeats_zero")
    if message.repeats and run.sampling.temperature < WARMER:
        return tr("message.repeats", temperature=rounded(run.sampling.temperature))
    return ""


def _answer_note(message: StoredMessage, newest: bool) -> dict[str, Any]:
    note: dict[str, Any] = {}
    run = message.run
    if run is not None:
        whole = replace(run, stats=whole_stats(message.runs))
        note |= {"figures": footer(whole), "detail": footer_detail(whole)}
    remark, tone = _remark(message.status)
    if message.status == "complete" and run is not None:
        if run.stop_reason == "length":
            remark = tr("message.at_limit")
        elif run.stop_reason == "context":
            remark, tone = tr("message.context_full"), "warn"
    if not remark and run is not None and run.stats.loop is None and (why := _why_repeated(message, run)):
        remark = why
        note["warmer"] = True
    if message.error:
        remark, tone = message.error, "bad"
    if remark:
        note |= {"remark": remark, "tone": tone}
    at_limit = run is not None and run.stop_reason == "length"
    written = run is None and message.sibling_count > 1  # by a person, in place of an answer: the model may go on
    cut_short = at_limit or written or message.status in ("stopped", "interrupted", "error")
    if run is not None and run.stats.loop is not None:
        note["again"] = True
    if newest:
        note["retry"] = True
    if newest and cut_short and (message.text or message.token_ids):
        note["resume"] = True
    return note
