"""The shape of one conversation: which message answers which. Ids only, no texts, no database.

Children always have a greater id than their parent, so the newest message under a node is a leaf.

>>> tree = MessageTree([(1, None), (2, 1), (3, 2), (4, 1), (5, 4)])  # 2 and 4 answer 1
>>> tree.path(5), tree.siblings(2), tree.newest_leaf(2)
([1, 4, 5], [2, 4], 3)
"""

from collections.abc import Iterable


class MessageTree:
    """Built from (id, parent id or None) pairs in any order."""

    def __init__(self, links: Iterable[tuple[int, int | None]]) -> None:
        self._parents = dict(sorted(links))
        self._children: dict[int | None, list[int]] = {}
        for message_id, parent_id in self._parents.items():
            self._children.setdefault(parent_id, []).append(message_id)

    def __contains__(self, message_id: int) -> bool:
        return message_id in self._parents

    def path(self, to: int) -> list[int]:
        """Ids from the root to `to`, both included."""
        ids = [to]
        while (parent := self._parents[ids[-1]]) is not None:
            ids.append(parent)
        return ids[::-1]

    def siblings(self, message_id: int) -> list[int]:
        """All children of its parent, oldest first, itself included."""
        return self._children[self._parents[message_id]]

    def children(self, message_id: int) -> list[int]:
        return self._children.get(message_id, [])

    def newest_leaf(self, message_id: int) -> int:
        """The newest message under `message_id`; itself where nothing follows."""
        newest, waiting = message_id, [message_id]
        while waiting:
            children = self.children(waiting.pop())
            newest = max([newest, *children])
            waiting.extend(children)
        return newest
