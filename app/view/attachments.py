"""What is attached to messages, in words: to the one being written, to those that were sent, and what answers took."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from app.chat.attachments import Waiting, room_for_prompt
from app.store.records import Attachment
from app.texts import tr
from app.view.figures import size, tokens
from engine.events import ModelInfo

RUN = 8  # words in a row that say that they were copied
COPIED_WORDS, COPIED_SHARE = 24, 0.25  # of an answer, from which on it is worth a word
KEPT_TEXTS, KEPT_ANSWERS = 8, 1000

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|\w+|[^\w\s]")


def attachment_list(
    waiting: Sequence[Waiting], used: int, info: ModelInfo | None, max_tokens: int, number: int
) -> dict[str, Any]:
    """What the message box shows above itself. `used`: tokens of the conversation so far."""
    items = [
        {
            "id": one.attachment.id,
            "name": one.attachment.name,
            "pasted": one.attachment.kind == "pasted",
            "size": _counted(one.tokens, exact=one.exact),
            "detail": _detail(one.attachment),
        }
        for one in waiting
    ]
    line, tone = _sum(waiting, used, info, max_tokens)
    return {"items": items, "line": line, "tone": tone, "number": number}


def _counted(count: int, *, exact: bool) -> str:
    return tokens(count) if exact else tr("attached.about", tokens=tokens(count))


def _sum(waiting: Sequence[Waiting], used: int, info: ModelInfo | None, max_tokens: int) -> tuple[str, str]:
    """Whether it fits, and what to do where it does not."""
    if not waiting:
        return "", ""
    total, exact = sum(one.tokens for one in waiting), all(one.exact for one in waiting)
    said = _counted(total, exact=exact)
    if info is None or not info.context_length:
        return tr("attached.sum", tokens=said) if len(waiting) > 1 else "", ""
    room = room_for_prompt(info.context_length, max_tokens)
    if total > room:
        if len(waiting) == 1:
            return tr("attached.misfit_one", tokens=said, room=room), "bad"
        return tr("attached.misfit_many", tokens=said, room=room), "bad"
    if used + total > room:
        if info.server is not None:
            return tr("attached.full_server", tokens=used + total, room=room), "warn"
        return tr("attached.full", tokens=used + total, room=room), "warn"
    return (tr("attached.sum", tokens=said) if len(waiting) > 1 else ""), ""


def attached(attachments: Sequence[Attachment]) -> list[dict[str, Any]]:
    """What a sent message shows folded: names and sizes; the text is fetched when it is opened."""
    return [
        {
            "id": one.id,
            "name": one.name,
            "size": _detail(one),
        }
        for one in attachments
    ]


def _detail(one: Attachment) -> str:
    return tr("attached.detail", size=_size(one.size), characters=len(one.text))


def _size(num_bytes: int) -> str:
    """A file's size; short ones to the byte.

    >>> _size(1), _size(13), _size(52_000)
    ('1 byte', '13 bytes', '52 kB')
    """
    if num_bytes < 1000:
        return tr("count.bytes", count=num_bytes)
    return size(num_bytes)


def copied(answer: str, attachments: Sequence[Attachment]) -> str:
    """How much of an answer stands word for word in what is attached; empty where that is little.

    >>> copied("x", ())
    ''
    """
    best, name = 0, ""
    for one in attachments:
        if (found := _copied_words(answer, one.text)) > best:
            best, name = found, one.name
    total = len(_words(answer))
    if best < COPIED_WORDS or best < COPIED_SHARE * total:
        return ""
    return tr("attached.copied", percent=f"{100 * best / total:.0f}", name=name)


def forget_copied() -> None:
    """Let go of every text that was compared."""
    _runs.cache_clear()
    _copied_words.cache_clear()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


@lru_cache(KEPT_TEXTS)
def _runs(text: str) -> frozenset[int]:
    """The runs of `RUN` words that the text holds, as hashes."""
    words = _words(text)
    return frozenset(hash(tuple(words[at : at + RUN])) for at in range(len(words) - RUN + 1))


@lru_cache(KEPT_ANSWERS)
def _copied_words(answer: str, text: str) -> int:
    """How many words of the answer are part of a run that the text holds, too."""
    runs, words = _runs(text), _words(answer)
    found, end = 0, 0
    for at in range(len(words) - RUN + 1):
        if hash(tuple(words[at : at + RUN])) in runs:
            found += at + RUN - max(end, at)
            end = at + RUN
    return found
