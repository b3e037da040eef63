"""Search finds parts of words in any script and never stumbles over what is typed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.store import search
from app.store.attachments import Attachments
from app.store.records import ConversationSettings
from app.store.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Conversations 1 to 4, the newest last."""
    store = Store(tmp_path_factory.mktemp("search") / "slipstream.db")
    texts = {
        "Travel": ["Where is 東京都 on the map?", "In Japan. 私は東京に住んでいます。"],
        "Straße to Ürümqi": ["quote \"x\" AND 'y' OR (z*) NEAR col:val ^a", "MÜNCHEN liegt südlich"],
        "Code": ["def reload_configuration(path): pass", "an answer about handlers"],
        "": ["untitled, about reloading", "x" * 500 + " needle " + "y" * 500],
    }
    for title, messages in texts.items():
        conversation = store.new_conversation(ConversationSettings(), title)
        parent = None
        for number, text in enumerate(messages):
            parent = store.add_message(conversation.id, parent, "assistant" if number else "user", text).id
    yield store
    store.close()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("東京", [1]),  # two characters: shorter than a trigram
        ("東京都", [1]),
        ("住んで", [1]),
        ("京 map", [1]),
        ("config", [3]),
        ("oad_conf", [3]),
        ("RELOAD", [4, 3]),
        ("reload untitled", [4]),
        ("reload handlers", []),  # both words, but in no one message
        ("münchen", [2]),
        ("straße", [2]),
        ("ürü", [2]),
        ("needle", [4]),
        ("code", [3]),
        ('"on the map"', [1]),
        ('"the on map"', []),
        ("AND OR NEAR", [2]),
        ("col:val", [2]),
        ("(z*)", [2]),
        ("'y'", [2]),
        ("no such words", []),
        ("   ", [4, 3, 2, 1]),
        ('"', [4, 3, 2, 1]),
        ("%", []),
        ("_conf", [3]),
        ("\0", [4, 3, 2, 1]),
    ],
)
def test_what_is_found(store: Store, query: str, found: list[int]) -> None:
    assert [line.id for line in store.conversations(query)] == found


def test_the_snippet_shows_what_was_found(store: Store) -> None:
    (line,) = store.conversations("needle")
    assert "needle" in line.snippet
    assert line.snippet.startswith("…")
    assert line.snippet.endswith("…")
    assert len(line.snippet) <= search.SNIPPET_BEFORE + search.SNIPPET_AFTER + 2
    assert store.conversations("東京都")[0].snippet == "Where is 東京都 on the map?"
    assert store.conversations("Travel")[0].snippet == ""
    assert store.conversations()[0].snippet == ""


def test_edits_and_new_titles_are_found_and_old_words_are_not(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    conversation = store.new_conversation(ConversationSettings(), "before")
    message = store.add_message(conversation.id, None, "assistant", "early words", status="streaming")
    store.update_message(message.id, "later words", (), "complete")
    store.rename(conversation.id, "afterwards")
    for query, hits in (("later", 1), ("afterwards", 1), ("early", 0), ("before", 0)):
        assert len(store.conversations(query)) == hits, query
    store.close()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.text(alphabet=st.one_of(st.sampled_from("\"'*()^:-+{}% _\\ab東\0\n\ud800"), st.characters()), max_size=30)
)
def test_no_query_raises(store: Store, query: str) -> None:
    store.conversations(query)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_part_of_a_text_is_found(store: Store, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(["私は東京に住んでいます。", "reload_configuration(path):", "südlich", "NEAR"]))
    start = data.draw(st.integers(0, len(text) - 1))
    part = text[start : data.draw(st.integers(start + 1, len(text)))]
    lines = store.conversations(part)
    assert any(text in message.text for line in lines for message in store.path(line.id)), part


def test_what_is_attached_is_found_from_when_it_is_sent_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    attachments = Attachments(store)
    chat = store.new_conversation(ConversationSettings(), "Recipes").id
    kept = attachments.add(chat, "jam.txt", "text", 9, "x" * 300 + " Marmelade aus Bitterorangen 東京 " + "y" * 300)
    taken_away = attachments.add(chat, "no.txt", "text", 9, "Marmelade aus Zitronen")
    assert store.conversations("bitterorangen") == []
    attachments.remove(taken_away.id)
    question = store.add_message(chat, None, "user", "What of this is for winter?")
    attachments.send(chat, question.id)
    for query in ("bitterorangen", "東京", "marmelade aus"):
        (line,) = store.conversations(query)
        assert (line.id, line.message_id) == (chat, question.id), query
        assert line.snippet.startswith("jam.txt: …"), query
        assert "Bitterorangen" in line.snippet
    assert store.conversations("zitronen") == []
    store.add_message(chat, question.id, "assistant", "Bitterorangen, of course.")
    (line,) = store.conversations("bitterorangen")  # words that were said come first
    assert line.snippet == "Bitterorangen, of course."
    store.delete(chat)
    assert store.conversations("bitterorangen") == []
    assert kept.name == "jam.txt"
    store.close()
