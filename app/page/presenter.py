"""Shows the present state on the page's parts, once when nothing runs and step by step while something does."""

import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import gradio as gr

from app.chat.answer import CompareState, TurnState
from app.chat.compare_turn import CompareTurn
from app.chat.llama_cpp import is_gguf
from app.chat.services import Services
from app.chat.trainer import cost_of
from app.chat.turn import Turn
from app.page.pace import Pacer
from app.page.parts import Parts
from app.page.tab import Tab
from app.page.welcome import kind_of
from app.store import search
from app.store.errors import NotFound
from app.store.figures import KeptRun, kept_runs
from app.store.private import is_private
from app.store.records import Conversation, StoredMessage
from app.texts import tr
from app.view.attachments import attachment_list, forget_copied
from app.view.compare import compare_lanes, compare_live
from app.view.downloads import best_offer, download_card
from app.view.listing import LISTED, conversation_list, shelves, trash_list, undo_words
from app.view.live import Live, context_figures, context_used, idle_live, turn_live
from app.view.llama_cpp import llama_cpp_line
from app.view.markdown import Markdown
from app.view.messages import Row, chat_messages, drawn, rows
from app.view.model import load_live, loading_words, notices, page_header, picker_state, process_size
from app.view.private import private_sign
from app.view.trainer import HIDDEN, trainer_line
from app.view.window import BEFORE, MORE, Lines, first_shown, shown_notes
from engine.config import Exactness

LOADING_S = 0.1  # between two updates while a model is loaded
PATIENCE_S = 0.5  # how long to wait before checking what else has changed

Shown = dict[Any, Any]


class Presenter:
    """Reads the services, writes values for the parts. Every method returns what changes, keyed by part."""

    def __init__(self, services: Services, parts: Parts, pacer: Pacer, warning: str | None = None) -> None:
        self._services = services
        self._parts = parts
        self._pacer = pacer
        self._warning = warning
        self._markdown = Markdown()
        self._drawings = itertools.count(1)  # numbers, by which a page skips a header or list that is out of date
        services.when_forgotten(self._markdown.forget)
        services.when_forgotten(forget_copied)

    # When nothing runs

    def conversation(self, tab: Tab) -> Conversation | None:
        """The tab's conversation. One that was deleted elsewhere leaves the tab with a new chat; a private one that is
        forgotten does not: the page's next words are not to be kept."""
        if tab.conversation_id is None:
            return None
        try:
            return self._services.stores.of(tab.conversation_id).conversation(tab.conversation_id)
        except NotFound:
            if not is_private(tab.conversation_id):
                tab.conversation_id = None
            return None

    def turn_to(self, tab: Tab, conversation_id: int | None) -> None:
        """Let the tab show another conversation, None: a new one; a private one that it leaves is forgotten."""
        left, tab.conversation_id = tab.conversation_id, conversation_id
        tab.interrupt()
        if left is not None and is_private(left) and left != conversation_id:
            tab.deleted = [deletion for deletion in tab.deleted if deletion.conversation_id != left]
            self._services.leave(left)

    def everything(self, tab: Tab) -> Shown:
        """The whole page for the tab's conversation, settings apart."""
        return (
            self.chat(tab)
            | {
                self._parts.header: self.header(tab),
                self._parts.conversations: self.listing(tab),
                self._parts.live: self.idle(tab),
                self._parts.attachments: self.attachments(tab),
                self._parts.picker.progress: picker_state(self._services.model_state()),
                self._parts.picker.llama_cpp: self.llama_cpp(),
                self._parts.picker.trainer: self.trainer(tab),
                self._parts.lanes: {"open": False},
            }
            | self.download()
        )

    def at_rest(self, tab: Tab) -> Shown:
        """What may have changed elsewhere, in another tab or in the engine, when nothing runs in this one."""
        tab.seen = self._services.page_version()
        listed = {self._parts.conversations: self.listing(tab), self._parts.attachments: self.attachments(tab)}
        return self.chat(tab) | self.loading(tab) | self.download() | listed

    def download(self) -> Shown:
        """The download of a model; the clock that draws it again runs as long as it does."""
        state = self._services.downloads.state
        running = state is not None and state.status == "running"
        return {self._parts.get.card: download_card(state), self._parts.get.tick: gr.Timer(active=running)}

    def chat(self, tab: Tab) -> Shown:
        """Messages and their notes."""
        lines = self._drawn(self._path(tab))
        first = self._first(tab, lines)
        return {self._parts.chat: chat_messages(lines[first:]), self._parts.notes: shown_notes(lines, first)}

    def show_earlier(self, tab: Tab, message_id: int | None = None, *, more: int = MORE) -> None:
        """Draw earlier messages of a long chat from now on, as far as this one, or so many `more` lines."""
        lines = self._drawn(self._path(tab))
        first = self._first(tab, lines) - more
        if message_id is not None:
            at = next((at for at, (row, _) in enumerate(lines) if row.message.id == message_id), len(lines))
            first = at - BEFORE
        tab.earliest = (tab.conversation_id, first)

    def _first(self, tab: Tab, lines: Lines) -> int:
        of, wanted = tab.earliest
        return first_shown(lines, wanted if of == tab.conversation_id else None)

    def _drawn(self, path: Iterable[StoredMessage]) -> list[tuple[Row, tuple[str, ...]]]:
        return drawn(rows([*path]), self._markdown)

    def changed(self, tab: Tab) -> Shown:
        """The conversation after a change of its messages that no answer follows."""
        return self.chat(tab) | {
            self._parts.live: self.idle(tab),
            self._parts.conversations: self.listing(tab),
            self._parts.header: self.header(tab),
        }

    @contextmanager
    def own_change(self, tab: Tab) -> Iterator[None]:
        """Change the list or a chat; the event draws that in its own tab, which so needs no drawing for it."""
        before = self._services.page_version()
        yield
        after = self._services.page_version()
        if tab.seen == before and after[:-1] == before[:-1]:
            tab.seen = after

    def listing(self, tab: Tab) -> dict[str, Any]:
        number = next(self._drawings)
        undo = undo_words(tab.deleted[-1].said, len(tab.deleted) - 1) if tab.deleted else ""
        leaves = bool(tab.deleted) and tab.deleted[-1].conversation_id not in (None, tab.conversation_id)
        more = {"number": number, "undo_leaves": leaves}
        if tab.trash:
            return trash_list(self._services.store.trash(), now=datetime.now().astimezone(), undo=undo) | more
        organising = self._services.organising
        labels = organising.labels()
        if tab.label is not None and all(tab.label != each.name for each in labels):  # none has it any more
            tab.label = None
        num_archived = organising.num_archived()
        tab.archive = tab.archive and num_archived > 0
        archived = None if tab.query or tab.label else tab.archive  # search and labels find both
        listed = conversation_list(
            self._services.store.conversations(tab.query or None, LISTED + 1, archived=archived, label=tab.label),
            now=datetime.now().astimezone(),
            current=tab.conversation_id,
            query=tab.query,
            undo=undo,
            words=search.words_of(tab.query),
            shelves=shelves(labels, num_archived, tab.label, archived=tab.archive),
        )
        return listed | more

    def header(self, tab: Tab) -> dict[str, Any]:
        number = next(self._drawings)
        conversation = self.conversation(tab)
        private = is_private(tab.conversation_id)
        title = tr("private.title") if private else conversation.title if conversation else ""
        exactness: Exactness = conversation.settings.exactness if conversation else tab.settings.exactness
        model = self._services.model_state()
        if model.load.returned and model.load.sequence <= tab.opened_at:  # said to those who were here
            model = replace(model, load=replace(model.load, notice=None))
        loading = loading_words(model)
        head = page_header(tab.conversation_id, title, model.info, exactness, loading, model.preparing)
        welcome = kind_of(model.load.spec.model if model.load.spec else None)
        best = best_offer(self._services.best)
        head["private"] = private_sign(model.info, forgotten=conversation is None) if private else ""
        head["passing"] = model.load.notice or ""  # of the notices, the one that a new chat leaves behind
        return head | {"best": best, "notices": notices(model, self._warning), "number": number, "welcome": welcome}

    def attachments(self, tab: Tab) -> dict[str, Any]:
        """What waits to be sent with the message that is being written."""
        conversation = self.conversation(tab)
        forgotten = conversation is None and tab.conversation_id is not None
        waiting = [] if forgotten else self._services.attachments.waiting(tab.conversation_id)
        last = next((m.run for m in reversed(self._path(tab)) if m.run is not None), None) if waiting else None
        settings = conversation.settings if conversation else tab.settings
        number, info = next(self._drawings), self._services.engine.info
        return attachment_list(waiting, context_used(last), info, settings.max_tokens, number)

    def idle(self, tab: Tab) -> dict[str, Any]:
        """The speed line when this tab's conversation is idle."""
        conversation = self.conversation(tab)
        settings = conversation.settings if conversation else tab.settings
        last = next((m.run for m in reversed(self._path(tab)) if m.run is not None), None)
        model = self._services.model_state()
        live = load_live(model) or idle_live(model.info, settings.mode, settings.drafter, last, model.preparing)
        if self._services.chat.running_in(tab.conversation_id) is None:
            if self._services.chat.running is not None:
                live = replace(live, phase="ready", sentence=tr("live.other_chat"))
            elif self._services.other_programs.busy:
                live = replace(live, phase="ready", sentence=tr("live.other_program"))
        return self._metered(tab, live, context_used(last))

    def llama_cpp(self) -> dict[str, Any]:
        """The line on llama.cpp under the picker."""
        service, model = self._services.llama_cpp, self._services.model_state()
        gguf = model.info is not None and is_gguf(model.info.path)
        return llama_cpp_line(service.state() if service else None, model, gguf=gguf)

    def trainer(self, tab: Tab) -> dict[str, Any]:
        """The line on the trained drafter under the picker."""
        service, model = self._services.trainer, self._services.model_state()
        if service is None:
            return HIDDEN
        info, conversation = model.info, self.conversation(tab)
        kept: list[KeptRun] = []
        if info is not None and info.drafter_pack and conversation is not None:
            kept = kept_runs(self._services.stores.of(conversation.id), conversation.id)[0]
        return trainer_line(service.state, model, cost_of(info) if info is not None else None, kept)

    def problem(self, tab: Tab, sentence: str) -> dict[str, Any]:
        """The speed line for something that could not be done."""
        return self.idle(tab) | {"phase": "problem", "sentence": sentence, "running": tab.following}

    def _metered(self, tab: Tab, live: Live, used: int) -> dict[str, Any]:
        """With what the engine holds; `used`: tokens of the conversation, to which come those that wait to be sent."""
        if self.conversation(tab) is not None or tab.conversation_id is None:
            used += self._services.attachments.num_tokens(tab.conversation_id)
        live = replace(live, **context_figures(used, self._services.engine.info))
        return live.to_json() | {"memory": process_size(self._services.process_bytes())}

    def _path(self, tab: Tab) -> list[StoredMessage]:
        conversation = self.conversation(tab)
        return self._services.stores.of(conversation.id).path(conversation.id) if conversation else []

    # Step by step

    def begin(self, tab: Tab, turn: Turn | CompareTurn, begun: Shown) -> Iterator[Shown]:
        """`follow` a turn that a new message began; `begun`, what else has changed, is shown with the first step."""
        steps = self.follow(tab, turn)
        yield begun | next(steps, {})
        yield from steps

    def follow(self, tab: Tab, turn: Turn | CompareTurn | None = None) -> Iterator[Shown]:
        """Show `turn` to its end, then the tab's running turn and any loading, until nothing runs.

        Ends early when another event of the tab shows something.
        """
        ticket = tab.take()
        try:
            while tab.holds(ticket):
                turn = turn or self._services.chat.running_in(tab.conversation_id)
                if turn is not None and turn.conversation_id == tab.conversation_id:
                    yield from self._follow_turn(tab, ticket, turn)
                elif self._services.model_state().loading:
                    yield self.loading(tab)
                    self._services.loader.wait(self._services.loader.state().sequence, PATIENCE_S)
                    time.sleep(LOADING_S)
                elif tab.seen != self._services.page_version():  # what was shown, here or by another event, is older
                    yield self.at_rest(tab)
                else:
                    break
                turn = None
        finally:
            tab.give_back(ticket)

    def _follow_turn(self, tab: Tab, ticket: int, turn: Turn | CompareTurn) -> Iterator[Shown]:
        path = self._path(tab)
        prompt = next((message.text for message in reversed(path) if message.role == "user"), "")
        limit = tab.settings.max_tokens
        state = turn.state()
        last_text: str | None = None
        last_load = self._services.loader.state().sequence
        info = self._services.engine.info
        pace = self._pacer.begin(ticket, shared=info is not None and info.device == "cpu")
        try:
            while tab.holds(ticket) and not state.done:
                shown = self._step(tab, path, state, prompt, limit, last_text)
                shown[self._parts.live]["update"] = pace.next()
                if (load := self._services.loader.state().sequence) != last_load:
                    last_load = load
                    shown = self.loading(tab) | shown
                yield shown
                last_text = _answer(state).text
                sequence = state.sequence
                while tab.holds(ticket) and not turn.done and not pace.drawn():
                    pass
                turn.wait_done(pace.rest_s())
                while tab.holds(ticket) and turn.wait(sequence, PATIENCE_S).sequence == sequence and not turn.done:
                    if self._services.model_state().reloading:
                        break
                state = turn.state()
        finally:
            self._pacer.end(ticket)
        if tab.holds(ticket):
            tab.seen = self._services.page_version()
            yield self._end(tab, state, prompt, limit)

    def _step(
        self,
        tab: Tab,
        path: list[StoredMessage],
        state: TurnState | CompareState,
        prompt: str,
        limit: int,
        last_text: str | None,
    ) -> Shown:
        if isinstance(state, CompareState):
            return {
                self._parts.lanes: compare_lanes(state, prompt, limit),
                self._parts.live: self._metered(tab, compare_live(state), _used(state)),
            }
        shown: Shown = {self._parts.live: self._metered(tab, self._waiting(state) or turn_live(state), _used(state))}
        if state.text != last_text:
            lines = self._drawn(_with_text(message, state) for message in path)
            first = self._first(tab, lines)
            shown[self._parts.chat] = chat_messages(lines[first:])
            if last_text is None:
                shown[self._parts.notes] = shown_notes(lines, first, running_id=state.message_id)
        return shown

    def _waiting(self, state: TurnState) -> Live | None:
        """The speed line of an answer that waits for the model to be loaded, or again after a crash."""
        model = self._services.model_state()
        is_next = state.waiting is not None and state.waiting.serving == "model"
        load = load_live(model) if model.reloading or (model.load.running and is_next) else None
        if load is None or model.reloading:
            return load and replace(load, running=True)
        return replace(load, running=True, sentence=tr("live.then_answered", sentence=load.sentence))

    def _end(self, tab: Tab, state: TurnState | CompareState, prompt: str, limit: int) -> Shown:
        shown = self.chat(tab) | {self._parts.conversations: self.listing(tab), self._parts.header: self.header(tab)}
        shown[self._parts.picker.trainer] = self.trainer(tab)
        if isinstance(state, CompareState):
            shown[self._parts.lanes] = compare_lanes(state, prompt, limit)
            shown[self._parts.live] = self._metered(tab, compare_live(state), _used(state))
        else:
            shown[self._parts.live] = self._metered(tab, turn_live(state), _used(state))
        return shown

    def loading(self, tab: Tab) -> Shown:
        return {
            self._parts.live: self.idle(tab),
            self._parts.header: self.header(tab),
            self._parts.picker.progress: picker_state(self._services.model_state()),
            self._parts.picker.llama_cpp: self.llama_cpp(),
            self._parts.picker.trainer: self.trainer(tab),
        }


def _answer(state: TurnState | CompareState) -> TurnState:
    return state.adaptive if isinstance(state, CompareState) else state


def _used(state: TurnState | CompareState) -> int:
    """Tokens that the conversation takes, this answer so far included."""
    answer = _answer(state)
    return (answer.prefill.total if answer.prefill is not None else 0) + answer.num_tokens


def _with_text(message: StoredMessage, state: TurnState) -> StoredMessage:
    if message.id != state.message_id:
        return message
    return replace(message, text=state.text, status="streaming")
