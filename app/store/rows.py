"""Rows of the database as records. A damaged field takes its default, with a line in the log."""

import json
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from app.store.records import Attachment, Conversation, ConversationSettings, RunRecord, Status, StoredMessage
from app.store.tree import MessageTree
from engine import codec
from engine.config import Role

log = logging.getLogger(__name__)

T = TypeVar("T")

UNKNOWN_DATE = datetime(1970, 1, 1, tzinfo=UTC)  # instead of a damaged one


def ids_text(token_ids: Iterable[int]) -> str:
    return json.dumps(list(token_ids), separators=(",", ":"))


def field(row: dict[str, Any], name: str, kind: Any, default: T, what: str) -> T:
    """The row's value, checked by its type, or the default where it is damaged; `what` names the row in the log."""
    try:
        value: T = codec.load(kind, row[name], name)
    except ValueError as exc:
        log.warning("The field %s of %s %s is damaged (%s); %s is used.", name, what, row["id"], exc, default)
        return default
    return value


def date(row: dict[str, Any], name: str, what: str) -> datetime:
    return field(row, name, datetime, UNKNOWN_DATE, what)


def conversation(row: dict[str, Any], labels: Sequence[str] = ()) -> Conversation:
    try:
        settings = codec.load_settings(ConversationSettings, codec.parse(row["settings"], "settings"), "settings")
    except ValueError as exc:
        log.warning("The settings of conversation %s are damaged (%s); the defaults are used.", row["id"], exc)
        settings = ConversationSettings()
    return Conversation(
        id=row["id"],
        title=row["title"],
        created=date(row, "created", "conversation"),
        updated=date(row, "updated", "conversation"),
        settings=settings,
        tip_id=row["tip_id"],
        pinned=bool(row["pinned"]),
        archived=bool(row["archived"]),
        labels=tuple(labels),
    )


def attachment(row: dict[str, Any]) -> Attachment:
    return Attachment(id=row["id"], name=row["name"], kind=row["kind"], size=row["size"], text=row["text"])


def message(
    row: dict[str, Any],
    tree: MessageTree,
    records: Sequence[RunRecord],
    attached: Sequence[Attachment] = (),
    *,
    repeats: bool = False,
) -> StoredMessage:
    siblings = tree.siblings(row["id"])
    try:
        token_ids = codec.loads(tuple[int, ...], row["token_ids"], "token_ids")
    except ValueError as exc:
        log.warning("The token ids of message %s are damaged (%s); its text is whole.", row["id"], exc)
        token_ids = ()
    role: Role = field(row, "role", Role, "user", "message")
    status: Status = field(row, "status", Status, "interrupted", "message")
    return StoredMessage(
        id=row["id"],
        conversation_id=row["conversation_id"],
        parent_id=row["parent_id"],
        role=role,
        text=row["text"],
        token_ids=token_ids,
        status=status,
        created=date(row, "created", "message"),
        error=row["error"],
        sibling_index=siblings.index(row["id"]),
        sibling_count=len(siblings),
        repeats=repeats,
        runs=tuple(records),
        attachments=tuple(attached),
    )


def runs(row: dict[str, Any]) -> list[RunRecord]:
    """The row's record, or none with a logged sentence where it is damaged."""
    try:
        return [codec.loads(RunRecord, row["record"], "run")]
    except ValueError as exc:
        log.warning("The figures of run %s are damaged (%s) and left out.", row["id"], exc)
        return []
