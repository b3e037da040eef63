"""The database's steps, oldest first. A step that has been released is never edited: a change is a new step.

Each step runs in one transaction with the record of itself, so a crash in the middle leaves the step before it.
"""

from sqlite_utils import Database, Migrations

APPLICATION_ID = 0x534C5053  # "SLPS" in the file's header: this file is ours, whatever its name

migrations = Migrations("slipstream")


@migrations(name="0001_conversations")  # type: ignore[untyped-decorator]
def conversations(db: Database) -> None:
    """Conversations, their message trees, the runs behind the answers, settings, and a search index.

    `tip_id` has no foreign key, because conversations and messages would then name each other; `Store` moves the
    tip in the transaction that adds the message. The trigram tokeniser finds parts of words, Chinese and Japanese.
    """
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db["conversations"].create(
        {
            "id": int,
            "title": str,
            "created": str,
            "updated": str,
            "settings": str,
            "tip_id": int,
            "pinned": int,
            "deleted": str,  # when it was deleted; it goes for good when the application starts again
        },
        pk="id",
        not_null={"title", "created", "updated", "settings", "pinned"},
        defaults={"title": "", "pinned": 0},
    )
    db["conversations"].create_index(["updated"])
    db["messages"].create(
        {
            "id": int,
            "conversation_id": int,
            "parent_id": int,
            "role": str,
            "text": str,
            "token_ids": str,
            "status": str,
            "error": str,
            "created": str,
        },
        pk="id",
        not_null={"conversation_id", "role", "text", "token_ids", "status", "created"},
        foreign_keys=[("conversation_id", "conversations", "id"), ("parent_id", "messages", "id")],
    )
    db["messages"].create_index(["conversation_id"])
    db["messages"].create_index(["parent_id"])
    db["runs"].create(
        {"id": int, "message_id": int, "record": str},
        pk="id",
        not_null={"message_id", "record"},
        foreign_keys=[("message_id", "messages", "id")],
    )
    db["runs"].create_index(["message_id"])
    db["settings"].create({"key": str, "value": str}, pk="key", not_null={"value"})
    db["conversations"].enable_fts(["title"], tokenize="trigram", create_triggers=True)
    db["messages"].enable_fts(["text"], tokenize="trigram", create_triggers=True)
