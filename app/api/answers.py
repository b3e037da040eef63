"""One answer for another program: a thread waits for its turn and reads the engine, an event loop takes what comes.

However slowly the client reads, the engine is free as soon as the answer has ended.
"""

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from app.api.errors import Refused
from app.api.requests import Asked
from app.chat.queue import Asker, Place, Queue, Waiting
from engine.api import EngineAPI, Running
from engine.config import GenerationRequest
from engine.errors import NoModelLoaded
from engine.events import Event, Finished, ModelInfo, PrefillProgress, Round, TextDelta, TokenLikelihood

log = logging.getLogger(__name__)

MOST_WAITING = 100  # requests of other programs; people's messages are never refused
MOST_OF_ONE = MOST_WAITING // 2  # of one machine: the others come in, too
NUM_SEEDS = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The turn has come: which model answers, and what it is asked."""

    model: str
    request: GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """How likely the next tokens were, where that was asked for; their text follows."""

    likelihoods: tuple[TokenLikelihood, ...]


Named = tuple[ModelInfo, str]  # the model that answers, and its id
Step = Waiting | Begun | Scored | TextDelta | Finished


class Answer:
    """One request's way through line and engine. `next` and `cancel` are for the event loop that made it."""

    def __init__(
        self, engine: EngineAPI, place: Place, asked: Asked, begun: Callable[[Asked], tuple[ModelInfo, str]]
    ) -> None:
        self._engine = engine
        self._place = place
        self._asked = asked
        self._begun = begun
        self._loop = asyncio.get_running_loop()
        self._steps: asyncio.Queue[Step | Exception] = asyncio.Queue()
        self._held: Step | Exception | None = None  # the next one, which was looked at already
        self._lock = threading.Lock()  # guards what follows
        self._running: Running[Event] | None = None
        self._cancelled = False
        place.start(threading.Thread(target=self._run, name="api-answer", daemon=True))

    async def next(self, timeout_s: float | None = None) -> Step | None:
        """What comes next, `Finished` last; None when the time is up. Raises what went wrong.

        Texts that came together are one: the engine is read in bursts, and a chunk for each token would cost more.
        """
        step, self._held = self._held, None
        if step is None:
            try:
                async with asyncio.timeout(timeout_s):
                    step = await self._steps.get()
            except TimeoutError:
                return None
        if isinstance(step, Exception):
            raise step
        while isinstance(step, TextDelta) and not self._steps.empty():
            later = self._steps.get_nowait()
            if not isinstance(later, TextDelta):
                self._held = later
                break
            step = TextDelta(text=step.text + later.text)
        return step

    def cancel(self) -> None:
        """Leave the line, or end the answer; no other one is touched. Does nothing after the end."""
        with self._lock:
            self._cancelled = True
            if self._running is not None:
                self._running.cancel()
        self._place.give_up()

    def _run(self) -> None:
        try:
            with self._place as place:
                if place.wait(self._put):
                    self._answer()
        except Exception as exc:  # the thread's outermost frame: the client must be told
            self._put(exc)

    def _answer(self) -> None:
        info, name = self._begun(self._asked)
        request = self._asked.request_for(info, secrets.randbelow(NUM_SEEDS))
        events = self._engine.generate(request)
        with self._lock:
            self._running = events
            if self._cancelled:
                events.cancel()
        self._put(Begun(model=name, request=request))
        with closing(events):
            for event in events:
                if isinstance(event, TextDelta | Finished):
                    self._put(event)
                elif isinstance(event, PrefillProgress | Round) and event.likelihoods:
                    self._put(Scored(likelihoods=event.likelihoods))

    def _put(self, step: Step | Exception) -> None:
        with suppress(RuntimeError):  # the loop is closed: the application ends
            self._loop.call_soon_threadsafe(self._steps.put_nowait, step)


class Answers:
    """Begins answers. `aliases` are further names of the loaded model, the first of them its id for clients; `loading`
    says whether another one comes."""

    def __init__(
        self,
        engine: EngineAPI,
        queue: Queue,
        aliases: Callable[[], tuple[str, ...]] = lambda: (),
        loading: Callable[[], bool] = lambda: False,
    ) -> None:
        self._engine = engine
        self._queue = queue
        self._aliases = aliases
        self._loading = loading

    @property
    def info(self) -> ModelInfo | None:
        return self._engine.info

    @property
    def loading(self) -> bool:
        """Whether a model is on its way, and none is there yet."""
        return self._engine.info is None and self._loading()

    def name(self, info: ModelInfo) -> str:
        """The loaded model's id."""
        return next(iter(self._aliases()), info.name)

    def begin(self, asked: Asked, address: str, name: str) -> Answer:
        """Take a place in the line; raises `QueueFull`, `NoThread`, or `Refused` or `EngineError` without a model."""
        if not self._loading():
            self.model(asked)
        asker = Asker(kind="api", name=name, address=address)
        place = self._queue.join(asker, most=MOST_WAITING, most_of_one=MOST_OF_ONE)
        return Answer(self._engine, place, asked, self._begun)

    def _begun(self, asked: Asked) -> Named:
        info = self.model(asked)
        return info, self.name(info)

    def model(self, asked: Asked) -> ModelInfo:
        """The model that answers; raises where it is none, or another one than is asked for."""
        info = self._engine.info
        if info is None:
            raise NoModelLoaded("No model is ready here: load one, or try again in a moment.")
        if asked.model and asked.model not in (info.name, *self._aliases()):
            raise Refused(
                f"The model {asked.model[:200]!r} is not loaded here: ask for {self.name(info)!r}.",
                param="model",
                code="model_not_found",
                status=404,
            )
        return info
