"""Conversations as one web page that needs nothing else: no script, no request, nothing that a browser would run."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from app.assets import asset_text
from app.store.records import Conversation, StoredMessage
from app.store.store import Store
from app.texts import tr
from app.view.markdown import markdown_html
from app.view.messages import footer, split_reasoning

# Links are the only tags that lead away, and a browser follows them when they are clicked.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_IMAGE = re.compile(r'<img src="([^"]*)" alt="([^"]*)"[^>]*>')


def export_page(store: Store, ids: Sequence[int]) -> str:
    """A page with the branch that is shown of each of these conversations; of several, with a list above them."""
    with store.transaction():
        chats = [(store.conversation(one), store.path(one)) for one in ids]
    title = (chats[0][0].title or tr("exported.conversation")) if len(chats) == 1 else tr("exported.conversations")
    contents = _contents([conversation for conversation, _ in chats]) if len(chats) > 1 else ""
    body = "\n".join(_chat(conversation, path, level=2 if contents else 1) for conversation, path in chats)
    return f"""<!DOCTYPE html>
<html lang="und"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<style>{asset_text("css/exported.css")}</style></head>
<body><main>
{contents}{body}
</main></body></html>
"""


def _contents(conversations: Iterable[Conversation]) -> str:
    lines = "\n".join(
        f'<li><a href="#c{one.id}">{escape(one.title or tr("common.new_chat"))}</a></li>' for one in conversations
    )
    return f"<h1>{escape(tr('exported.conversations'))}</h1>\n<nav><ol>{lines}</ol></nav>\n"


def _chat(conversation: Conversation, path: Iterable[StoredMessage], level: int) -> str:
    head = (
        f'<h{level} id="c{conversation.id}" dir="auto">{escape(conversation.title or tr("common.new_chat"))}</h{level}>'
    )
    date = f'<p class="date">{conversation.created:%Y-%m-%d %H:%M} UTC</p>'
    system = conversation.settings.system.strip()
    rule = (
        f'<details><summary>{escape(tr("exported.system"))}</summary><pre dir="auto">{escape(system)}</pre></details>'
        if system
        else ""
    )
    return "\n".join(filter(None, [f"<article>{head}", date, rule, *map(_message, path), "</article>"]))


def _message(message: StoredMessage) -> str:
    if message.role == "system":
        return ""
    attached = "".join(
        f'<details><summary>{escape(one.name)}</summary><pre dir="auto">{escape(one.text)}</pre></details>'
        for one in message.attachments
    )
    if message.role == "user":
        words = f'<div class="words" dir="auto">{_typed(message.text)}</div>'
        return f'<section class="user"><h3>{escape(tr("exported.you"))}</h3>{attached}{words}</section>'
    pieces = []
    for text, kind in split_reasoning(message.text):
        markup = _IMAGE.sub(_link, markdown_html(text))
        drawn = f'<div class="words" dir="auto">{markup}</div>'
        summary = escape(tr("exported.reasoning"))
        pieces.append(f"<details><summary>{summary}</summary>{drawn}</details>" if kind else drawn)
    notes = [footer(message.run)] if message.run is not None else []
    if message.status != "complete":
        notes.insert(0, message.error or message.status)
    name = message.run.model if message.run is not None else tr("exported.assistant")
    note = f'<p class="note">{escape(" · ".join(notes))}</p>' if notes else ""
    return f"<section><h3>{escape(name)}</h3>{''.join(pieces)}{note}</section>"


def _link(image: re.Match[str]) -> str:
    return f'<a href="{image[1]}">{escape(tr("exported.image"))} {image[2]}</a>'


def _typed(text: str) -> str:
    return f"<pre>{escape(text)}</pre>" if text.strip() else ""
