"""What the page works with: one engine, one store, one chat service, one loader. Built once by the server."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from app.chat.chat import ChatService
from app.chat.loading import Loader
from app.chat.memory import MemoryKeeper
from app.chat.refused import Refused
from app.home import Home
from app.store.database import StoreError
from app.store.records import ConversationSettings
from app.store.settings import AppSettings
from app.store.store import Store
from app.view import words
from app.view.meters import Live, load_live
from app.web.pace import Pacer
from engine.api import EngineAPI
from engine.config import STARTER, ModelSpec, Sampling
from engine.models import catalog
from engine.process.client import EngineProcess, EngineStatus

log = logging.getLogger(__name__)


class Services:
    """Joins the services; holds nothing of a single tab.

    `flags`: the command line's model; its device, threads and use of the network hold for every model that is loaded.
    `warning`: what the launcher found amiss, as a sentence.
    """

    def __init__(
        self,
        home: Home,
        engine: EngineAPI,
        store: Store,
        flags: ModelSpec | None = None,
        warning: str | None = None,
    ) -> None:
        self.home = home
        self._flags = flags or ModelSpec()
        self._warning = warning
        self.engine = engine
        self.store = store
        self.chat = ChatService(engine, store)
        self.settings = AppSettings(store)
        self.loader = Loader(engine, self._remember)
        self.pacer = Pacer()
        self._memory = MemoryKeeper(engine, store)
        if isinstance(engine, EngineProcess):
            engine.on_ready = self._memory.refill

    def fresh_settings(self) -> ConversationSettings:
        """The settings of a new conversation: the model's own sampling, drafting on."""
        info = self.engine.info
        sampling = info.default_sampling if info else Sampling()
        return ConversationSettings(sampling=replace(sampling, seed=0))

    # Conversations that come and go: the engine's memory follows

    def delete(self, conversation_id: int) -> None:
        """Hide a conversation; from now on nothing is drafted from it."""
        self.store.delete(conversation_id)
        self._memory.forget(conversation_id)

    def restore(self, conversation_id: int) -> None:
        self.store.restore(conversation_id)
        self._memory.remember(conversation_id)

    def imported(self, conversation_ids: Sequence[int]) -> None:
        """Let drafts draw on conversations that came from a file."""
        self._memory.take_in(conversation_ids)

    def save_settings(self, conversation_id: int, settings: ConversationSettings) -> None:
        before = self.store.conversation(conversation_id).settings
        self.store.save_settings(conversation_id, settings)
        if before.memory and not settings.memory:
            self._memory.forget(conversation_id)
        elif settings.memory and not before.memory:
            self._memory.remember(conversation_id)

    def close(self) -> None:
        """Stop what runs and keep its text; where that cannot be saved, the log says why."""
        self.loader.close()
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
        quant = last.quant if flags.quant == "none" else flags.quant
        fallback = replace(flags, model=STARTER, dtype="auto", quant="none")
        self.loader.load(replace(flags, model=last.model, dtype=dtype, quant=quant), fallback)

    def load(self, model: str, quant: Any, dtype: Any) -> None:
        """Begin to load another model; what can be seen without loading is refused here, and the present one stays.

        Raises `EngineError` or `ValueError`.
        """
        spec = replace(self._flags, model=model.strip(), quant=quant, dtype=dtype)
        place = catalog.resolve(spec.model)
        if place.folder is not None:
            catalog.read_checkpoint(place.folder, place.name)
            if spec.model != STARTER:  # the next start may be from another folder
                spec = replace(spec, model=str(Path(spec.model).expanduser().resolve()))
        self.loader.load(spec)

    def _remember(self, spec: ModelSpec) -> None:
        try:
            self.settings.remember_model(spec)
        except StoreError as exc:
            log.warning("The model is not remembered for the next start: %s", exc)

    def notices(self) -> list[str]:
        """What a person should know of this start and of the model, a sentence each."""
        info = self.engine.info
        found = [self._warning, self.loader.state().notice, *(info.notes if info else ())]
        return [sentence for sentence in found if sentence]

    @property
    def _status(self) -> EngineStatus | None:
        return self.engine.status if isinstance(self.engine, EngineProcess) else None

    @property
    def reloading(self) -> bool:
        """Whether the engine loads its model again by itself."""
        status = self._status
        return status is not None and status.state in ("starting", "loading", "crashed") and self.engine.info is None

    @property
    def loading(self) -> bool:
        return self.loader.state().running or self.reloading

    def page_version(self) -> tuple[object, ...]:
        """What every page shows, as a value that differs where a page must be drawn again.

        It does not come back to what it was: a page that looks seldom would miss what happened in between.
        """
        turns = (self.chat.num_turns, self.chat.running is not None)
        info = self.engine.info
        return self.loader.state().sequence, info.name if info else None, self.loading, *turns

    def require_model(self) -> None:
        """Raise `Refused` where a message could not be answered for want of a model."""
        load = self.loader.state()
        if load.running:
            raise Refused(f"The model is not ready yet ({self.loading_words()}): send this again in a moment.")
        if self.engine.info is None and not self.reloading:
            raise Refused("No model is loaded: choose one under Model and press Load.")

    def memory(self) -> str | None:
        """What the engine's process holds in main memory, as the meters say it; None where it cannot be told."""
        pid = self.engine.pid if isinstance(self.engine, EngineProcess) else None
        if pid is None:
            return None
        try:
            return f"the engine holds {words.size(psutil.Process(pid).memory_info().rss)} of memory"
        except psutil.Error:  # it has just ended
            return None

    def loading_words(self) -> str:
        """Where loading stands, empty when nothing is loaded."""
        live = self.load_live()
        return live.sentence if live is not None and live.phase == "loading" else ""

    def load_live(self) -> Live | None:
        """The speed line while a model is loaded or could not be; None when there is nothing to say."""
        load = self.loader.state()
        if load.running:
            return load_live(load.progress, None)
        status = self._status
        if self.reloading and status is not None:
            step = load_live(status.progress, None) if status.state == "loading" else None
            where = f" ({step.sentence})" if step else ""
            sentence = f"the engine stopped: the answer was kept, the model is being loaded again{where}"
            return Live(phase="loading", sentence=sentence, progress=step.progress if step else None)
        if load.error is not None and self.engine.info is None:
            return load_live(None, load.error)
        return None

    def load_state(self) -> dict[str, Any]:
        """What stands under the model picker."""
        live = self.load_live()
        info = self.engine.info
        if live is None:
            sentence = f"{info.name} is loaded." if info else "No model is loaded."
            return {"sentence": sentence, "detail": words.model_detail(info), "progress": None, "tone": ""}
        tone = "bad" if live.phase == "problem" else ""
        sentence = live.sentence[:1].upper() + live.sentence[1:]
        return {"sentence": sentence, "detail": "", "progress": live.progress, "tone": tone}
