"""What the page works with: one engine, one store, one chat service, one loader, one memory. Knows no words."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from app.chat.attachments import Attaching
from app.chat.chat import MESSAGE_LIMIT, ChatService
from app.chat.contexts import ContextEstimate, estimate
from app.chat.downloads import Downloads
from app.chat.llama_cpp import LlamaCpp
from app.chat.loading import Loader, ModelState
from app.chat.memory import MemoryKeeper
from app.chat.offers import Downloadable, Offer, downloadable, file_of, kind_of_device, offers
from app.chat.queue import OtherPrograms, Queue
from app.chat.remembered import Remembered
from app.chat.titles import TitleWriter
from app.chat.trainer import Trainer, why_not
from app.servers import Servers
from app.store.access import ApiAccess
from app.store.attachments import Attachments
from app.store.errors import StoreError
from app.store.organising import Organising
from app.store.parts import Part
from app.store.presets import Presets
from app.store.private import Stores, is_private
from app.store.records import ConversationSettings
from app.store.settings import AppSettings
from app.store.store import Store
from engine.api import EngineAPI
from engine.config import STARTER, ModelSpec, Sampling
from engine.errors import BrokenModel, EngineBusy, ModelNotFound, NetworkUnavailable, NotConfirmed, UnusablePack
from engine.events import LoadProgress
from engine.models import catalog
from engine.models.well_known import ChatModel
from engine.remote.address import Address, is_address, parse

log = logging.getLogger(__name__)

_SENT_REMEMBERED = 8  # messages: those that pages may still be posting as drafts
_SHOWN_STEPS = 20  # of the background work: the page is drawn again for each


class Services:
    """Joins the services; holds nothing of a single tab.

    `flags`: the command line's model; its device, threads and use of the network hold for every model that is loaded,
    its adapter for that one alone.
    `api`: the command line switches the API on.
    `environment`: the variables by which other programs' models are found, of which this process may have lost some.
    """

    def __init__(
        self,
        engine: EngineAPI,
        store: Store,
        flags: ModelSpec | None = None,
        environment: Mapping[str, str] = os.environ,
        downloads: Downloads | None = None,
        llama_cpp: LlamaCpp | None = None,
        trainer: Trainer | None = None,
        *,
        api: bool = False,
        servers: Servers | None = None,
    ) -> None:
        self._flags = replace(flags or ModelSpec(), certify="background")  # a person wants to type at once
        self._environment = environment
        self.llama_cpp = llama_cpp
        self.trainer = trainer
        self.servers = servers
        self.engine = engine
        self.store = store
        self.stores = Stores(store)
        self.queue = Queue()
        self.other_programs = OtherPrograms(self.queue)
        self.settings = AppSettings(store)
        self.access = ApiAccess(store, forced=api)
        self.presets = Presets(store)
        self.organising = Organising(store)
        self.attachments = Attaching(engine, self.stores)
        self.loader = Loader(engine, self._remember, self.queue)
        self.chat = ChatService(engine, self.stores, self.queue, self.loader)
        self.titles = TitleWriter(engine, store, self.chat, self.queue, self.settings)
        self.downloads = downloads or Downloads(environment)
        self._best: Downloadable | None = None
        self._drafting = threading.Lock()  # guards drafts and what follows
        self._sent: deque[str] = deque(maxlen=_SENT_REMEMBERED)
        self._memory = MemoryKeeper(engine, store)
        self.remembered = Remembered(engine, store, self.queue, self._memory)
        if engine.process is not None:
            engine.process.on_ready(self._refill_memory)
        if trainer is not None:
            trainer.attend(lambda: self._preparing() is not None, lambda: self.loader.state().sequence)
            self.queue.on_busy = trainer.answering
        self._num_preparations = 0  # steps of the background work, as far as the page shows them
        self._prepared: object = None
        self._forgetting: list[Callable[[], None]] = []
        self._num_switched = 0  # times that a conversation's memory was switched
        if engine.background is not None:
            engine.background.on_change(self._preparation_changed)

    def _refill_memory(self) -> None:
        self.remembered.refill()
        self._memory.refill()

    def fresh_settings(self) -> ConversationSettings:
        """The settings of a new conversation: what was set for it, else a person's defaults, else the model's own."""
        info = self.engine.info
        own = replace(info.default_sampling if info else Sampling(), seed=0)
        return self.settings.begun(own) or self.settings.defaults or ConversationSettings(sampling=own)

    def keep_for_next(self, settings: ConversationSettings) -> None:
        """Keep what was set for the next chat, which no message has begun yet."""
        chosen = self.engine.info is not None or settings.sampling != Sampling()
        self.settings.set_begun(settings, sampling=chosen)

    def new_conversation(self, settings: ConversationSettings) -> int:
        """Begin a conversation with what was set for it, and what was attached to its first message; returns its id."""
        with self.store.transaction():
            self.settings.set_begun(None)
            conversation_id = self.store.new_conversation(settings).id
            Attachments(self.store).move(conversation_id)
            return conversation_id

    def new_private(self) -> int:
        """Begin a private chat, with the settings of a new one; returns its id."""
        return self.stores.begin(self.fresh_settings())

    def leave(self, conversation_id: int) -> None:
        """Forget a private chat: now for everybody, and as soon as nothing writes to it any more for good."""
        store = self.stores.forget(conversation_id)
        if store is not None:
            ending = threading.Thread(target=self._forget, args=(conversation_id, store), name="forget", daemon=True)
            ending.start()

    def when_forgotten(self, do: Callable[[], None]) -> None:
        """Let `do` be called whenever a private chat was left and nothing is written in it any more."""
        self._forgetting.append(do)

    def _forget(self, conversation_id: int, store: Store) -> None:
        self.chat.forget(conversation_id)
        self.attachments.forget(conversation_id)
        self._memory.forget(conversation_id)
        store.close()
        for do in self._forgetting:
            do()

    def draft(self, conversation_id: int | None) -> str:
        """What was written into the message box and not sent; None: for the next chat."""
        if is_private(conversation_id):
            return ""
        return self.settings.draft if conversation_id is None else self.store.draft(conversation_id)

    def save_draft(self, conversation_id: int | None, text: str, *, sent: bool = False) -> None:
        """Keep what stands in the message box; raises `ValueError` where it is too long to be sent.

        `sent`: a page is sending it, so it is a draft only where that is refused.
        """
        if len(text) > MESSAGE_LIMIT:
            sentence = "it can neither be sent nor kept over a reload"
            raise ValueError(f"The message has more than {MESSAGE_LIMIT:,} characters: shorten it, for {sentence}.")
        with self._drafting:
            if not (is_private(conversation_id) or (sent and text in self._sent)):
                self._keep_draft(conversation_id, text)

    def take_draft(self, conversation_id: int, text: str | None) -> None:
        """A turn has begun, with `text` if that came out of the message box: that is no draft, even if a page posts it
        late."""
        if is_private(conversation_id):
            return
        with self._drafting:
            self._keep_draft(conversation_id, "")
            if text is not None:
                self._sent.append(text)
                if self.is_first_turn(conversation_id):
                    self._keep_draft(None, "")

    def _keep_draft(self, conversation_id: int | None, text: str) -> None:
        if conversation_id is None:
            self.settings.set_draft(text)
        else:
            self.store.save_draft(conversation_id, text)

    def is_first_turn(self, conversation_id: int) -> bool:
        """Whether the conversation has just begun: one question, and the answer that is being written."""
        return len(self.store.path(conversation_id)) <= 2

    @property
    def model_names(self) -> tuple[str, ...]:
        """What the model that is there was asked for as, beside its own name; no path and no address."""
        spec = self.loader.present
        if spec is None or is_address(spec.model) or Path(spec.model).is_absolute():
            return ()
        return (spec.model,)

    # Conversations: the engine's memory follows every change

    def delete(self, conversation_id: int) -> None:
        """Hide a conversation; from now on nothing is drafted from it."""
        self.store.delete(conversation_id)
        self._memory.forget(conversation_id)
        self.organising.note_change()

    def restore(self, conversation_id: int) -> None:
        self.store.restore(conversation_id)
        self._memory.remember(conversation_id)
        self.organising.note_change()

    def rename(self, conversation_id: int, title: str) -> None:
        """Give a conversation a title that stays; raises `ValueError`."""
        self.store.rename(conversation_id, title)
        self.organising.note_change()

    def delete_all(self, conversation_ids: Sequence[int]) -> None:
        """Hide these conversations, all or none."""
        self.organising.delete(conversation_ids)
        for conversation_id in conversation_ids:
            self._memory.forget(conversation_id)

    def restore_all(self, conversation_ids: Sequence[int]) -> int:
        """Bring these back, and return how many are gone for good; raises `NotFound` where all are."""
        there = self.organising.restore(conversation_ids)
        for conversation_id in there:
            self._memory.remember(conversation_id)
        return len(set(conversation_ids)) - len(there)

    def cut(self, conversation_id: int, message_id: int) -> Part:
        """Put a message and all that follows it into the trash; from now on nothing is drafted from it."""
        part = self.chat.cut(conversation_id, message_id)
        if not is_private(conversation_id):
            self.organising.note_change()
            self._memory.forget(conversation_id)
            self._memory.remember(conversation_id)
        return part

    def put_back(self, part: Part) -> None:
        """Undo `cut`."""
        self.chat.put_back(part)
        if not is_private(part.conversation_id):
            self.organising.note_change()
            self._memory.remember(part.conversation_id)

    def edit_answer(self, conversation_id: int, message_id: int, text: str) -> None:
        """Put a version that a person wrote beside an answer; from now on that is drafted from."""
        self.chat.edit_answer(conversation_id, message_id, text)
        if not is_private(conversation_id):
            self.organising.note_change()
            self._memory.remember(conversation_id)

    def branch(self, conversation_id: int, message_id: int) -> int:
        """Begin a conversation with a copy of this one as far as the message; returns its id."""
        if is_private(conversation_id):
            raise ValueError("A private chat has no branches: they would be chats of their own, which are kept.")
        branch_id = self.chat.branch(conversation_id, message_id)
        self._memory.remember(branch_id)
        return branch_id

    def imported(self, conversation_ids: Sequence[int]) -> None:
        """Let answers draft from conversations that came from a file."""
        self._memory.take_in(conversation_ids)

    def save_settings(self, conversation_id: int, settings: ConversationSettings, *, keep_memory: bool = False) -> None:
        """Let the settings hold from the next answer on; `keep_memory`: whether it is remembered stays as it is."""
        if (running := self.chat.running_in(conversation_id)) is not None:
            running.draft(settings.mode == "adaptive")
        store = self.stores.of(conversation_id)
        with store.transaction():
            before = store.conversation(conversation_id).settings
            settings = replace(settings, memory=before.memory) if keep_memory else settings
            store.save_settings(conversation_id, settings)
        if is_private(conversation_id):
            return
        self._num_switched += before.memory != settings.memory
        if before.memory and not settings.memory:
            self._memory.forget(conversation_id)
        elif settings.memory and not before.memory:
            self._memory.remember(conversation_id)

    def close(self) -> None:
        """Stop what runs and keep its text; where that cannot be saved, the log says why."""
        self.titles.stop()
        self.loader.close()
        self.downloads.close()
        if self.llama_cpp is not None:
            self.llama_cpp.close()
        if self.trainer is not None:
            self.trainer.close()
        try:
            self.chat.close()
        except StoreError as exc:
            log.error("The last answer could not be saved: %s", exc)

    # The model: asked for by a person, or loaded again by the engine after its process died

    def load_first(self, *, named: bool) -> None:
        """Load the command line's model where it is `named` there, else the one loaded last, else the starter."""
        if named:
            self.loader.load(self._flags)
            return
        last, flags = self.settings.model, self._flags
        dtype = last.dtype if flags.dtype == "auto" else flags.dtype
        quant = last.quant if flags.quant == "auto" else flags.quant
        fallback = replace(flags, model=STARTER, dtype="auto", quant="auto", adapter="")
        adapter = flags.adapter or ("" if flags.no_adapter else last.adapter)
        without = flags.no_adapter or (last.no_adapter and not flags.adapter)
        spec = replace(flags, model=last.model, dtype=dtype, quant=quant, adapter=adapter, no_adapter=without)
        self.loader.load(replace(spec, max_context=flags.max_context or last.max_context), fallback)

    def load(self, model: str, quant: Any, dtype: Any, max_context: int | None = None) -> None:
        """Begin to load another model. What can be refused without loading is refused here, and the present one stays.
        `max_context` None: as much as fits.

        Raises `EngineError` or `ValueError`.
        """
        if is_address(model):
            self.load_server(parse(model))
            return
        spec = self._asked(model, quant, dtype, max_context)
        location = catalog.resolve(spec.model)
        if location.path is not None:
            catalog.read_checkpoint(location.path, location.name)
            spec = replace(spec, model=catalog.lasting(spec.model, location))
        elif location.gguf and (file := file_of(self._environment, spec.model)) is not None:
            with suppress(BrokenModel):  # the engine downloads it again
                catalog.read_checkpoint(file, location.name)
        download = self.downloads.state
        if download is not None and download.status == "running" and download.model.model == spec.model:
            raise EngineBusy(f"{download.model.name} is still being downloaded: load it when it is here.")
        self.loader.load(spec)

    def _asked(self, model: str, quant: Any, dtype: Any, max_context: int | None) -> ModelSpec:
        return replace(self._flags, model=model.strip(), quant=quant, dtype=dtype, adapter="", max_context=max_context)

    def estimate(self, model: str, quant: Any, dtype: Any, max_context: int | None) -> ContextEstimate | None:
        """What a model would take at this context; None where that is not known. Raises `ValueError`."""
        spec = self._asked(model, quant, dtype, max_context)
        llama_cpp = self.llama_cpp is not None and self.llama_cpp.state().ready and spec.backend != "torch"
        return estimate(self._environment, spec, self.process_bytes() or 0, as_stored=llama_cpp)

    def load_server(self, address: Address) -> None:
        """Begin to ask a server what it is. Raises `NotConfirmed` where nothing may go there yet."""
        if self.servers is None:
            raise ValueError("Servers are not reached from here: load a model on this machine.")
        if not self.servers.confirmed(address):
            raise NotConfirmed(
                f"Nothing has been sent to {address.url}: confirm under “Another server” that your words may go there."
            )
        self.loader.load(replace(self._flags, model=address.name, quant="none", dtype="auto", adapter=""))

    def download(self, model: ChatModel) -> None:
        """Begin to download a model of the catalogue, or go on. Raises `EngineError`."""
        if self._flags.offline:
            raise NetworkUnavailable("Offline mode is on: start the application without --offline to download a model.")
        self.downloads.begin(model)

    def load_downloaded(self) -> None:
        """Begin to load the model whose download is done. Raises `EngineError`."""
        download = self.downloads.state
        if download is None or download.status != "done":
            raise ModelNotFound("No model was downloaded: choose one, and download it first.")
        self.load(download.model.model, "none", "auto")
        self.downloads.dismiss()

    @property
    def _device(self) -> str:
        """Where a model of this machine computes, or would."""
        info = self.engine.info
        return info.device if info is not None and info.server is None else self._flags.device

    @property
    def slow_nf4(self) -> bool:
        """Whether 4 bits are slow here: bitsandbytes has no fast kernels for processors."""
        return kind_of_device(self._device) == "cpu"

    def catalogue(self) -> list[Downloadable]:
        """Models that can be downloaded, and whether they would fit in place of the model that is there now."""
        info = self.engine.info
        found = downloadable(
            self._environment, self._device, self.process_bytes() or 0, info, self.downloads.num_partial
        )
        self._best = next((offer for offer in found if offer.best and not offer.here), None)
        return found

    @property
    def best(self) -> Downloadable | None:
        """The best fit, as the catalogue was looked at last; None where it is here, or anything is being downloaded."""
        return self._best if self.downloads.state is None and not self._flags.offline else None

    def load_again(self) -> None:
        """Load the present model anew, as a person who asks for it; raises `EngineError`."""
        spec = self.loader.state().spec
        if spec is not None:
            self.loader.load(spec)

    def train_drafter(self) -> None:
        """Begin to train a drafter for the model that is there. Raises `EngineError`."""
        info, spec = self.engine.info, self.loader.present
        if self.trainer is None or info is None or spec is None:
            raise ModelNotFound("No model is loaded: load the one that a drafter is to be trained for.")
        if (sentence := why_not(info)) is not None:
            raise UnusablePack(sentence)
        self.trainer.begin(self.trainer.order(info, spec))

    def offers(self) -> list[Offer]:
        """What other programs keep on this disk, and whether it would fit in place of the model that is there now."""
        return offers(self._environment, self._flags.device, self.process_bytes() or 0)

    def _remember(self, spec: ModelSpec) -> None:
        if spec.max_context == self._flags.max_context:  # the command line holds for this start
            spec = replace(spec, max_context=None)
        try:
            self.settings.remember_model(spec)
        except StoreError as exc:
            log.warning("The model is not remembered for the next start: %s", exc)

    def _preparation_changed(self) -> None:
        progress, info = self._preparing(), self.engine.info
        share = progress.done * _SHOWN_STEPS // progress.total if progress is not None and progress.total else None
        shown = (info is not None and info.provisional, progress and progress.stage, share)
        if shown != self._prepared:
            self._prepared = shown
            self._num_preparations += 1
        if info is not None and not info.provisional:
            self.titles.look_again()

    def _preparing(self) -> LoadProgress | None:
        background = self.engine.background
        return background.progress if background is not None else None

    def model_state(self) -> ModelState:
        """Which model there is, and which one is coming."""
        info, process = self.engine.info, self.engine.process
        status = process.status if process is not None else None
        reloading = status is not None and status.state in ("starting", "loading", "crashed") and info is None
        progress = status.progress if status is not None and reloading and status.state == "loading" else None
        return ModelState(
            info=info,
            load=self.loader.state(),
            reloading=reloading,
            reload_progress=progress,
            preparing=self._preparing(),
        )

    def page_version(self) -> tuple[object, ...]:
        """What every page shows, as a value that differs where a page must be drawn again.

        An earlier value never comes back: a page that polls seldom would miss what happened in between. The last part
        counts what people changed in the list or in a chat.
        """
        model = self.model_state()
        name = model.info.name if model.info else None
        switched = self._num_switched + self.remembered.num_changes
        answers = self.chat.num_turns, self.chat.num_running, self.chat.num_unsaved, self.other_programs.look()
        installs = self.llama_cpp.num_changes if self.llama_cpp is not None else 0
        trainings = self.trainer.num_changes if self.trainer is not None else 0
        changes = self._num_preparations, self.downloads.num_changes, installs, trainings, self.titles.num_written
        return model.load.sequence, name, model.loading, switched, *changes, *answers, self.organising.num_changes

    def process_bytes(self) -> int | None:
        """What the engine's process holds in main memory; None where that cannot be known."""
        process = self.engine.process
        pid = process.pid if process is not None else None
        if pid is None:
            return None
        try:
            return int(psutil.Process(pid).memory_info().rss)
        except psutil.Error:  # it has just ended
            return None
