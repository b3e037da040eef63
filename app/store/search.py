"""Search over titles, messages and attachments: any part of a word, in any script, whatever the query holds.

The trigram index finds parts of three characters and more; shorter ones, such as most Chinese words, are searched for
in the texts themselves. Spaces separate words, quotes enclose phrases; a title, a message or an attachment must contain
them all.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from sqlite_utils import Database

from app.store import rows
from app.store.records import ConversationSummary

SHORTEST_INDEXED = 3  # characters: a trigram
SNIPPET_BEFORE, SNIPPET_AFTER = 16, 80  # characters around what was found
MAX_WORDS = 32  # of a query; further ones are ignored

_WORDS = re.compile(r'"([^"]+)"|(\S+)')


def prepare(db: Database) -> None:
    """Register the function that the queries here call."""
    db.register_function(holds, name="holds", deterministic=True)


def holds(text: str, word: str) -> bool:
    return word in text.casefold()


def words_of(query: str) -> list[str]:
    """The different words of the query; a phrase in quotes counts as one.

    >>> words_of('say "good morning" to "Ann')
    ['say', 'good morning', 'to', 'Ann']
    """
    query = query.encode("utf-8", "replace").decode()  # half a character is in no text
    printable = "".join(character if character.isprintable() else " " for character in query)
    found = (phrase or word.strip('"') for phrase, word in _WORDS.findall(printable))
    return list(dict.fromkeys(word for word in found if word.strip()))[:MAX_WORDS]


def conversations(
    db: Database, query: str, limit: int, *, archived: bool | None = None, label: str | None = None
) -> list[ConversationSummary]:
    """The conversations that match, or all without a query: pinned ones first, then the newest."""
    words = words_of(query)
    given = {"limit": limit, "archived": archived, "label": label}
    if not words:
        every = "SELECT id AS conversation_id, NULL AS message_id, NULL AS attachment_id FROM conversations"
        return _summaries(db, list(db.query(_list(every), given)), [])
    titles, parameters = _matching("conversations", "title", words)
    texts, _ = _matching("messages", "text", words)
    growing = " AND ".join(f"holds(text, :word{number})" for number in range(len(words)))
    texts = f"{texts} OR (status = 'streaming' AND {growing})"  # an answer is indexed at its end
    attached, _ = _matching("attachments", "text", words)
    found = f"""
        SELECT id AS conversation_id, NULL AS message_id, NULL AS attachment_id FROM conversations WHERE {titles}
        UNION ALL SELECT conversation_id, max(id), NULL FROM messages WHERE {texts} GROUP BY conversation_id
        UNION ALL SELECT conversation_id, NULL, max(id) FROM attachments
            WHERE message_id IS NOT NULL AND {attached} GROUP BY conversation_id"""
    return _summaries(db, list(db.query(_list(found), parameters | given)), words)


def _list(found: str) -> str:
    return f"""
        SELECT c.id, c.title, c.updated, c.pinned, c.archived, m.id AS message_id, m.text, f.attachment_id
        FROM (SELECT conversation_id, max(message_id) AS message_id, max(attachment_id) AS attachment_id
            FROM ({found}) GROUP BY conversation_id) AS f
        JOIN conversations AS c ON c.id = f.conversation_id
        LEFT JOIN messages AS m ON m.id = f.message_id
        WHERE c.deleted IS NULL AND (:archived IS NULL OR c.archived = :archived)
            AND (:label IS NULL OR c.id IN (SELECT conversation_id FROM labels WHERE name = :label))
        ORDER BY c.pinned DESC, c.updated DESC, c.id DESC
        LIMIT :limit"""


def _matching(table: str, column: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    """A condition on the table, and its parameters, which are the same for every table."""
    parameters: dict[str, Any] = {f"word{number}": word.casefold() for number, word in enumerate(words)}
    short = [number for number, word in enumerate(words) if len(word) < SHORTEST_INDEXED]
    conditions = [f"holds({column}, :word{number})" for number in short]
    if indexed := [word for word in words if len(word) >= SHORTEST_INDEXED]:
        conditions.insert(0, f"id IN (SELECT rowid FROM {table}_fts WHERE {table}_fts MATCH :indexed)")
        parameters["indexed"] = " ".join('"' + word.replace('"', '""') + '"' for word in indexed)
    return " AND ".join(conditions), parameters


def labels_of(db: Database, ids: Iterable[int]) -> dict[int, list[str]]:
    """The labels of each of these conversations that has any, in their order."""
    found: dict[int, list[str]] = {}
    wanted = "SELECT conversation_id, name FROM labels WHERE conversation_id IN (SELECT value FROM json_each(?))"
    for row in db.query(wanted, [json.dumps(list(ids))]):
        found.setdefault(row["conversation_id"], []).append(row["name"])
    return {id: sorted(names, key=str.casefold) for id, names in found.items()}


def _summaries(db: Database, found: list[dict[str, Any]], words: list[str]) -> list[ConversationSummary]:
    labels = labels_of(db, [row["id"] for row in found])
    for row in found:
        if row["message_id"] is None and row["attachment_id"] is not None:  # only what is attached holds the words
            (one,) = db.query("SELECT message_id, name, text FROM attachments WHERE id = ?", [row["attachment_id"]])
            row |= {"message_id": one["message_id"], "text": one["text"], "attached": one["name"]}
    return [_summary(row, words, labels.get(row["id"], [])) for row in found]


def _summary(row: dict[str, Any], words: list[str], labels: list[str]) -> ConversationSummary:
    found_in = snippet(row["text"], words) if row["text"] else ""
    return ConversationSummary(
        id=row["id"],
        title=row["title"],
        updated=rows.date(row, "updated", "conversation"),
        snippet=" ".join(filter(None, [f"{row['attached']}:" if "attached" in row else "", found_in])),
        message_id=row["message_id"],
        pinned=bool(row["pinned"]),
        archived=bool(row["archived"]),
        labels=tuple(labels),
    )


def snippet(text: str, words: list[str]) -> str:
    """The text around the first word that it contains, on one line."""
    folded = text.casefold()
    found = [position for word in words if (position := folded.find(word.casefold())) >= 0]
    position = min(found, default=0)
    start, end = max(position - SNIPPET_BEFORE, 0), position + SNIPPET_AFTER
    cut = " ".join(text[start:end].split())
    return ("…" if start else "") + cut + ("…" if end < len(text) else "")
