"""Handlers of the chat: send, stop, edit, regenerate, continue, versions, compare."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.chat.attachments import Changes
from app.chat.chat import clean_message
from app.chat.services import Services
from app.page import settings
from app.page.events import Refused, bind, event_id, event_text, on_its_chat
from app.page.gradio_internals import event_data
from app.page.parts import Parts
from app.page.presenter import Presenter, Shown
from app.page.tab import SAYS_PRIVATE, Deletion, Tab
from app.store.private import FORGOTTEN
from app.store.records import Conversation, StoredMessage
from app.texts import tr
from app.view.listing import done_words
from app.view.messages import with_reasoning_of


class ChatHandlers:
    """What a person does with messages. Every handler checks its arguments, then shows the turn step by step."""

    def __init__(self, services: Services, parts: Parts, presenter: Presenter) -> None:
        self._services = services
        self._parts = parts
        self._presenter = presenter

    def wire(self) -> None:
        parts = self._parts
        controls = parts.settings.all()
        streamed = parts.drawn()
        bind(
            [parts.send.click, parts.box.submit],
            on_its_chat(self.send),
            inputs=[parts.tab, parts.box, *controls, parts.address],
            outputs=[parts.box, *streamed, *controls],
            js=SAYS_PRIVATE,
        )
        bind(
            parts.compare.click,
            on_its_chat(self.compare),
            inputs=[parts.tab, parts.box, *controls, parts.address],
            outputs=[parts.box, *streamed],
            js=SAYS_PRIVATE,
        )
        bind(parts.notes.edit, self.edit, inputs=[parts.tab, *controls], outputs=streamed)
        bind(parts.notes.play, self.resume, inputs=[parts.tab, *controls], outputs=streamed)
        bind([parts.notes.retry, parts.live.retry], self.again, inputs=[parts.tab, *controls], outputs=streamed)
        bind(parts.notes.select, self.version, inputs=[parts.tab], outputs=streamed)
        bind(parts.lanes.collapse, self.close_lanes, inputs=[parts.tab], outputs=streamed)
        bind(parts.stop.click, self.stop, inputs=[parts.tab], outputs=[parts.live], queue=False)

    def send(self, tab: Tab, text: Any, *controls: Any) -> Iterator[Shown]:
        """Add the message to the conversation, a new one where none is open, and stream the answer.

        While a model is being loaded the message waits for it, and its answer is sampled as that model recommends,
        unless somebody has chosen otherwise.
        """
        recommended = (
            self._services.model_state().load.running
            and tab.conversation_id is None
            and not self._services.settings.chose_sampling
            and settings.read(controls).sampling == self._services.fresh_settings().sampling
        )
        conversation_id, archived = self._ready(tab, text, controls), self._archived(tab)
        turn = self._services.chat.send(conversation_id, text, recommended=recommended)
        self._say_unarchived(tab, archived)
        yield from self._presenter.begin(tab, turn, self._begun(tab, text))
        conversation = self._presenter.conversation(tab)
        if recommended and conversation is not None and conversation.id == conversation_id:
            tab.settings = conversation.settings
            yield settings.show(self._parts.settings, tab.settings)

    def compare(self, tab: Tab, text: Any, *controls: Any) -> Iterator[Shown]:
        """Answer the message both ways, side by side; with an empty box, the newest question once more."""
        if self._services.model_state().load.running:
            raise Refused(tr("refused.compare_loading"))
        info = self._services.model_state().info
        if info is not None and info.server is not None:
            raise Refused(tr("remote.no_compare"))
        waiting = self._services.attachments.waiting(tab.conversation_id)
        again = isinstance(text, str) and not text.strip() and not waiting
        if again and self._presenter.conversation(tab) is None:
            raise Refused(tr("refused.compare_empty"))
        if again:
            turn = self._services.chat.compare_last(self._apply(tab, controls))
        else:
            conversation_id, archived = self._ready(tab, text, controls), self._archived(tab)
            turn = self._services.chat.compare(conversation_id, text)
            self._say_unarchived(tab, archived)
        yield from self._presenter.begin(tab, turn, self._begun(tab, None if again else text))

    def again(self, tab: Tab, event: gr.EventData, *controls: Any) -> Iterator[Shown]:
        """Answer again beside the answer shown: as before, warmer, or with a penalty where it goes in circles."""
        conversation_id = self._apply(tab, controls)
        if event_data(event).get("warmer") is True:
            turn = self._services.chat.regenerate(conversation_id, event_id(event), warmer=True)
        elif event_data(event).get("plain") is True:
            turn = self._services.chat.regenerate(conversation_id, event_id(event))
        else:
            turn = self._services.chat.leave_loop(conversation_id, event_id(event))
        yield from self._presenter.follow(tab, turn)

    def edit(self, tab: Tab, event: gr.EventData, *controls: Any) -> Iterator[Shown]:
        """Put another version of a message beside it, and answer that; another version of an answer is only shown."""
        text = clean_message(event_text(event, "text"), attached=True)  # whether something is, `edit` sees
        message = self._message(event_id(event))
        if message.role == "assistant":
            text = with_reasoning_of(message.text, clean_message(text))
            with self._presenter.own_change(tab):
                self._services.edit_answer(self._open_conversation(tab), message.id, text)
            yield self._presenter.changed(tab)
            return
        without, numbers = _numbers(event, "without"), _numbers(event, "added")
        conversation_id, archived = self._apply(tab, controls), self._archived(tab)
        added = self._services.attachments.held(conversation_id, numbers)
        turn = self._services.chat.edit(conversation_id, message.id, text, Changes(without, added))
        self._say_unarchived(tab, archived)
        self._services.attachments.let_go(numbers)
        yield from self._presenter.follow(tab, turn)

    def resume(self, tab: Tab, event: gr.EventData, *controls: Any) -> Iterator[Shown]:
        """Continue an answer that was cut short."""
        conversation_id = self._apply(tab, controls)
        turn = self._services.chat.continue_answer(conversation_id, event_id(event))
        yield from self._presenter.follow(tab, turn)

    def version(self, tab: Tab, event: gr.EventData) -> Shown:
        """Show the version to the left or right of a message."""
        conversation_id = self._open_conversation(tab)
        if self._services.chat.running_in(conversation_id):
            raise Refused(tr("refused.version_running"))
        message_id, offset = event_id(event), event_id(event, "offset")
        if offset not in (-1, 1):
            raise Refused(tr("refused.version_step"))
        if self._message(message_id).conversation_id != conversation_id:
            raise Refused(tr("refused.other_conversation"))
        self._services.stores.of(message_id).sibling(message_id, offset)
        return self._presenter.chat(tab) | {self._parts.live: self._presenter.idle(tab)}

    def close_lanes(self, tab: Tab) -> Shown:
        """Leave the comparison for the conversation; a running one is stopped."""
        running = self._services.chat.running_in(tab.conversation_id)
        self._services.chat.stop(tab.conversation_id)
        shown = self._presenter.chat(tab) | {self._parts.lanes: {"open": False}}
        return shown if running is not None else shown | {self._parts.live: self._presenter.idle(tab)}

    def stop(self, tab: Tab) -> Shown:
        """End the conversation's answer, or its wait; its text is kept."""
        self._services.chat.stop(tab.conversation_id)
        return {self._parts.live: gr.skip()}

    # Before a turn

    def _ready(self, tab: Tab, text: Any, controls: tuple[Any, ...]) -> int:
        """Check everything before anything is kept; returns the conversation's id, a new one's where none is open."""
        attachments = self._services.attachments
        clean_message(text, attached=bool(attachments.waiting(tab.conversation_id)))
        said = settings.read(controls)
        self._require_model()
        attachments.refuse_misfit(tab.conversation_id, text, said.max_tokens)
        if self._presenter.conversation(tab) is None:
            if tab.conversation_id is not None:
                raise Refused(FORGOTTEN)
            tab.conversation_id = self._services.new_conversation(said)
        return self._apply(tab, controls)

    def _apply(self, tab: Tab, controls: tuple[Any, ...]) -> int:
        """Let the settings on the page hold for the turn; returns the conversation's id."""
        conversation_id = self._open_conversation(tab)
        self._require_model()
        settings.keep(self._services, tab, settings.read(controls))
        return conversation_id

    def _archived(self, tab: Tab) -> Conversation | None:
        """The tab's conversation, where it is archived: a message of a person's puts it back into the list."""
        conversation = self._presenter.conversation(tab)
        return conversation if conversation is not None and conversation.archived else None

    def _say_unarchived(self, tab: Tab, conversation: Conversation | None) -> None:
        if conversation is None:
            return
        id, organising = conversation.id, self._services.organising

        def archive() -> None:
            organising.flag([id], "archived", True)

        tab.deleted.append(Deletion("", archive, done=done_words("unarchive", 1, conversation.title, "")))

    def _require_model(self) -> None:
        """Raise `Refused` where a message could not be answered for want of a model."""
        model = self._services.model_state()
        if model.info is None and not model.loading:
            raise Refused(tr("refused.no_model"))

    def _open_conversation(self, tab: Tab) -> int:
        if self._presenter.conversation(tab) is None or tab.conversation_id is None:
            forgotten = tab.conversation_id is not None
            raise Refused(FORGOTTEN if forgotten else tr("refused.no_conversation"))
        return tab.conversation_id

    def _message(self, message_id: int) -> StoredMessage:
        return self._services.stores.of(message_id).message(message_id)

    def _begun(self, tab: Tab, text: str | None) -> Shown:
        """The message is kept: the box is free for the next one. `text`: what came out of the box."""
        assert tab.conversation_id is not None
        self._services.take_draft(tab.conversation_id, text)
        return self._presenter.chat(tab) | {
            self._parts.box: "",
            self._parts.attachments: self._presenter.attachments(tab),
            self._parts.conversations: self._presenter.listing(tab),
            self._parts.header: self._presenter.header(tab),
        }


def _numbers(event: gr.EventData, name: str) -> tuple[int, ...]:
    """Some whole numbers that the page's script sent along, or none; raises `Refused`."""
    value = event_data(event).get(name, [])
    if not isinstance(value, list) or not all(type(one) is int and 0 < one < 2**53 for one in value):
        raise Refused(tr("refused.invalid", name=name))
    return tuple(value)
