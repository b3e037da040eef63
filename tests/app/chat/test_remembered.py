"""The memory as a person looks into it: forgotten, brought back, exported, imported; hostile files change nothing."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.chat.queue import Asker
from app.chat.services import Services
from app.store.memory_texts import FORMAT, MemoryFileRefused, read_file
from app.store.records import ConversationSettings
from app.store.store import Store
from app.view.remembered import remembered
from engine.errors import EngineBusy, EngineError
from tests.scripted import ScriptedEngine, loaded_engine
from tests.turns import PlainEngine, wait_until

FILE = json.dumps(
    {"format": FORMAT, "version": 1, "conversations": [{"title": "Trains", "texts": ["The old station wakes."]}]}
)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    store = Store(tmp_path / "s.db")
    built = Services(loaded_engine(), store)
    for title in ("First", "Second"):
        conversation = store.new_conversation(ConversationSettings(), title)
        store.add_message(conversation.id, None, "user", f"What is {title}?")
        built.imported([conversation.id])
    wait_until(lambda: len(engine_of(built).remembered) == 2)
    yield built
    built.close()
    store.close()


def engine_of(services: Services) -> ScriptedEngine:
    assert isinstance(services.engine, ScriptedEngine)
    return services.engine


def test_it_is_told_by_title_with_what_it_takes(services: Services) -> None:
    told = remembered(services.remembered.look("What is"), services.remembered.title, None, "What is")
    unnamed = remembered(services.remembered.look("What is"), {"1": ""}.get, None, "What is")
    assert [each["title"] for each in (*unnamed["held"], *unnamed["matches"])] == [
        "a chat that was deleted",
        "Untitled",
    ] * 2
    assert [each["title"] for each in told["held"]] == ["Second", "First"]
    assert told["held"][0]["words"] == "3 tokens, 500 kB"  # half of the whole
    assert told["all"] == "6 tokens in 2 chats and texts, of at most 100,000 tokens; 1 MB of main memory"
    assert [match["title"] for match in told["matches"]] == ["Second", "First"]
    assert told["proposals"][0] == {"text": "First?", "percent": 80, "kind": "other", "words": "the chat “First”"}
    one = remembered(services.remembered.look("What is"), services.remembered.title, 2, "What is")
    assert [each["title"] for each in (*one["held"], *one["matches"])] == ["Second", "Second"]


def test_what_is_forgotten_stays_so_until_it_is_undone(services: Services) -> None:
    services.remembered.forget("1")
    assert list(engine_of(services).remembered) == ["2"]
    assert not services.store.conversation(1).settings.memory
    services.remembered.undo()
    wait_until(lambda: "1" in engine_of(services).remembered)
    assert services.store.conversation(1).settings.memory
    services.remembered.undo()  # there is nothing more
    assert services.store.conversation(1).settings.memory


@pytest.mark.parametrize("how", ["forget", "forget_all"])
def test_what_is_forgotten_while_a_fresh_engine_is_told_is_not_told_after_that(
    services: Services, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    services.remembered.take_in(FILE)
    engine = engine_of(services)
    engine.remembered.clear()
    telling, remember = [], engine.remember

    def slowly(key: str, texts: Sequence[str]) -> None:
        """Someone forgets the text when the engine is just about to be told of it."""
        if key == "m1" and not telling:
            forgets = (
                services.remembered.forget_all if how == "forget_all" else lambda: services.remembered.forget("m1")
            )
            telling.append(threading.Thread(target=forgets))
            telling[0].start()
            telling[0].join(0.5)
        remember(key, texts)

    monkeypatch.setattr(engine, "remember", slowly)
    services.remembered.refill()
    telling[0].join()
    assert "m1" not in engine.remembered


def test_a_chat_that_is_forgotten_while_it_is_told_is_forgotten_after_that(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(services)
    telling, remember = [], engine.remember

    def slowly(key: str, texts: Sequence[str]) -> None:
        if not telling:
            telling.append(threading.Thread(target=lambda: services.remembered.forget("1")))
            telling[0].start()
            telling[0].join(0.5)
        remember(key, texts)

    monkeypatch.setattr(engine, "remember", slowly)
    services.restore(1)  # as whatever else brings it in
    telling[0].join()
    assert list(engine.remembered) == ["2"]


def test_all_is_forgotten_and_only_what_was_known_comes_back(services: Services) -> None:
    services.remembered.take_in(FILE)
    services.remembered.forget("2")
    services.remembered.forget_all()
    assert engine_of(services).remembered == {}
    assert services.remembered.look().conversations == ()
    services.remembered.undo()
    wait_until(lambda: len(engine_of(services).remembered) == 2)
    assert not services.store.conversation(2).settings.memory  # that was forgotten before
    assert "The old station wakes." in str(engine_of(services).remembered)


def test_an_export_is_imported_once(services: Services, tmp_path: Path) -> None:
    exported = services.remembered.export()
    assert [each["title"] for each in json.loads(exported)["conversations"]] == ["First", "Second"]
    one = json.loads(services.remembered.export(2))["conversations"]
    assert one == [{"title": "Second", "texts": ["What is Second?"]}]
    store = Store(tmp_path / "other.db")
    other = Services(loaded_engine(), store)
    assert other.remembered.take_in(exported) == 2
    assert other.remembered.take_in(exported) == 0
    assert len(engine_of(other).remembered) == 2
    assert other.remembered.title("m1") == "First"
    engine_of(other).remembered.clear()
    other.remembered.refill()  # as after the next start
    assert engine_of(other).remembered["m2"] == ("What is Second?",)
    assert other.remembered.export() == exported
    other.remembered.forget("m1")
    assert list(engine_of(other).remembered) == ["m2"]
    assert other.remembered.title("m1") is None
    other.close()
    store.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no json", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it lacks"),
        ('{"format": "slipstream-conversations", "version": 1}', "it lacks"),
        (FILE.replace('"version": 1', '"version": 2'), "version 1 of such files"),
        (FILE.replace('"version": 1', '"version": true'), "version 1 of such files"),
        (FILE.replace('["The old station wakes."]', '"The old"'), "texts must be"),
        (FILE.replace('"The old station wakes."', "7"), "must be text"),
        (FILE.replace('"title"', '"titel"'), "field"),
        (FILE.replace("The old station wakes.", "\\ud800"), "half of a character"),
        (FILE.replace("The old station wakes.", " \\n "), "it holds no text"),
    ],
)
def test_a_file_that_is_no_memory_is_refused_in_a_sentence(services: Services, text: str, why: str) -> None:
    before = dict(engine_of(services).remembered)
    with pytest.raises(
        MemoryFileRefused, match=r"^The file cannot be imported: .*\. Nothing was changed\.$"
    ) as refused:
        services.remembered.take_in(text)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 400
    assert engine_of(services).remembered == before


@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
        max_leaves=8,
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_other_failure_comes_of_any_json(data: object) -> None:
    with pytest.raises(MemoryFileRefused):
        read_file(json.dumps({"format": FORMAT, "version": 1, "conversations": data, "more": data}))


def test_what_is_imported_is_cleaned_as_typed_text_is() -> None:
    (found,) = read_file(FILE.replace("old station", "\\u001b[1mold\\u0000 station"))
    assert found.texts == ("The [1mold station wakes.",)


def test_an_answer_is_not_kept_waiting(services: Services) -> None:
    with services.queue.join(Asker(kind="page", name="1")):
        with pytest.raises(EngineBusy, match="look again when it has ended"):
            services.remembered.look()
        assert services.queue.num_waiting == 0
    assert services.remembered.look().conversations


def test_unknown_keys_and_engines_without_a_memory_are_refused(services: Services, tmp_path: Path) -> None:
    for key in ("../1", "m", "", "-1"):
        with pytest.raises(ValueError, match="nothing of that name"):
            services.remembered.forget(key)
    services.remembered.forget("999")
    store = Store(tmp_path / "plain.db")
    plain = Services(PlainEngine(loaded=True), store)
    with pytest.raises(EngineError, match="remembers no conversations"):
        plain.remembered.look()
    plain.remembered.forget_all()
    plain.close()
    store.close()
