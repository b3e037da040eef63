"""Conversations as Markdown, for people."""

import io
import re
import zipfile
from collections.abc import Iterable

from app.exchange.bare_code import bare_code
from app.store.records import Attachment, StoredMessage
from app.store.store import Store

NAME_LENGTH = 80  # characters of a file's name


def export_all_markdown(store: Store, ids: Iterable[int] | None = None) -> bytes:
    """A zip with a file for each of these conversations, or of all."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for conversation_id in store.conversation_ids() if ids is None else ids:
            conversation = store.conversation(conversation_id)
            stamp = max(conversation.created.timetuple()[:6], (1980, 1, 1, 0, 0, 0))  # a zip knows no earlier date
            entry = zipfile.ZipInfo(f"{file_name(conversation.title)} ({conversation_id}).md", stamp)
            packed.writestr(entry, export_markdown(store, conversation_id), zipfile.ZIP_DEFLATED)
    return made.getvalue()


def file_name(title: str) -> str:
    """A title as the name of a file, without its ending.

    >>> file_name('Is 1/2 "half"?'), file_name("...")
    ('Is 1 2 half', 'chat')
    """
    return " ".join(re.sub(r"[^\w \-.]+", " ", title).split()).strip(" .")[:NAME_LENGTH].strip(" .") or "chat"


def export_markdown(store: Store, conversation_id: int) -> str:
    """Export the branch that is on the page, with a line of figures under each answer."""
    with store.transaction():
        conversation = store.conversation(conversation_id)
        path = store.path(conversation_id)
    parts = [f"# {conversation.title or 'Untitled conversation'}", f"*{conversation.created:%Y-%m-%d %H:%M} UTC*"]
    if conversation.settings.system.strip():
        parts += ["## System", conversation.settings.system.strip()]
    for message in path:
        parts += [_heading(message), *map(_attached, message.attachments), _words(message)]
        if notes := " · ".join(_notes(message)):
            parts.append(f"*{notes}*")
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(message: StoredMessage) -> str:
    if message.role == "user":
        name = "You"
    elif message.role == "assistant":
        name = message.run.model if message.run and message.run.model else "Assistant"
    else:
        name = "System"
    version = f" (version {message.sibling_index + 1} of {message.sibling_count})" if message.sibling_count > 1 else ""
    return f"## {name}{version}"


def _words(message: StoredMessage) -> str:
    """The message's text; code that was answered without a fence gets one, as on the page."""
    text = message.text.strip("\n")
    language = bare_code(text) if message.role == "assistant" else None
    return text if language is None else _fence(text, language)


def _attached(attachment: Attachment) -> str:
    return f"**Attached: {attachment.name}**\n\n{_fence(attachment.text.strip(chr(10)), 'text')}"


def _fence(text: str, language: str) -> str:
    """The text in a fence that nothing in it closes."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"


def _notes(message: StoredMessage) -> Iterable[str]:
    if message.status != "complete":
        yield message.status if not message.error else f"{message.status}: {message.error}"
    if message.run is None:
        return
    stats = message.run.stats
    if stats.tokens_per_s is not None:
        yield f"{stats.tokens_per_s:.1f} tokens/s"
    yield f"{stats.num_tokens} tokens"
    if stats.tokens_per_round is not None:
        yield f"{stats.tokens_per_round:.2f} tokens per round"
    if stats.served is not None:
        yield f"by {stats.served.kind}"
    else:
        yield "drafting not ready yet" if message.run.certificate.provisional else message.run.mode
