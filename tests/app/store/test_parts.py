"""Parts of conversations: cut off with all that follows, put back, copied into a conversation of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.attachments import Attachments
from app.store.errors import NotFound
from app.store.parts import Parts
from app.store.records import ConversationSettings
from app.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def talk(store: Store) -> tuple[int, list[int]]:
    """q1 - a1 - q2 - a2, and another answer a1' to q1; a2 is shown."""
    conversation = store.new_conversation(ConversationSettings(), "Trip").id
    q1 = store.add_message(conversation, None, "user", "q1").id
    other = store.add_message(conversation, q1, "assistant", "a1'").id
    a1 = store.add_message(conversation, q1, "assistant", "a1").id
    Attachments(store).add(conversation, "map.txt", "text", 3, "map")
    q2 = store.add_message(conversation, a1, "user", "q2").id
    Attachments(store).send(conversation, q2)
    a2 = store.add_message(conversation, q2, "assistant", "a2").id
    return conversation, [q1, other, a1, q2, a2]


def shown(store: Store, conversation: int) -> list[str]:
    return [message.text for message in store.path(conversation)]


@pytest.mark.parametrize(
    ("which", "left", "all_left"),
    [
        (0, [], 0),
        (1, ["q1", "a1", "q2", "a2"], 4),
        (2, ["q1", "a1'"], 2),
        (3, ["q1", "a1"], 3),
        (4, ["q1", "a1", "q2"], 4),
    ],
)
def test_a_message_goes_with_all_that_follows_and_comes_back(
    store: Store, which: int, left: list[str], all_left: int
) -> None:
    conversation, ids = talk(store)
    before = store.all_messages(conversation)
    part = Parts(store).cut(ids[which])
    assert (shown(store, conversation), len(store.all_messages(conversation))) == (left, all_left)
    (trashed,) = store.trash()
    assert trashed.title == ("Trip" if which == 0 else "The end of Trip")
    Parts(store).put_back(part)
    assert (store.all_messages(conversation), store.trash()) == (before, [])
    assert shown(store, conversation) == ["q1", "a1", "q2", "a2"]
    with pytest.raises(NotFound):
        Parts(store).put_back(part)


def test_parts_come_back_in_turn_and_what_is_gone_for_good_says_so(store: Store) -> None:
    conversation, ids = talk(store)
    last = Parts(store).cut(ids[4])
    more = Parts(store).cut(ids[2])
    with pytest.raises(NotFound):
        Parts(store).put_back(last)  # what it hung on is cut off, too
    Parts(store).put_back(more)
    Parts(store).put_back(last)
    assert shown(store, conversation) == ["q1", "a1", "q2", "a2"]
    gone = Parts(store).cut(ids[3])
    store.empty_trash()
    with pytest.raises(NotFound, match="not in the trash any more"):
        Parts(store).put_back(gone)


def test_a_part_can_be_restored_from_the_trash_as_a_chat(store: Store) -> None:
    conversation, ids = talk(store)
    part = Parts(store).cut(ids[3])
    store.restore(part.part_id)
    assert shown(store, part.part_id) == ["q2", "a2"]
    assert [one.name for one in store.path(part.part_id)[0].attachments] == ["map.txt"]
    with pytest.raises(NotFound):
        Parts(store).put_back(part)
    assert shown(store, conversation) == ["q1", "a1"]


def test_a_branch_is_a_copy_as_far_as_the_message(store: Store) -> None:
    conversation, ids = talk(store)
    branch = Parts(store).branch(ids[3])
    assert shown(store, branch) == ["q1", "a1", "q2"]
    assert store.conversation(branch).title == "Trip (branch)"
    assert [one.text for one in store.path(branch)[2].attachments] == ["map"]
    store.delete(conversation)
    store.empty_trash()
    assert shown(store, branch) == ["q1", "a1", "q2"]
    assert [one.text for one in store.path(branch)[2].attachments] == ["map"]


def test_more_messages_than_one_statement_takes_are_cut_and_put_back(store: Store) -> None:
    conversation = store.new_conversation(ConversationSettings(), "Long").id
    with store.transaction() as db:
        rows = (
            {"id": at, "conversation_id": conversation, "parent_id": at - 1 if at > 1 else None, "role": "user",
             "text": "x", "token_ids": "[]", "status": "complete", "created": "2026-01-01T00:00:00.000000+00:00"}
            for at in range(1, 2001)
        )  # fmt: skip
        db["messages"].insert_all(rows)
    store.place_tip(2000)
    part = Parts(store).cut(2)
    assert len(store.path(conversation)) == 1
    Parts(store).put_back(part)
    assert len(store.path(conversation)) == 2000


def test_what_comes_back_is_shown_though_the_shown_part_has_gone(store: Store) -> None:
    """Two windows: one cut the other answer, the other then the one that was shown when it did."""
    conversation, (q1, other, a1, _, _) = talk(store)
    parts = Parts(store)
    first = parts.cut(other)
    parts.cut(a1)
    parts.put_back(first)
    assert shown(store, conversation) == ["q1", "a1'"]
    assert q1 == store.path(conversation)[0].id


def test_a_branch_takes_records_along_that_cannot_be_read(store: Store) -> None:
    conversation, messages = talk(store)
    with store.transaction() as db:
        db.execute("INSERT INTO runs (message_id, record) VALUES (?, '{broken')", [messages[2]])
    copy = Parts(store).branch(messages[4])
    assert shown(store, copy) == shown(store, conversation)
