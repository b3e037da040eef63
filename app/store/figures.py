"""The kept figures of answers, newest first, with what a report needs beside them. Texts stay where they are, but for
their number of words."""

from dataclasses import dataclass
from datetime import datetime

from app.store import rows
from app.store.origins import AnswerOrigins, origins_of_row
from app.store.records import RunRecord
from app.store.store import Store

MOST = 2000  # runs that are read, the newest ones


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """One run of an answer. `compared`: it is the plain lane of a comparison."""

    run_id: int
    message_id: int
    conversation_id: int
    title: str
    record: RunRecord
    words_per_token: float
    origins: AnswerOrigins | None
    compared: bool

    @property
    def created(self) -> datetime:
        return self.record.created


def kept_runs(store: Store, conversation_id: int | None = None, most: int = MOST) -> tuple[list[KeptRun], int]:
    """The newest runs of a conversation, or of all that are not deleted, each once; and how many were not read."""
    which = "c.deleted IS NULL" if conversation_id is None else "c.deleted IS NULL AND c.id = ?"
    given = [] if conversation_id is None else [conversation_id]
    joined = (
        "FROM runs r JOIN messages m ON m.id = r.message_id JOIN conversations c ON c.id = m.conversation_id "
        f"WHERE {which}"
    )
    with store.transaction() as db:
        number = int(next(iter(db.query(f"SELECT count(*) AS number {joined}", given)))["number"])
        found = list(
            db.query(
                "SELECT r.id, r.message_id, r.record, c.id AS conversation_id, c.title, m.text, m.token_ids, "
                "(SELECT o.record FROM origins o WHERE o.run_id = r.id) AS origins "
                f"{joined} ORDER BY r.id DESC LIMIT ?",
                [*given, most],
            )
        )
    kept: list[KeptRun] = []
    seen = set()  # a branch copies runs
    for row in found:
        for record in rows.runs(row):
            if (record.created, record.mode, record.stats.num_tokens) in seen:
                continue
            seen.add((record.created, record.mode, record.stats.num_tokens))
            later = kept[-1] if kept and kept[-1].message_id == row["message_id"] else None
            num_tokens = row["token_ids"].count(",") + 1
            kept.append(
                KeptRun(
                    run_id=row["id"],
                    message_id=row["message_id"],
                    conversation_id=row["conversation_id"],
                    title=row["title"],
                    record=record,
                    words_per_token=min(1.0, len(row["text"].split()) / num_tokens),
                    origins=origins_of_row(row["id"], row["origins"]) if row["origins"] is not None else None,
                    compared=record.mode == "plain" and later is not None and later.record.verdict is not None,
                )
            )
    return kept, number - len(found)
