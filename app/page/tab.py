"""What the server remembers of one open tab."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.store.private import is_private
from app.store.records import ConversationSettings
from app.texts import tr


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted or changed, in a few words, and what brings it back."""

    what: str
    undo: Callable[[], int | None]  # returns how many of several are gone for good
    conversation_id: int | None = None  # to be opened then
    done: str = ""  # the whole of it, where it is more than that something was deleted

    @property
    def said(self) -> str:
        return self.done or tr("undo.deleted", title=self.what)


# A page that shows a private chat, or has asked for one, says so with its last input: the server may have forgotten the
# chat and the tab.
SAYS_PRIVATE = "(...given) => [...given.slice(0, -1), document.body.dataset.private]"

_tickets = itertools.count(1)


@dataclass(slots=True)
class Tab:
    """One tab's state. Gradio gives the same object to all of the tab's events, so they can see each other through it.

    The newest event that shows steps takes a ticket, a number of its own; older ones see that theirs is void, and end.
    """

    conversation_id: int | None = None
    settings: ConversationSettings = field(default_factory=ConversationSettings)
    query: str = ""
    trash: bool = False  # the trash stands in the place of the list
    label: str | None = None  # the list holds those alone that have it
    archive: bool = False  # the list holds what is archived
    deleted: list[Deletion] = field(default_factory=list)  # what "Undo" brings back, the newest last
    opened: bool = False  # the page has said what it shows; not so after the application was started again
    opened_at: int = 0  # of the `LoadState`s the one that was there then
    seen: object = None  # the `Services.page_version` that the page shows
    earliest: tuple[int | None, int] = (None, 0)  # of a long chat the first line that a person wanted to see
    _ticket: int = 0  # of the event that shows steps; 0: there is none

    @property
    def following(self) -> bool:
        """Whether an event of this tab is showing what happens, step by step."""
        return self._ticket != 0

    def is_behind(self, shows_private: Any) -> bool:
        """Whether the page shows a private chat of which this tab knows nothing, as after another start."""
        return shows_private in ("soon", "yes") and not is_private(self.conversation_id)

    def take(self) -> int:
        """Take a new ticket; an earlier one is void from now on."""
        self._ticket = next(_tickets)
        return self._ticket

    def holds(self, ticket: int) -> bool:
        return self._ticket == ticket

    def give_back(self, ticket: int) -> None:
        if self.holds(ticket):
            self._ticket = 0

    def interrupt(self) -> None:
        """Void every ticket: the tab shows something else from now on."""
        self._ticket = 0
