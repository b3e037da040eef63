"""Conversations as our own JSON, out and back in.

The JSON is lossless: every branch, status, token id and figure; importing it and exporting again gives the same text.
An import takes nothing on trust, changes nothing unless the whole file is sound, and cleans texts as typed ones are.
A label takes the capitals that it has here. Only a setting may be unsound: it takes its default, as it does wherever
settings are read, and the log says so. What a newer version added is kept, up to a depth and a size.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.store.attachments import MOST, Attachments
from app.store.organising import MOST_LABELS, Organising, clean_label
from app.store.records import Conversation, ConversationSettings, RunRecord, Status, StoredMessage
from app.store.store import Store
from app.store.text import clean_text
from engine import codec
from engine.config import Role
from engine.metrics import GenerationStats

log = logging.getLogger(__name__)

FORMAT = "slipstream-conversations"
VERSION = 1
MAX_TOKEN_ID = 2**31 - 1
SHORTEST_S, LONGEST_S = 1e-6, 1e6  # of a round of a model, and of anything


class ImportRefused(ValueError):
    """The file cannot be imported; one sentence says where and why. Nothing was changed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The file cannot be imported: {reason.rstrip('.')}. Nothing was changed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAttachment:
    name: str
    kind: str
    size: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMessage:
    """A message in a file; `id` counts from 1 in each conversation, and a parent comes before its children."""

    id: int
    parent: int | None
    role: Role
    text: str
    token_ids: tuple[int, ...]
    status: Status
    error: str | None
    created: datetime
    runs: tuple[RunRecord, ...]
    attachments: tuple[FileAttachment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileConversation:
    title: str
    created: datetime
    updated: datetime
    pinned: bool
    settings: ConversationSettings
    tip: int | None
    messages: tuple[FileMessage, ...]
    archived: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    format: str
    version: int
    conversations: tuple[FileConversation, ...]


def export_json(store: Store, ids: Sequence[int] | None = None) -> str:
    """Export these conversations, or all; an answer that is still growing is exported as `interrupted`."""
    with store.transaction():
        chosen = sorted(ids) if ids is not None else store.conversation_ids()
        conversations = tuple(_file_conversation(store, store.conversation(i)) for i in chosen)
    file = File(format=FORMAT, version=VERSION, conversations=conversations)
    return json.dumps(codec.dump(file), ensure_ascii=False, allow_nan=False, indent=1)


def import_json(store: Store, text: str) -> list[int]:
    """Add the conversations of a file, all or none, and return their ids; raises `ImportRefused`."""
    file = read_file(text)
    with store.transaction():
        return [add(store, conversation) for conversation in file.conversations]


def read_file(text: str) -> File:
    """Parse and check a whole file; raises `ImportRefused`."""
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise ImportRefused(f"it is not JSON ({exc})") from exc
    if not is_file(data):
        raise ImportRefused(f'it is not a Slipstream export (it lacks "format": "{FORMAT}")')
    return checked_file(data)


def is_file(data: Any) -> bool:
    """Whether a parsed file says that it is one of ours."""
    return isinstance(data, dict) and data.get("format") == FORMAT


def checked_file(data: dict[str, Any]) -> File:
    """The conversations of a parsed file; raises `ImportRefused`."""
    check_version(data.get("version"))
    try:
        file = codec.load(File, data, "file")
        for number, conversation in enumerate(file.conversations):
            _check_conversation(conversation, f"file.conversations[{number}]")
    except (ValueError, RecursionError) as exc:
        raise ImportRefused(str(exc)) from exc
    return file


def check_version(version: Any) -> None:
    """Raises `ImportRefused` where a file's version is none that we read."""
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise ImportRefused(
            f"its format version is {version}, and this Slipstream reads up to {VERSION}; import it with a newer one"
        )
    if version != VERSION or isinstance(version, bool):
        raise ImportRefused(f"its format version must be {VERSION}")


def checked_conversation(data: Any, number: int) -> FileConversation:
    """One parsed conversation, the `number`th of its file; raises `ImportRefused`."""
    where = f"file.conversations[{number}]"
    try:
        conversation = codec.load(FileConversation, data, where)
        _check_conversation(conversation, where)
    except (ValueError, RecursionError) as exc:
        raise ImportRefused(str(exc)) from exc
    return conversation


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _check_conversation(conversation: FileConversation, where: str) -> None:
    """Check what types do not say: the links form a tree, the tip is in it, the figures are possible."""
    all_ids = {message.id for message in conversation.messages}
    seen: set[int] = set()
    for number, message in enumerate(conversation.messages):
        here = f"{where}.messages[{number}]"
        if message.id in seen:
            raise ValueError(f"{here}.id {message.id} occurs twice")
        if message.parent is not None and message.parent not in seen:
            if message.parent not in all_ids:
                raise ValueError(f"{here}.parent {message.parent} is not in the file")
            raise ValueError(
                f"{here}.parent {message.parent} does not come before it: there is a cycle, or the order is wrong"
            )
        if len(message.attachments) > MOST or any(one.size < 0 for one in message.attachments):
            raise ValueError(f"{here}.attachments must be {MOST} at most, each of a size that is not negative")
        if any(not 0 <= token_id <= MAX_TOKEN_ID for token_id in message.token_ids):
            raise ValueError(f"{here}.token_ids must be between 0 and {MAX_TOKEN_ID}")
        for run_number, run in enumerate(message.runs):
            _check_run(run, f"{here}.runs[{run_number}]")
        seen.add(message.id)
    if len(conversation.labels) > MOST_LABELS:
        raise ValueError(f"{where}.labels must be {MOST_LABELS} at most")
    for name in conversation.labels:
        try:
            clean_label(name)
        except ValueError as exc:
            raise ValueError(f"{where}.labels cannot be kept: {exc}") from exc
    if conversation.tip is None and seen:
        raise ValueError(f"{where}.tip must name the last message of the branch to show")
    if conversation.tip is not None and conversation.tip not in seen:
        raise ValueError(f"{where}.tip {conversation.tip} is not in the file")


def _check_run(run: RunRecord, where: str) -> None:
    _check_stats(run.stats, f"{where}.stats")
    if run.verdict is not None:
        _check_stats(run.verdict.plain, f"{where}.verdict.plain")
        _check_stats(run.verdict.adaptive, f"{where}.verdict.adaptive")


def _check_stats(stats: GenerationStats, where: str) -> None:
    if len(stats.draft_sizes) != len(stats.accepted_lengths):
        raise ValueError(
            f"{where} has {len(stats.draft_sizes)} draft sizes for {len(stats.accepted_lengths)} accepted lengths"
        )
    pairs = zip(stats.accepted_lengths, stats.draft_sizes, strict=True)
    if any(not 0 <= accepted <= drafted for accepted, drafted in pairs):
        raise ValueError(f"{where} accepts more tokens in a round than were drafted, or fewer than none")
    for name in ("num_prompt_tokens", "num_reused_tokens", "num_tokens", "num_committed"):
        if getattr(stats, name) < 0:
            raise ValueError(f"{where}.{name} must not be negative")
    for name in ("prefill_s", "ttft_s", "decode_s", "draft_s", "plain_round_s"):
        value = getattr(stats, name)
        lowest = SHORTEST_S if name == "plain_round_s" else 0.0
        if value and not lowest <= value <= LONGEST_S:
            raise ValueError(f"{where}.{name} must be a time in seconds, from {lowest:g} to {LONGEST_S:,.0f}")
    if stats.loop is not None and (stats.loop.start < 0 or stats.loop.period < 1):
        raise ValueError(f"{where}.loop must begin at a token and have a period of one token or more")


def _file_conversation(store: Store, conversation: Conversation) -> FileConversation:
    messages = store.all_messages(conversation.id)
    number = {message.id: position for position, message in enumerate(messages, 1)}
    tip_id = conversation.tip_id
    if tip_id is not None and tip_id not in number:
        log.warning("Conversation %s has no message %s to end with; its newest one is taken.", conversation.id, tip_id)
        tip_id = messages[-1].id if messages else None
    return FileConversation(
        title=conversation.title,
        created=conversation.created,
        updated=conversation.updated,
        pinned=conversation.pinned,
        archived=conversation.archived,
        labels=conversation.labels,
        settings=conversation.settings,
        tip=number[tip_id] if tip_id is not None else None,
        messages=tuple(_file_message(message, number) for message in messages),
    )


def _file_message(message: StoredMessage, number: dict[int, int]) -> FileMessage:
    return FileMessage(
        id=number[message.id],
        parent=number[message.parent_id] if message.parent_id is not None else None,
        role=message.role,
        text=message.text,
        token_ids=message.token_ids,
        status=_settled(message.status),
        error=message.error,
        created=message.created,
        runs=message.runs,
        attachments=tuple(
            FileAttachment(name=one.name, kind=one.kind, size=one.size, text=one.text) for one in message.attachments
        ),
    )


def _settled(status: Status) -> Status:
    return "interrupted" if status == "streaming" else status


def add(store: Store, conversation: FileConversation) -> int:
    """Store one conversation of a checked file, all of it or nothing, and return its id."""
    with store.transaction():
        return _add(store, conversation)


def _add(store: Store, conversation: FileConversation) -> int:
    added = store.new_conversation(
        conversation.settings,
        conversation.title,
        created=conversation.created,
        pinned=conversation.pinned,
        archived=conversation.archived,
        labels=Organising(store).known(map(clean_label, conversation.labels)) if conversation.labels else (),
    )
    ids: dict[int, int] = {}
    attachments = Attachments(store)
    for message in conversation.messages:
        ids[message.id] = store.insert_message(
            added.id,
            ids[message.parent] if message.parent is not None else None,
            message.role,
            clean_text(message.text),
            token_ids=message.token_ids,
            status=_settled(message.status),
            error=clean_text(message.error) if message.error is not None else None,
            created=message.created,
        )
        for run in message.runs:
            store.add_run(ids[message.id], run)
        for one in message.attachments:
            attachments.insert(added.id, ids[message.id], one.name, one.kind, one.size, one.text)
    if conversation.tip is not None:
        store.place_tip(ids[conversation.tip])
    store.touch(added.id, conversation.updated)
    return added.id
