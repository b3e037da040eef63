"""What is shown: states, runs and models as words and figures. Pure: no page, no store, no clock of its own.

Everything here is text or plain numbers; nothing is markup, so nothing a model writes can become markup.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from app.store.records import ConversationSummary, RunRecord, StoredMessage
from app.view.formulas import in_brackets
from engine.config import DrafterName, Exactness
from engine.events import LoadProgress, ModelInfo
from engine.metrics import ratio

REASONING = ("<think>", "</think>")
NEW_CHAT = "New chat"
LISTED = 200  # conversations; a longer list is slow to draw
DRAFTER_WORDS: dict[DrafterName, str] = {
    "adaptive": "adaptive N-grams",
    "prompt-lookup": "prompt lookup",
    "anpd": "ANPD as published",
    "suffix": "longest suffix",
    "recycling": "token recycling",
    "racer": "RACER",
}

Reasoning = Literal["", "open", "closed"]  # not reasoning; being written; ended
_PROSE: Reasoning = ""


# Figures


def number(value: float) -> str:
    """A figure short enough to be read while it changes.

    >>> number(142.4), number(9.64), number(1900.0)
    ('142', '9.6', '1,900')
    """
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def factor(value: float) -> str:
    """A speedup: two digits near 1, where they matter.

    >>> factor(2.43), factor(1.04), factor(0.98)
    ('2.4', '1.04', '0.98')
    """
    return f"{value:.2f}" if 0.9 <= value < 1.095 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """A time; short ones, as a small model's, in milliseconds.

    >>> duration(0.0454), duration(0.41), duration(12.34)
    ('45 ms', '0.4 s', '12.3 s')
    """
    return f"{seconds * 1000:.0f} ms" if seconds < 0.0995 else f"{seconds:.1f} s"


def tokens(count: int) -> str:
    """A count with its noun.

    >>> tokens(1), tokens(1900)
    ('1 token', '1,900 tokens')
    """
    return "1 token" if count == 1 else f"{count:,} tokens"


def size(num_bytes: float) -> str:
    """A size as people say it.

    >>> size(49_382_712), size(3_400_000_000)
    ('49 MB', '3.4 GB')
    """
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"


def parameters(count: int) -> str:
    """A model's size in parameters.

    >>> parameters(12_345_678), parameters(1_720_000_000)
    ('12 M', '1.7 B')
    """
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M" if count >= 1e6 else f"{count:,}"


# The conversation as the chat shows it


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the chat. A message with reasoning has several; `last` marks the one that carries its note."""

    message: StoredMessage
    text: str
    reasoning: Reasoning = ""
    last: bool = True


def split_reasoning(text: str) -> list[tuple[str, Reasoning]]:
    """Cut an answer at its reasoning tags; indentation is kept, blank lines around a cut are not.

    >>> split_reasoning("<think>so</think>\\n\\n  x = 1")
    [('so', 'closed'), ('  x = 1', '')]
    >>> split_reasoning("<think>still")
    [('still', 'open')]
    """
    start, end = REASONING
    pieces: list[tuple[str, Reasoning]] = []
    rest = text
    while start in rest:
        before, _, after = rest.partition(start)
        inner, closed, rest = after.partition(end)
        if before.strip():
            pieces.append((before.rstrip(), ""))
        if inner.strip():
            pieces.append((inner.strip(), "closed" if closed else "open"))
        rest = rest.lstrip("\n")
    if rest.strip() or not pieces:
        pieces.append((rest, ""))
    return pieces


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


def chat_messages(lines: Iterable[Row]) -> list[dict[str, Any]]:
    """The lines as Gradio's chat takes them. Content is a list of parts: plain strings lose their indentation.

    A person's own words come as they are, for they can be edited.
    """
    messages: list[dict[str, Any]] = []
    for row in lines:
        text = row.text if row.message.role == "user" else in_brackets(row.text)
        message: dict[str, Any] = {"role": row.message.role, "content": [{"type": "text", "text": text}]}
        if row.reasoning:
            message["metadata"] = {"title": "Reasoning", "status": "pending" if row.reasoning == "open" else "done"}
        messages.append(message)
    return messages


def footer(run: RunRecord) -> str:
    """The line under an answer that people copy: `96 tok/s · 214 tokens · 3.1 per round · 2.4x est.`"""
    stats = run.stats
    parts = []
    if stats.tokens_per_s is not None:
        parts.append(f"{number(stats.tokens_per_s)} tok/s")
    parts.append(tokens(stats.num_tokens))
    if run.mode == "plain":
        parts.append("drafting off")
    elif stats.tokens_per_round is not None:
        parts.append(f"{stats.tokens_per_round:.1f} per round")
        if run.verdict is not None and run.verdict.speedup is not None:
            parts.append(f"{factor(run.verdict.speedup)}x measured")
        elif stats.estimated_speedup is not None:
            parts.append(f"{factor(stats.estimated_speedup)}x est.")
        if run.drafter != "adaptive":
            parts.append(DRAFTER_WORDS[run.drafter])
    if run.dropped_turns:
        parts.append(left_out(run.dropped_turns))
    return " · ".join(parts)


def left_out(dropped_turns: int) -> str:
    """What the prompt had no room for.

    >>> left_out(1), left_out(4)
    ('the oldest message no longer fitted', 'the 4 oldest messages no longer fitted')
    """
    what = "the oldest message" if dropped_turns == 1 else f"the {dropped_turns:,} oldest messages"
    return f"{what} no longer fitted"


def footer_detail(run: RunRecord) -> str:
    """The rest of an answer's figures, for a pointer held over its footer."""
    stats = run.stats
    parts = [
        f"model {run.model}",
        f"prompt {stats.num_prompt_tokens:,} tokens ({stats.num_reused_tokens:,} from the cache)",
        f"first token after {stats.ttft_s:.2f} s",
        f"{stats.rounds:,} rounds in {stats.decode_s:.2f} s",
    ]
    if stats.acceptance_rate is not None:
        parts.append(f"{stats.accepted:,} of {stats.drafted:,} draft tokens accepted ({stats.acceptance_rate:.0%})")
    parts.append("greedy" if run.sampling.greedy else f"temperature {run.sampling.temperature:g}, seed {run.seed}")
    return "\n".join(parts)


_REMARKS: dict[str, tuple[str, str]] = {
    "stopped": ("stopped", ""),
    "interrupted": ("interrupted: this part was kept", "warn"),
}


def notes(lines: Sequence[Row], running_id: int | None = None) -> list[dict[str, Any]]:
    """What stands under single lines: figures, versions, remarks, "Continue". `row` counts the chat's lines."""
    found: list[dict[str, Any]] = []
    for place, row in enumerate(lines):
        message = row.message
        if not row.last or message.id == running_id:
            continue
        note: dict[str, Any] = {"row": place, "id": message.id}
        if message.sibling_count > 1:
            note["versions"] = {"at": message.sibling_index + 1, "of": message.sibling_count}
        if message.role == "assistant":
            note |= _answer_note(message, newest=place == len(lines) - 1)
        if len(note) > 2:
            found.append(note)
    return found


def _answer_note(message: StoredMessage, newest: bool) -> dict[str, Any]:
    note: dict[str, Any] = {}
    run = message.run
    if run is not None:
        note |= {"figures": footer(run), "detail": footer_detail(run)}
    remark, tone = _REMARKS.get(message.status, ("", ""))
    if message.status == "complete" and run is not None:
        if run.stop_reason == "length":
            remark = "reached the limit of new tokens"
        elif run.stop_reason == "context":
            remark, tone = "the context is full", "warn"
    if message.error:
        remark, tone = message.error, "bad"
    if remark:
        note |= {"remark": remark, "tone": tone}
    cut_short = message.status in ("stopped", "interrupted", "error")
    if newest and message.text and (cut_short or (run is not None and run.stop_reason == "length")):
        note["resume"] = True
    return note


# The list of conversations


def day_label(day: date, today: date) -> str:
    """The heading a conversation stands under.

    >>> day_label(date(2026, 3, 9), date(2026, 3, 10)), day_label(date(2025, 12, 1), date(2026, 3, 10))
    ('Yesterday', 'December 2025')
    """
    age = (today - day).days
    if age <= 0:
        return "Today"
    if age == 1:
        return "Yesterday"
    if age < 7:
        return "This week"
    if day.year == today.year:
        return f"{day:%B}"
    return f"{day:%B %Y}"


def conversation_list(
    found: Sequence[ConversationSummary],
    *,
    now: datetime,
    current: int | None,
    query: str = "",
    undo: ConversationSummary | None = None,
) -> dict[str, Any]:
    """The sidebar's list under its headings: of more than `LISTED` found the first, and a sentence about the others.

    `now` decides the days and carries the time zone they are seen in.
    """
    groups: list[dict[str, Any]] = []
    for conversation in found[:LISTED]:
        day = conversation.updated.astimezone(now.tzinfo).date()
        label = "Pinned" if conversation.pinned else day_label(day, now.date())
        if not groups or groups[-1]["label"] != label:
            groups.append({"label": label, "items": []})
        title = conversation.title or NEW_CHAT
        groups[-1]["items"].append({"id": conversation.id, "title": title, "snippet": conversation.snippet})
    note = ""
    if not found:
        note = f"Nothing found for “{query}”." if query else "Your conversations appear here."
    elif len(found) > LISTED:
        note = "There are more: add a word." if query else f"These are the newest {LISTED}. Search finds the others."
    deleted = {"id": undo.id, "title": undo.title or NEW_CHAT} if undo else None
    return {"groups": groups, "current": current, "note": note, "undo": deleted}


# Model and certificate


def badge(info: ModelInfo, exactness: Exactness) -> dict[str, str]:
    """The certificate in words, claiming no more than the probe at load showed."""
    certificate = info.exact if exactness == "exact" else info.fast
    widths = ", ".join(str(width) for width in certificate.widths)
    if certificate.tier == "C":
        return {
            "kind": "rounding",
            "label": "equal up to rounding",
            "explanation": "The fastest kernels are used. They round differently for one token and for several, so an "
            "answer with drafting equals the one without except where two tokens were almost equally likely. "
            "Choose “exact” in the settings for the same tokens, bit for bit.",
        }
    if certificate.tier == "A":
        how = "Checking one token or several at once gave bit-equal results at every width that was measured"
    else:
        how = f"The application uses only the widths whose results were bit-equal when it measured them ({widths})"
    cost = f" This costs {info.exact_cost - 1:.0%} against the fastest kernels." if info.exact_cost > 1.02 else ""
    return {
        "kind": "exact",
        "label": "bit-exact",
        "explanation": f"{how}, on this machine with this model: drafting on or off gives the same tokens.{cost}",
    }


def header(
    conversation_id: int | None, title: str, info: ModelInfo | None, exactness: Exactness, loading: str
) -> dict[str, Any]:
    """Title, model and certificate; `loading` stands in the model's place until there is one."""
    head: dict[str, Any] = {"conversation": conversation_id, "title": title or NEW_CHAT, "badge": None}
    if info is None:
        return head | {"model": loading or "no model loaded", "model_detail": ""}
    name = info.name if info.has_chat_template else f"{info.name} (completes text, no chat template)"
    return head | {"model": name, "model_detail": model_detail(info), "badge": badge(info, exactness)}


def model_detail(info: ModelInfo | None) -> str:
    """What a loaded model is, one fact a line."""
    if info is None:
        return ""
    quant = "" if info.quant == "none" else f", {info.quant}"
    facts = [
        f"{info.architecture}, {parameters(info.num_parameters)} parameters, {size(info.weights_bytes)}",
        f"{info.dtype}{quant} on {info.device_name}",
        f"context {info.context_length:,} tokens",
        *([] if info.has_chat_template else ["no chat template: it completes your text as it stands"]),
        *info.notes,
    ]
    return "\n".join(facts)


def load_sentence(progress: LoadProgress) -> str:
    """Where loading stands: `loading weights 40 %`."""
    done, total = progress.done, progress.total
    if progress.stage == "weights" and total:
        return f"loading weights {done / total:.0%}".replace("%", " %")
    if progress.stage == "download" and total:
        return f"downloading {size(done)} of {size(total)}"
    message = progress.message.rstrip(".")
    return f"{message[:1].lower()}{message[1:]}"


def load_fraction(progress: LoadProgress) -> float | None:
    return None if progress.total is None else ratio(progress.done, progress.total)
