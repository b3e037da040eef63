"""The message tree against a model of it: whatever is added and selected, in any order, over restarts too."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from app.store.records import ConversationSettings
from app.store.store import Store
from app.store.tree import MessageTree


class TreeMachine(RuleBasedStateMachine):
    """`parents` and `tips` are what must be; the store is asked after every step."""

    messages = Bundle("messages")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = Store(self.folder / "s.db")
        self.parents: dict[int, int | None] = {}
        self.owners: dict[int, int] = {}
        self.tips: dict[int, int | None] = {}
        self.deleted: set[int] = set()

    @initialize()
    def two_conversations(self) -> None:
        for _ in range(2):
            self.tips[self.store.new_conversation(ConversationSettings()).id] = None

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def add(self, conversation_id: int, parent_id: int | None, role: str) -> int:
        message = self.store.add_message(conversation_id, parent_id, role, f"text of a {role}")  # type: ignore[arg-type]
        assert message.parent_id == parent_id
        self.parents[message.id] = parent_id
        self.owners[message.id] = conversation_id
        self.tips[conversation_id] = message.id
        return message.id

    def under(self, message_id: int) -> set[int]:
        found = {message_id}
        for child, parent in sorted(self.parents.items()):
            if parent in found:
                found.add(child)
        return found

    @rule(target=messages, first=st.booleans())
    def add_root(self, first: bool) -> int:
        return self.add(sorted(self.tips)[not first], None, "user")

    @rule(target=messages, parent=messages)
    def answer(self, parent: int) -> int:
        return self.add(self.owners[parent], parent, "assistant")

    @rule(target=messages, message=messages)
    def edit(self, message: int) -> int:
        return self.add(self.owners[message], self.parents[message], "user")

    @rule(message=messages)
    def select(self, message: int) -> None:
        tip = self.store.select(message)
        assert tip == max(self.under(message))
        self.tips[self.owners[message]] = tip

    @rule(message=messages, offset=st.integers(-3, 3))
    def go_sideways(self, message: int, offset: int) -> None:
        siblings = self.siblings(message)
        expected = siblings[max(0, min(siblings.index(message) + offset, len(siblings) - 1))]
        assert self.store.sibling(message, offset) == expected
        self.tips[self.owners[message]] = max(self.under(expected))

    @rule(first=st.booleans())
    def delete_and_restore(self, first: bool) -> None:
        conversation_id = sorted(self.tips)[not first]
        self.store.delete(conversation_id)
        self.store.restore(conversation_id)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store(self.folder / "s.db")

    def siblings(self, message: int) -> list[int]:
        key = (self.owners[message], self.parents[message])
        return sorted(other for other in self.parents if (self.owners[other], self.parents[other]) == key)

    @invariant()
    def the_paths_are_right(self) -> None:
        for conversation_id, tip in self.tips.items():
            expected: list[int] = []
            while tip is not None:
                expected.insert(0, tip)
                tip = self.parents[tip]
            path = self.store.path(conversation_id)
            assert [message.id for message in path] == expected
            for message in path:
                siblings = self.siblings(message.id)
                assert (message.sibling_index, message.sibling_count) == (siblings.index(message.id), len(siblings))

    @invariant()
    def nothing_is_lost(self) -> None:
        for conversation_id in self.tips:
            stored = {message.id: message.parent_id for message in self.store.all_messages(conversation_id)}
            assert stored == {m: p for m, p in self.parents.items() if self.owners[m] == conversation_id}


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=25, stateful_step_count=25)


def test_a_very_deep_conversation_needs_no_recursion() -> None:
    depth = 5_000
    tree = MessageTree([(number, number - 1 if number > 1 else None) for number in range(1, depth + 1)])
    assert tree.path(depth) == list(range(1, depth + 1))
    assert tree.newest_leaf(1) == depth
