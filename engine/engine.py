"""The engine: one model, one conversation's cache, one answer at a time. Implements `engine.api.EngineAPI`.

It puts the parts together: a ready model, the session that holds its cache, the drafters, and what is found out about
the model while nobody asks. It knows no page and no store.
"""

import gc
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import torch

from engine.api import Running, Work
from engine.background import Background
from engine.config import GenerationRequest, Mode, ModelSpec
from engine.decoding.comparison import finish, on_lane, race, top_two_margin
from engine.decoding.generation import Generation, Prefilled
from engine.drafters import Drafters
from engine.drafting.drafter import Drafter, NoDrafter
from engine.errors import EngineBusy, EngineError, NoModelLoaded, NotCertified
from engine.events import CompareEvent, Event, LoadProgress, MemoryView, ModelInfo, PrefillProgress
from engine.looking import memory_view
from engine.models.out_of_memory import Footprint, out_of_memory_in_words
from engine.models.progress import with_progress
from engine.probe.findings import FindingsFolder
from engine.prompt.context import Prompt
from engine.ready import ReadyModel, Search, prepare
from engine.session import Session

log = logging.getLogger(__name__)

T = TypeVar("T")
DrafterOf = Callable[[GenerationRequest], Drafter]


class Switch:
    """Whether an answer is drafted from now on; set from any thread, read before each round."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode

    def draft(self, on: bool) -> None:
        self.mode = "adaptive" if on else "plain"


def cancellable(steps: Callable[[threading.Event], Generator[T, None, None]]) -> Work[T]:
    """A piece of work that polls an event of its own, which its `cancel` sets."""
    stop = threading.Event()
    return Work(steps(stop), stop.set)


class Engine:
    """Loads models and generates answers in this process; see `EngineAPI` for the contract.

    `findings`: the folder that keeps what is found out about each model; None keeps nothing. `packs`: the folder with
    drafter packs that were trained here.
    """

    def __init__(self, findings: Path | None = None, packs: Path | None = None) -> None:
        self._packs = packs
        self._findings = FindingsFolder(findings)
        self._session_or_none: Session | None = None
        self._drafters = Drafters()
        self._lock = threading.Lock()
        self._background: Background | None = None  # changed while `_lock` is held
        self._progress: LoadProgress | None = None
        self._when_changed: Callable[[], None] = lambda: None

    @property
    def info(self) -> ModelInfo | None:
        session = self._session_or_none
        return session.model.info if session is not None else None

    @property
    def compares(self) -> Self:
        return self

    @property
    def memory(self) -> Self:
        return self

    @property
    def process(self) -> None:
        return None

    @property
    def background(self) -> Self:
        return self

    @property
    def counts(self) -> Self:
        return self

    def count(self, texts: Sequence[str]) -> tuple[int, ...] | None:
        """See `engine.api.CountsTokens`."""
        session = self._session_or_none
        return None if session is None else session.model.count(texts)

    @property
    def progress(self) -> LoadProgress | None:
        """See `engine.api.WorksInBackground`."""
        return self._progress

    def on_change(self, listener: Callable[[], None]) -> None:
        self._when_changed = listener

    # Models

    def load(self, spec: ModelSpec) -> Running[LoadProgress]:
        """Load a model in place of the present one; it is certified and measured then or, as `spec` says, later."""
        return cancellable(partial(self._load, spec))

    def _load(self, spec: ModelSpec, stop: threading.Event) -> Generator[LoadProgress, None, None]:
        with self._exclusive():
            self._drop()
            model, search = yield from with_progress(
                partial(prepare, spec, self._findings, stop.is_set, packs=self._packs), stop
            )
            self._drafters.begin(spec.memory_tokens, model.encode, model.trained, asleep=model.found is None)
            self._session_or_none = session = Session(model)
            if search is not None:
                self._background = Background(self._find_out(session, search))
                self._background.start()
            yield LoadProgress(stage="ready", message=f"{model.info.name} is ready", done=1, total=1)

    def unload(self) -> None:
        with self._exclusive():
            self._drop()

    def close(self) -> None:
        self.unload()

    # Answers

    def generate(self, request: GenerationRequest) -> Running[Event]:
        """Generate one answer."""
        return self._answering(request, self._drafters.of)

    def _answering(self, request: GenerationRequest, drafter_of: DrafterOf) -> Running[Event]:
        stop, switch = threading.Event(), Switch(request.mode)
        return Work(self._answer(request, drafter_of, stop, switch), stop.set, switch.draft)

    def _answer(
        self, request: GenerationRequest, drafter_of: DrafterOf, stop: threading.Event, switch: Switch
    ) -> Generator[Event, None, None]:
        with self._exclusive(answering=True):
            prompt = self._begin(request)
            session, drafter = self._session, drafter_of(request)
            if session.model.info.provisional:
                drafter = NoDrafter()
            generation = session.model.generation(request, prompt, session.cache, drafter)
            try:
                prefill = _prefilled(session, prompt, request, drafter, stop)
                prefilled = yield from prefill
                if prefilled is not None:
                    yield from generation.start(prefilled)
                    while generation.stop_reason is None and not stop.is_set():
                        if switch.mode != request.mode and not session.model.info.provisional:
                            request = request.with_mode(switch.mode)
                            session.model.draft_with(drafter_of(request), generation, request)
                        yield from generation.step()
            finally:
                self._end(request, generation)
            yield from generation.finish()

    def compare(self, request: GenerationRequest) -> Running[CompareEvent]:
        """Generate the answer plain and adaptive from one prefill, in alternating slices of the one device."""
        return cancellable(partial(self._compare, request.with_mode("adaptive")))

    def _compare(self, request: GenerationRequest, stop: threading.Event) -> Generator[CompareEvent, None, None]:
        with self._exclusive(answering=True):
            self._require_certificate()
            prompt, drafter = self._begin(request), self._drafters.of(request)
            session, model = self._session, self._session.model
            tokens = min(len(prompt.token_ids) + request.max_tokens, model.loaded.context_length)
            session.require_twin(tokens)
            adaptive = model.generation(request, prompt, session.cache, drafter)
            try:
                prefill = _prefilled(session, prompt, request, drafter, stop)
                prefilled = yield from on_lane("plain", prefill)
                twin = session.twin(tokens)
                plain = model.generation(request.with_mode("plain"), prompt, twin, NoDrafter())
                model.target.prepare(twin, plain.widths)
                if prefilled is not None:
                    yield from race(plain, adaptive, prefilled, stop.is_set)
            except EngineError:
                session.cache.clear()  # what is no number in the twin may be none here: both share the prefill
                raise
            finally:
                self._end(request, adaptive)
            yield from finish(plain, adaptive, lambda ids: top_two_margin(model.target, [*prompt.token_ids, *ids]))

    def _begin(self, request: GenerationRequest) -> Prompt:
        """Turn to the request's conversation; returns its prompt."""
        session = self._session
        if session.private not in (None, request.conversation):
            self._leave_private(session)
        self._drafters.turn_to(request, session.cached_ids)
        session.model.target.prepare_thread()
        return session.model.prompt(request)

    def _end(self, request: GenerationRequest, generation: Generation) -> None:
        """Note what the cache holds now, and whose text that is, however the answer ended."""
        self._session.keep(generation.cached_ids, certified=generation.certified)
        self._session.private = request.conversation if request.private else None
        self._drafters.answered(request)

    # The memory of conversations

    def remember(self, conversation: str, texts: Sequence[str]) -> None:
        self._drafters.remember(conversation, texts)
        self._catch_up_if_idle()

    def forget(self, conversation: str) -> None:
        self._drafters.forget(conversation)
        self._catch_up_if_idle(conversation)

    def look(self, phrase: str = "") -> MemoryView:
        with self._exclusive():
            self._drafters.catch_up()
            return memory_view(self._session.model, self._drafters, phrase.strip())

    def _catch_up_if_idle(self, forgotten: str = "") -> None:
        """Change the memory now, or before the next answer where one is running."""
        if self._lock.acquire(blocking=False):
            try:
                with self._no_background():
                    session = self._session_or_none
                    if session is not None and forgotten and session.private == forgotten:
                        self._leave_private(session)
                    self._drafters.catch_up()
            finally:
                self._lock.release()

    def _leave_private(self, session: Session) -> None:
        """Let no trace of the private conversation stay."""
        if session.private is not None:
            self._drafters.forget(session.private)
        session.leave()

    # What is found out while nobody asks

    def _find_out(self, session: Session, search: Search) -> Generator[None, None, None]:
        """Take the steps of `search`, and use what it finds from the next answer on."""
        session.model.target.prepare_thread()
        try:
            while True:
                try:
                    with out_of_memory_in_words(session.model.loaded.footprint):
                        progress = next(search)
                except StopIteration as end:
                    self._become(session, session.model.with_findings(end.value))
                    break
                if session.model.info.provisional:
                    self._progress = progress
                    self._when_changed()
                yield
        except Exception as exc:
            log.warning("What the model does here could not be found out", exc_info=True)
            if session.model.info.provisional:
                self._become(session, session.model.with_note(_why_plain(exc)))
            return
        finally:
            search.close()
        self._drafters.wake()
        while self._drafters.catch_up_one():
            yield

    def _become(self, session: Session, model: ReadyModel) -> None:
        session.model = model
        self._progress = None
        self._when_changed()

    def _require_certificate(self) -> None:
        if not self._session.model.info.provisional:
            return
        if self._progress is None:
            raise NotCertified("Nothing can be compared: this model could not be checked here, and answers are plain.")
        raise NotCertified("The model is still getting ready to draft: compare when drafting is on.")

    def _no_background(self) -> AbstractContextManager[None]:
        """A block in which nothing goes on in the background."""
        return self._background.paused() if self._background is not None else nullcontext()

    # One piece of work at a time

    @contextmanager
    def _exclusive(self, *, answering: bool = False) -> Iterator[None]:
        """Hold the engine for one piece of work; raises `EngineBusy` where another one holds it."""
        if not self._lock.acquire(blocking=False):
            raise EngineBusy("The engine is busy with another answer: wait for it, or stop it.")
        try:
            with (
                self._no_background(),
                out_of_memory_in_words(self._footprint if answering else None, answering=answering),
            ):
                yield
        finally:
            self._lock.release()

    @property
    def _session(self) -> Session:
        if self._session_or_none is None:
            raise NoModelLoaded("No model is loaded: choose one first.")
        return self._session_or_none

    @property
    def _footprint(self) -> Footprint | None:
        session = self._session_or_none
        return session.model.loaded.footprint if session is not None else None

    def _drop(self) -> None:
        """Forget the model and all that belongs to it, and give its memory back."""
        if self._background is not None:
            self._background.stop()
            self._background = None
        self._progress = None
        self._session_or_none = None
        self._drafters.end()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _prefilled(
    session: Session, prompt: Prompt, request: GenerationRequest, drafter: Drafter, stop: threading.Event
) -> Generator[PrefillProgress, None, Prefilled | None]:
    """Bring the cache to the prompt, and keep what the drafter learns from it."""
    return session.prefill(
        prompt.token_ids, request.exactness, drafter.num_top, stop.is_set, num_states=drafter.num_states
    )


def _why_plain(exc: Exception) -> str:
    said = str(exc) if isinstance(exc, EngineError) else f"{type(exc).__name__}: {exc}."
    return f"Answers are plain, without drafts, because the check of this model failed. {said}"
