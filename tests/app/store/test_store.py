"""Conversations, messages, runs and settings, kept over a restart and used from many threads."""

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.exchange.own import export_json, import_json
from app.store.errors import NotFound
from app.store.records import ConversationSettings, RunRecord
from app.store.rows import UNKNOWN_DATE
from app.store.store import Store
from engine.config import Sampling
from engine.events import Certificate, Divergence, Verdict
from engine.metrics import GenerationStats

SETTINGS = ConversationSettings(
    system="Be brief.",
    sampling=Sampling(temperature=0.7, top_k=20),
    max_tokens=99,
    mode="plain",
    thinking=False,
    seed=7,
)


def make_stats(rounds: int = 3) -> GenerationStats:
    return GenerationStats(
        num_prompt_tokens=9,
        num_reused_tokens=2,
        num_tokens=2 * rounds,
        num_committed=2 * rounds,
        draft_sizes=(4,) * rounds,
        accepted_lengths=(1,) * rounds,
        prefill_s=0.1,
        ttft_s=0.11,
        decode_s=0.3,
        draft_s=0.001,
        plain_round_s=None,
    )


def make_run(seed: int = 3) -> RunRecord:
    return RunRecord(
        model="starter",
        mode="adaptive",
        sampling=Sampling(temperature=0.5, seed=seed),
        stop_reason="eos",
        stats=make_stats(),
        certificate=Certificate(setting="exact", tier="B", widths=(16,)),
        created=datetime(2026, 1, 31, 9, 30, tzinfo=UTC),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "slipstream.db"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    store = Store(file)
    yield store
    store.close()


def reopened(store: Store) -> Store:
    store.close()
    return Store(store.file)


def test_a_conversation_is_the_same_after_a_restart(store: Store) -> None:
    conversation = store.new_conversation(SETTINGS, "First")
    question = store.add_message(conversation.id, None, "user", "Hello\n\n  indented é 東京 🎈")
    answer = store.add_message(conversation.id, question.id, "assistant", "Hi", token_ids=[5, 0, 70_000])
    store.add_run(answer.id, make_run())
    before = store.conversation(conversation.id), store.path(conversation.id)
    store = reopened(store)
    assert (store.conversation(conversation.id), store.path(conversation.id)) == before
    assert before[0].settings == SETTINGS
    assert before[1][0].text == "Hello\n\n  indented é 東京 🎈"
    assert before[1][1].token_ids == (5, 0, 70_000)
    assert before[1][1].run == make_run()
    store.close()


def test_a_run_keeps_every_figure_of_a_comparison(store: Store) -> None:
    divergence = Divergence(position=4, plain_id=None, adaptive_id=17, margin=float("inf"))
    verdict = Verdict(
        identical=False,
        num_compared=4,
        divergence=divergence,
        plain=make_stats(4),
        adaptive=make_stats(2),
        speedup=1.75,
        complete=True,
    )
    conversation = store.new_conversation(ConversationSettings())
    answer = store.add_message(conversation.id, None, "assistant", "x")
    runs = (replace(make_run(), mode="plain"), replace(make_run(), verdict=verdict))
    for run in runs:
        store.add_run(answer.id, run)
    assert store.message(answer.id).runs == runs
    assert store.message(answer.id).run == runs[1]
    assert (runs[1].seed, runs[1].exactness, runs[1].tier) == (3, "exact", "B")


def test_streaming_messages_are_interrupted_after_a_restart(store: Store) -> None:
    conversation = store.new_conversation(ConversationSettings())
    question = store.add_message(conversation.id, None, "user", "?")
    answer = store.add_message(conversation.id, question.id, "assistant", "half of it", status="streaming")
    store = reopened(store)
    assert [message.status for message in store.path(conversation.id)] == ["complete", "interrupted"]
    assert store.message(answer.id).text == "half of it"
    store.close()


def test_the_newest_conversation_comes_first_and_pinned_ones_before(store: Store) -> None:
    old = datetime.now(UTC) - timedelta(days=1)
    first = store.new_conversation(ConversationSettings(), "first", created=old)
    second = store.new_conversation(ConversationSettings(), "second", created=old + timedelta(seconds=1))
    assert [line.id for line in store.conversations()] == [second.id, first.id]
    store.add_message(first.id, None, "user", "news")
    assert [line.id for line in store.conversations()] == [first.id, second.id]
    store.pin(second.id, True)
    assert [line.title for line in store.conversations()] == ["second", "first"]
    assert store.conversation(second.id).pinned
    assert len(store.conversations(limit=1)) == 1


def test_titles_are_one_line_and_an_automatic_one_never_replaces_a_persons(store: Store) -> None:
    conversation = store.new_conversation(ConversationSettings())
    store.set_title(conversation.id, " a\n b\0 \ud800")
    assert store.conversation(conversation.id).title == "a b ?"
    store.rename(conversation.id, "mine")
    store.set_title(conversation.id, "other")
    assert store.conversation(conversation.id).title == "mine"
    store.rename(conversation.id, "x" * 500)
    assert len(store.conversation(conversation.id).title) == 200
    with pytest.raises(ValueError, match="title is empty"):
        store.rename(conversation.id, " \n ")


def test_a_deleted_conversation_can_be_brought_back_until_it_leaves_the_trash(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store.new_conversation(ConversationSettings(), "kept")
    gone = store.new_conversation(ConversationSettings(), "gone")
    message = store.add_message(gone.id, None, "user", "secret words")
    message = store.add_message(gone.id, message.id, "assistant", "secret answer")
    store.add_run(message.id, make_run())
    store.delete(gone.id)
    assert [line.id for line in store.conversations()] == [kept.id]
    assert store.conversations("secret") == []
    with pytest.raises(NotFound, match="There is no conversation"):
        store.path(gone.id)
    store.restore(gone.id)
    assert [message.text for message in store.path(gone.id)] == ["secret words", "secret answer"]
    store.delete(gone.id)
    store = reopened(store)
    assert [line.title for line in store.trash()] == ["gone"]
    store.restore(gone.id)
    store.delete(gone.id)
    monkeypatch.setattr("app.store.dates.TRASH_DAYS", 0)
    store = reopened(store)
    assert store.trash() == []
    with pytest.raises(NotFound, match="gone for good"):
        store.restore(gone.id)
    assert [line.id for line in store.conversations()] == [kept.id]
    store.close()
    with sqlite3.connect(store.file) as db:
        assert db.execute("SELECT count(*) FROM messages").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM messages_fts WHERE messages_fts MATCH 'secret'").fetchone() == (0,)
    db.close()
    assert b"secret" not in store.file.read_bytes()


def test_settings_are_each_conversations_own(store: Store) -> None:
    one = store.new_conversation(ConversationSettings())
    other = store.new_conversation(ConversationSettings())
    store.save_settings(one.id, SETTINGS)
    assert store.conversation(one.id).settings == SETTINGS
    assert store.conversation(other.id).settings == ConversationSettings()


@pytest.mark.parametrize("date", ["junk", "", "2026-01-31T09:30:00", "0001-01-01T00:00:00+23:00"])
def test_a_damaged_date_falls_back_and_is_logged(store: Store, caplog: pytest.LogCaptureFixture, date: str) -> None:
    conversation = store.new_conversation(SETTINGS, "kept")
    message = store.add_message(conversation.id, None, "user", "a question")
    other = store.new_conversation(SETTINGS, "other")
    with store.transaction() as db:
        db.execute("UPDATE conversations SET created = ?, updated = ? WHERE id = ?", [date, date, conversation.id])
        db.execute("UPDATE messages SET created = ?", [date])
    read = store.conversation(conversation.id)
    assert (read.title, read.created, read.updated) == ("kept", UNKNOWN_DATE, UNKNOWN_DATE)
    assert store.message(message.id) == replace(message, created=UNKNOWN_DATE)
    assert {found.id for found in store.conversations()} == {conversation.id, other.id}
    assert len(import_json(store, export_json(store))) == 2
    assert f"The field updated of conversation {conversation.id} is damaged" in caplog.text
    assert f"The field created of message {message.id} is damaged" in caplog.text


def test_a_damaged_role_or_status_falls_back_and_is_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    conversation = store.new_conversation(SETTINGS)
    message = store.add_message(conversation.id, None, "user", "a question")
    with store.transaction() as db:
        db.execute("UPDATE messages SET role = 'tool', status = 'done'")
    assert store.message(message.id) == replace(message, role="user", status="interrupted")
    assert "role must be one of" in caplog.text
    assert "status must be one of" in caplog.text


def test_damaged_values_fall_back_and_are_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    conversation = store.new_conversation(SETTINGS)
    message = store.add_message(conversation.id, None, "assistant", "whole", token_ids=[1])
    store.add_run(message.id, make_run())
    with store.transaction() as db:
        db.execute("""UPDATE conversations SET settings = '{"max_tokens": "many"}'""")
        db.execute("UPDATE messages SET token_ids = '[1, \"x\"]'")
        db.execute("UPDATE runs SET record = 'nothing'")
        db.execute("INSERT INTO settings VALUES ('key', '{')")
    assert store.conversation(conversation.id).settings == ConversationSettings()
    found = store.path(conversation.id)[0]
    assert (found.text, found.token_ids, found.runs) == ("whole", (), ())
    assert store.get_setting("key", 5) == 5
    text = caplog.text
    assert 'settings.max_tokens must be a whole number; got "many"' in text
    assert 'token_ids[1] must be a whole number; got "x"' in text
    assert "run is not JSON" in text
    assert "setting key is damaged" in text


def test_app_settings_hold_any_json_value(store: Store) -> None:
    assert store.get_setting("theme", "system") == "system"
    for value in ("dark", None, 3.5, [1, "é"], {"a": {"b": []}}):
        store.set_setting("theme", value)
        assert store.get_setting("theme", "system") == value


def test_what_is_not_there_is_said(store: Store) -> None:
    conversation = store.new_conversation(ConversationSettings())
    other = store.new_conversation(ConversationSettings())
    message = store.add_message(other.id, None, "user", "x")
    for call in (
        lambda: store.conversation(99),
        lambda: store.add_message(99, None, "user", "x"),
        lambda: store.save_settings(99, SETTINGS),
        lambda: store.delete(99),
    ):
        with pytest.raises(NotFound, match="There is no conversation 99"):
            call()
    for call in (
        lambda: store.message(99),
        lambda: store.select(99),
        lambda: store.add_run(99, make_run()),
        lambda: store.update_message(99, "x", (), "complete"),
        lambda: store.add_message(conversation.id, 99, "user", "x"),
    ):
        with pytest.raises(NotFound, match="There is no message 99"):
            call()
    with pytest.raises(ValueError, match="belongs to another conversation"):
        store.add_message(conversation.id, message.id, "user", "x")
    with pytest.raises(NotFound, match="has no message"):
        store.path(conversation.id, message.id)
    assert store.path(conversation.id) == []


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    def fail() -> None:
        with store.transaction():
            store.new_conversation(ConversationSettings(), "never")
            with store.transaction():
                store.set_setting("a", 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.conversations() == []
    assert store.get_setting("a") is None


def test_many_threads_share_the_store(store: Store) -> None:
    conversation = store.new_conversation(ConversationSettings())
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(20):
                message = store.add_message(conversation.id, None, "user", f"{name} {number}")
                store.update_message(message.id, f"{name} {number}!", (number,), "complete")
                store.path(conversation.id)
                store.conversations(name)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(f"worker{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    messages = store.all_messages(conversation.id)
    assert len(messages) == 80
    assert sorted(message.text for message in messages) == sorted(
        f"worker{w} {n}!" for w in range(4) for n in range(20)
    )


def test_the_file_is_in_wal_mode_with_foreign_keys(store: Store) -> None:
    with store.transaction() as db:
        assert db.journal_mode == "wal"
        assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)
        with pytest.raises(sqlite3.IntegrityError):
            db["runs"].insert({"message_id": 12345, "record": "{}"})


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"max_tokens": 0}, "max_tokens must be between"),
        ({"max_tokens": True}, "max_tokens must be a whole number"),
        ({"mode": "turbo"}, "mode must be one of adaptive, plain"),
        ({"drafter": "eagle"}, "drafter must be one of adaptive, prompt-lookup"),
        ({"exactness": "loose"}, "exactness must be one of exact, fast"),
        ({"thinking": "yes"}, "thinking must be"),
        ({"system": None}, "system prompt must be text"),
        ({"system": "x" * 200_001}, "200,001 characters; at most 200,000"),
        ({"seed": -1}, "seed must be between"),
    ],
)
def test_settings_are_checked(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ConversationSettings(**values)  # type: ignore[arg-type]
