"""Where an answer's words came from, as the page draws it: blocks of text, each with its sources in words. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from app.store.origins import AnswerOrigins, Block, Drafted, Source, Why, length_of
from app.texts import tr
from app.view.messages import split_reasoning

Kind = Literal["chat", "prompt", "other", "model", "trained"]

TitleOf = Callable[[str], str | None]
"""The title of another conversation, or of an imported text, by its key; None where it is deleted."""

LONGEST_TITLE = 40  # characters


def why_words(why: Why) -> str:
    """Why nothing was guessed."""
    return {
        "": tr("origins.no_guess"),
        "off": tr("origins.was_off"),
        "resting": tr("origins.rested"),
        "unsure": tr("origins.unsure"),
    }[why]


def _how(name: str) -> str:
    """How a source finds what it proposes."""
    match name:
        case "pointer":
            return tr("origins.pointer")
        case "swap":
            return tr("origins.swap")
        case "skip":
            return tr("origins.skip")
        case "memory":
            return ""
        case "recycled":
            return tr("origins.recycled")
        case "heads" | "chimera":
            return tr("origins.trained_drafter")
    return name


def _where(place: str) -> str:
    match place:
        case "answer":
            return tr("origins.this_answer")
        case "prompt":
            return tr("origins.your_message")
        case "chat":
            return tr("origins.further_up")
    return ""


def kind_of(source: Source) -> Kind:
    """The colour and the underline of what came from this source.

    >>> kind_of(Source("ngram-4", "prompt")), kind_of(Source("memory", "chat 7")), kind_of(Source("chimera", ""))
    ('prompt', 'other', 'trained')
    """
    if source.name in ("heads", "chimera"):
        return "trained"
    if source.name in ("recycled", "recycling"):
        return "model"
    if source.place.startswith("chat "):
        return "other"
    return "prompt" if source.place == "prompt" else "chat"


def source_words(source: Source, title_of: TitleOf) -> str:
    """Where it was read, and how it was found.

    >>> source_words(Source("ngram-4", "prompt"), lambda _: None)
    'your message, after 4 matching tokens'
    >>> source_words(Source("memory", "chat 7"), {"7": "Trains"}.get)
    'the chat “Trains”'
    """
    where = _where(source.place)
    key = source.place.removeprefix("chat ")
    if key != source.place:
        title = title_of(key)
        named = _short(title or tr("origins.untitled"))
        if title is None:
            where = tr("origins.deleted_chat")
        else:
            where = tr("origins.the_chat", title=named) if key.isdecimal() else tr("origins.the_text", title=named)
    level = source.name.removeprefix("ngram-")
    if level != source.name:
        how = tr("live.matching", count=int(level)) if level.isdecimal() else source.name
    else:
        how = _how(source.name)
    return ", ".join(filter(None, [where, how]))


def _short(title: str) -> str:
    return title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1].rstrip()}…"


class _Names:
    """Sources by number, each once."""

    def __init__(self) -> None:
        self._numbers: dict[Source, int] = {}

    def number(self, source: Source) -> int:
        return self._numbers.setdefault(source, len(self._numbers))

    def words(self, title_of: TitleOf) -> list[dict[str, Any]]:
        return [
            {
                "kind": kind_of(source),
                "words": source_words(source, title_of),
                "matching": source.name.startswith("ngram-"),
            }
            for source in self._numbers
        ]


def _drawn(block: Block, text: str, names: _Names) -> dict[str, Any]:
    """A block of this text."""
    if not isinstance(block, Drafted):
        return {"own": text, "steps": block.rounds, "why": why_words(block.why)}
    pieces, at = [], 0
    for length in block.lengths:
        pieces.append(text[at : at + length])
        at += length
    percents = block.percents or (None,) * len(block.sources)
    drawn: dict[str, Any] = {
        "parts": [
            [piece, names.number(source), percent]
            for piece, source, percent in zip(pieces, block.sources, percents, strict=False)
        ],
        "own": "".join(pieces[len(block.sources) :]),
        "tokens": len(block.lengths),
    }
    if block.refused is not None:
        drawn["refused"] = [block.refused.text, names.number(block.refused.source), block.refused.percent]
    return drawn


def _all_drawn(text: str, at: int, blocks: Iterable[Block], names: _Names) -> tuple[list[dict[str, Any]], int]:
    drawn = []
    for block in blocks:
        end = at + length_of(block)
        drawn.append(_drawn(block, text[at:end], names))
        at = end
    return drawn, at


def shown_from(text: str) -> int | None:
    """Where the shown answer begins in a message, behind its reasoning; None while it reasons.

    >>> shown_from("<think>so</think>\\n\\nYes."), shown_from("Yes."), shown_from("<think>so")
    (19, 0, None)
    """
    answer, kind = split_reasoning(text)[-1]
    return None if kind else len(text) - len(answer)


def message_origins(
    text: str, runs: Sequence[AnswerOrigins], title_of: TitleOf, *, unguessed: bool = False
) -> dict[str, Any]:
    """A whole message; what a record leaves out is the model's own, and so is all where nothing was guessed. Without a
    record nothing else is known."""
    if not runs and not unguessed:
        return {"blocks": [], "names": [], "skip": 0, "unknown": tr("origins.unknown")}
    names, drawn, at = _Names(), [], 0
    for run in runs:
        first = run.start + run.first
        if first > at:
            drawn.append({"own": text[at:first]})
        blocks, at = _all_drawn(text, first, run.blocks, names)
        drawn += blocks
    if text[at:]:
        drawn.append({"own": text[at:]})
    return {"blocks": drawn, "names": names.words(title_of), "skip": shown_from(text) or 0}


def growing_origins(text: str, number: int, at: int, blocks: Iterable[Block], title_of: TitleOf) -> dict[str, Any]:
    """An answer that is being written, from block `number` on, which begins at `at`."""
    names = _Names()
    drawn, end = _all_drawn(text, at, blocks, names)
    told: dict[str, Any] = {"from": number, "blocks": drawn, "names": names.words(title_of), "skip": shown_from(text)}
    if number == 0:
        told["before"] = text[:at]
    if text[end:]:
        told["rest"] = text[end:]
    return told
