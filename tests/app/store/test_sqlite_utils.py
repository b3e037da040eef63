"""What the store asks of sqlite-utils is still there: a failure names what a new version took away."""

import inspect

import pytest
from sqlite_utils import Database, Migrations
from sqlite_utils.db import Table

from app.store.migrations import migrations, step_names

USED = (
    (Database, "__init__", ("memory", "execute_plugins", "recursive_triggers")),
    (Database, "atomic", ()),
    (Database, "enable_wal", ()),
    (Database, "execute", ()),
    (Database, "query", ()),
    (Database, "register_function", ("name", "deterministic")),
    (Database, "table_names", ()),
    (Table, "create", ("pk", "not_null", "defaults", "foreign_keys")),
    (Table, "create_index", ()),
    (Table, "enable_fts", ("tokenize", "create_triggers")),
    (Table, "insert", ()),
    (Table, "update", ()),
    (Table, "upsert", ("pk",)),
    (Migrations, "__call__", ("name",)),
    (Migrations, "applied", ()),
    (Migrations, "apply", ("stop_before",)),
    (Migrations, "pending", ()),
)


@pytest.mark.parametrize(("owner", "method", "parameters"), USED, ids=lambda value: getattr(value, "__name__", None))
def test_a_method_that_the_store_calls_is_there(owner: type, method: str, parameters: tuple[str, ...]) -> None:
    assert hasattr(owner, method), f"sqlite-utils no longer has {owner.__name__}.{method}"
    gone = set(parameters) - set(inspect.signature(getattr(owner, method)).parameters)
    assert not gone, f"sqlite-utils' {owner.__name__}.{method} no longer takes {', '.join(sorted(gone))}"


def test_a_step_and_the_record_of_it_are_written_together() -> None:
    """`app.store.migrations` relies on it: a step that fails leaves neither."""
    steps, db = Migrations("some"), Database(memory=True)

    @steps(name="broken")
    def broken(db: Database) -> None:
        db.execute("CREATE TABLE half (id)")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        steps.apply(db)
    assert [step.name for step in steps.pending(db)] == ["broken"]
    assert "half" not in db.table_names()
    db.close()


def test_the_names_of_all_steps_are_known_without_a_database() -> None:
    db = Database(memory=True)
    migrations.apply(db)
    assert step_names(migrations) == {step.name for step in migrations.applied(db)}
    db.close()
