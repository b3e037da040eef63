"""Databases as each released version wrote them, by its own code: all is there, and can be written on.

The files are in `tests/data/databases`, one for each step of the schema, named as the step that it ends with.
"""

import gzip
from pathlib import Path

import pytest

from app.exchange.own import export_json
from app.store.migrations import migrations, step_names
from app.store.records import ConversationSettings
from app.store.store import Store
from tests.faults.surroundings import OLD_DATABASES, kept_rows

FILES = sorted(OLD_DATABASES.glob("*.db.gz"))


def test_every_step_but_the_newest_has_a_file() -> None:
    """The one that comes with a new step is written before it, with `Store` as it then is."""
    assert {file.name.removesuffix(".db.gz") for file in FILES} >= set(sorted(step_names(migrations))[:-1])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".db.gz"))
def test_a_database_of_an_older_version(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "slipstream.db"
    path.write_bytes(gzip.decompress(file.read_bytes()))
    before = kept_rows(path)
    assert len([row for row in before if row[0] == "messages"]) >= 17
    store = Store(path)
    try:
        assert [row for row in before if row not in kept_rows(path)] == []
        chat = store.conversations("東京")[0]
        assert (chat.title, len(store.all_messages(chat.id))) == ("Über Köche: 東京へ", 5)
        assert "Asked before the power went" in export_json(store)
        assert [m.status for m in store.path(store.conversations("power went")[0].id)] == ["complete", "interrupted"]
        added = store.new_conversation(ConversationSettings(), "new")
        store.add_message(added.id, None, "user", "written by this version")
        assert [line.id for line in store.conversations("this version")] == [added.id]
    finally:
        store.close()
    Store(path).close()
    assert [each.name for each in tmp_path.glob("*-before-*")] == []
