"""Handlers of what is attached to the message that is being written; files themselves come through `app.web`."""

from app.page.events import bind
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import Tab


class AttachmentHandlers:
    """Draws attachments again after a file has come or gone."""

    def __init__(self, parts: Parts, presenter: Presenter) -> None:
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        parts = self._parts
        bind(
            parts.attachments.edit,  # `change` comes with every drawing
            self.changed,
            inputs=[parts.tab],
            outputs=[parts.attachments, parts.live],
            trigger_mode="always_last",
        )

    def changed(self, tab: Tab) -> Shown:
        """Show what is attached; the meters count it, except while an answer draws them."""
        shown: Shown = {self._parts.attachments: self._presenter.attachments(tab)}
        if not tab.following:
            tab.seen = None  # the speed line is newer now than the rest of the page
            shown[self._parts.live] = self._presenter.idle(tab)
        return shown
