"""The steps of the database's schema, oldest first. A released step is never edited: a change is a new step.

Each step and the record of it are one transaction, so that a crash in the middle leaves the step before it.
"""

from sqlite_utils import Database, Migrations

from app.store import purge

APPLICATION_ID = 0x534C5053  # "SLPS" in the file's header: this file is ours, whatever its name

migrations = Migrations("slipstream")


def step_names(steps: Migrations) -> set[str]:
    """The names of all steps: those that an empty database lacks."""
    empty = Database(memory=True)
    try:
        return {step.name for step in steps.pending(empty)}
    finally:
        empty.close()


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


@migrations(name="0002_index_at_the_end")  # type: ignore[untyped-decorator]
def index_at_the_end(db: Database) -> None:
    """Index a message only while it is not streaming, and a title only when it changes.

    An answer that grows is saved every second: indexing all of it each time costs the square of its length. Search
    reads streaming messages themselves; the partial index finds them.
    """
    db.execute("UPDATE messages SET status = 'interrupted' WHERE status = 'streaming'")  # so that all are indexed
    for name in ("conversations_au", "messages_ai", "messages_ad", "messages_au"):
        db.execute(f"DROP TRIGGER {name}")
    db.execute("CREATE INDEX messages_streaming ON messages (id) WHERE status = 'streaming'")
    drop = "INSERT INTO {0}_fts ({0}_fts, rowid, {1}) SELECT 'delete', old.id, old.{1}"
    add = "INSERT INTO {0}_fts (rowid, {1}) SELECT new.id, new.{1}"
    titles = drop.format("conversations", "title"), add.format("conversations", "title")
    texts = drop.format("messages", "text"), add.format("messages", "text")
    was, comes = "WHERE old.status <> 'streaming'", "WHERE new.status <> 'streaming'"
    db.execute(
        "CREATE TRIGGER conversations_au AFTER UPDATE OF title ON conversations WHEN old.title <> new.title "
        f"BEGIN {titles[0]}; {titles[1]}; END"
    )
    db.execute(f"CREATE TRIGGER messages_ai AFTER INSERT ON messages BEGIN {texts[1]} {comes}; END")
    db.execute(f"CREATE TRIGGER messages_ad AFTER DELETE ON messages BEGIN {texts[0]} {was}; END")
    db.execute(
        "CREATE TRIGGER messages_au AFTER UPDATE OF text, status ON messages WHEN old.text <> new.text OR "
        "(old.status = 'streaming') <> (new.status = 'streaming') "
        f"BEGIN {texts[0]} {was}; {texts[1]} {comes}; END"
    )
    if db["conversations"].count:
        purge.mark(db, purge.TITLES)  # before this step deleted text stayed there
        purge.mark(db, purge.TEXTS)


@migrations(name="0003_drafts")  # type: ignore[untyped-decorator]
def drafts(db: Database) -> None:
    """What a person has written into the message box and not sent yet, for each conversation."""
    db.execute("ALTER TABLE conversations ADD COLUMN draft TEXT NOT NULL DEFAULT ''")


@migrations(name="0004_origins")  # type: ignore[untyped-decorator]
def origins(db: Database) -> None:
    """Where the tokens of each run came from; it goes with its run, and so with its message."""
    db.execute(
        "CREATE TABLE origins ("
        "run_id INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE, "
        "message_id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE, "
        "length INTEGER NOT NULL, "  # characters of the message's text that the run wrote
        "text_check INTEGER NOT NULL, "  # of those: the record holds for no other text
        "record BLOB NOT NULL)"
    )
    db["origins"].create_index(["message_id"])


@migrations(name="0005_texts_to_draft_from")  # type: ignore[untyped-decorator]
def texts_to_draft_from(db: Database) -> None:
    """Texts that came from a file for drafts alone: they are no conversation."""
    db["memory_texts"].create(
        {"id": int, "title": str, "texts": str, "created": str}, pk="id", not_null={"title", "texts", "created"}
    )


@migrations(name="0006_attachments")  # type: ignore[untyped-decorator]
def attachments(db: Database) -> None:
    """What was attached to a message, as text; without a message it waits in the message box, without a conversation in
    that of the next chat."""
    db["attachments"].create(
        {"id": int, "conversation_id": int, "message_id": int, "name": str, "kind": str, "size": int, "text": str},
        pk="id",
        not_null={"name", "kind", "size", "text"},
        foreign_keys=[("conversation_id", "conversations", "id"), ("message_id", "messages", "id")],
    )
    db["attachments"].create_index(["conversation_id"])
    db["attachments"].create_index(["message_id"])


@migrations(name="0007_labels_and_archive")  # type: ignore[untyped-decorator]
def labels_and_archive(db: Database) -> None:
    """Labels that conversations have, and whether they are out of the list."""
    db.execute("ALTER TABLE conversations ADD COLUMN archived INTEGER NOT NULL DEFAULT 0")
    db.execute(
        "CREATE TABLE labels ("
        "conversation_id INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE, "
        "name TEXT NOT NULL, PRIMARY KEY (conversation_id, name)) WITHOUT ROWID"
    )
    db["labels"].create_index(["name"])


@migrations(name="0008_first_words")  # type: ignore[untyped-decorator]
def first_words(db: Database) -> None:
    """Whether a title is the first words of the chat, which the model may put a better one in place of."""
    db.execute("ALTER TABLE conversations ADD COLUMN first_words INTEGER NOT NULL DEFAULT 0")


@migrations(name="0009_search_in_attachments")  # type: ignore[untyped-decorator]
def search_in_attachments(db: Database) -> None:
    """Index what is attached to messages from when they are sent: what is taken away before leaves no trace there."""
    db.execute("CREATE VIRTUAL TABLE attachments_fts USING FTS5 (text, tokenize='trigram', content=attachments)")
    sent = "INSERT INTO attachments_fts (rowid, text) SELECT id, text FROM attachments WHERE message_id IS NOT NULL"
    db.execute(sent)
    new = "INSERT INTO attachments_fts (rowid, text) VALUES (new.id, new.text)"
    old = "INSERT INTO attachments_fts (attachments_fts, rowid, text) VALUES ('delete', old.id, old.text)"
    db.execute(
        f"CREATE TRIGGER attachments_ai AFTER INSERT ON attachments WHEN new.message_id IS NOT NULL BEGIN {new}; END"
    )
    db.execute(
        "CREATE TRIGGER attachments_au AFTER UPDATE OF message_id ON attachments "
        f"WHEN old.message_id IS NULL AND new.message_id IS NOT NULL BEGIN {new}; END"
    )
    db.execute(
        f"CREATE TRIGGER attachments_ad AFTER DELETE ON attachments WHEN old.message_id IS NOT NULL BEGIN {old}; END"
    )
