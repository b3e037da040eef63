"""What the server remembers of one open tab."""

import itertools
from dataclasses import dataclass, field

from app.store.records import ConversationSettings, ConversationSummary

_tickets = itertools.count(1)


@dataclass(slots=True)
class Tab:
    """One tab's place. Gradio hands the same object to all of the tab's events, so they see each other through it.

    The newest event that shows something step by step holds the tab's ticket; older ones see that and end.
    """

    conversation_id: int | None = None
    settings: ConversationSettings = field(default_factory=ConversationSettings)
    query: str = ""
    deleted: ConversationSummary | None = None  # what "Undo" brings back
    opened: bool = False  # the page has said what it shows; not so after the application was started again
    seen: object = None  # the `Services.page_version` that the page shows
    _ticket: int = 0  # 0: nobody shows anything

    @property
    def following(self) -> bool:
        """Whether an event of this tab is showing what happens, step by step."""
        return self._ticket != 0

    def take(self) -> int:
        """The tab's ticket; an earlier one is void from now on."""
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
