"""Many conversations at once: labels, the archive, pins, and what takes each change back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.errors import NotFound, StoreError
from app.store.organising import LABEL_LIMIT, MOST_LABELS, Label, Organising
from app.store.records import ConversationSettings
from app.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


@pytest.fixture
def chats(store: Store) -> list[int]:
    return [store.new_conversation(ConversationSettings(), title).id for title in ("Jam", "Trains", "Bank")]


def titles(store: Store, **how: object) -> set[str]:
    return {line.title for line in store.conversations(**how)}  # type: ignore[arg-type]


def test_a_label_is_given_taken_away_and_narrows_the_list(store: Store, chats: list[int]) -> None:
    organising = Organising(store)
    organising.label(chats[:1], "Home", True)
    undo = organising.label(chats[:2], " home ", True)  # as it is written already
    organising.label([chats[1]], "work", True)
    assert organising.labels() == [Label("Home", 2), Label("work", 1)]
    assert titles(store, label="Home") == {"Jam", "Trains"}
    assert store.conversation(chats[1]).labels == ("Home", "work")
    assert titles(store, query="jam", label="work") == set()
    undo()  # the first one had it before
    assert titles(store, label="Home") == {"Jam"}
    organising.label(chats, "Home", False)
    assert organising.labels() == [Label("work", 1)]
    store.delete(chats[1])
    assert organising.labels() == []


def test_what_is_archived_leaves_the_list_and_is_found_until_it_goes_on(store: Store, chats: list[int]) -> None:
    organising = Organising(store)
    undo = organising.flag(chats[:2], "archived", True)
    assert (titles(store, archived=False), titles(store, archived=True)) == ({"Bank"}, {"Jam", "Trains"})
    assert organising.num_archived() == 2
    assert [line.archived for line in store.conversations("jam")] == [True]
    store.add_message(chats[0], None, "assistant", "Another answer")
    assert titles(store, archived=True) == {"Jam", "Trains"}
    store.add_message(chats[0], None, "user", "More jam")
    assert titles(store, archived=True) == {"Trains"}
    undo()
    assert titles(store, archived=False) == {"Jam", "Trains", "Bank"}


def test_a_change_of_several_is_made_for_all_or_none(store: Store, chats: list[int]) -> None:
    organising = Organising(store)
    organising.delete(chats)
    assert store.conversations() == []
    organising.restore(chats)
    store.delete(chats[1])
    for change in (
        lambda: organising.flag(chats, "pinned", True),
        lambda: organising.label(chats, "work", True),
        lambda: organising.delete(chats),
    ):
        with pytest.raises(NotFound):
            change()
    assert not any(line.pinned or line.labels for line in store.conversations())
    assert len(store.conversations()) == 2


def test_a_label_that_cannot_be_kept_is_refused_in_a_sentence(store: Store, chats: list[int]) -> None:
    organising = Organising(store)
    for name, why in (("\n ", "empty"), ("x" * (LABEL_LIMIT + 1), "Shorten it")):
        with pytest.raises(ValueError, match=why):
            organising.label(chats, name, True)
    for number in range(MOST_LABELS):
        organising.label(chats[:1], f"label {number}", True)
    with pytest.raises(ValueError, match="take another one away"):
        organising.label(chats, "one more", True)
    assert store.conversation(chats[2]).labels == ()


def test_labels_that_differ_by_capitals_alone_can_each_be_taken_away(store: Store, chats: list[int]) -> None:
    """An earlier version let both in."""
    organising = Organising(store)
    with store.transaction() as db:
        for chat, name in ((chats[0], "Home"), (chats[1], "home"), (chats[2], "HOME")):
            db.execute("INSERT INTO labels (conversation_id, name) VALUES (?, ?)", [chat, name])
    for name, left in (("home", {"Home", "HOME"}), ("HOME", {"Home"}), ("hOME", set())):
        organising.label(chats, name, False)
        assert {each.name for each in organising.labels()} == left


def test_a_label_is_given_in_the_transaction_that_looks_for_it(
    store: Store, chats: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    organising = Organising(store)

    def fails(*args: object) -> None:
        store.pin(chats[0], True)
        raise StoreError("The disk is full.")

    monkeypatch.setattr(organising, "_set_label", fails)
    with pytest.raises(StoreError):
        organising.label(chats, "work", True)
    assert not store.conversation(chats[0]).pinned


def test_what_is_not_gone_for_good_is_brought_back(store: Store, chats: list[int]) -> None:
    organising = Organising(store)
    organising.delete(chats)
    store.empty_trash(chats[1])
    assert organising.restore(chats) == [chats[0], chats[2]]
    assert titles(store) == {"Jam", "Bank"}
    organising.delete(chats[::2])
    store.empty_trash()
    with pytest.raises(NotFound, match="gone for good"):
        organising.restore(chats)
