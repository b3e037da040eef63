"""The engine as its users see it, whether it runs in this process, in a child, or elsewhere.

`engine.engine.Engine` computes in this process; `engine.process.client.EngineProcess` has the same face over a pipe,
and tests use a scripted one. What only some engines can do is a capability: a property that is None
where an engine lacks it. Nothing here imports torch.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from engine.config import GenerationRequest, ModelSpec
from engine.events import CompareEvent, Event, LoadProgress, MemoryView, ModelInfo

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Running(Protocol[T_co]):
    """One load, answer or comparison: an iterator that can be ended early. Iterating does the work.

    Iterating raises `EngineError` or `ValueError`.
    """

    def __iter__(self) -> Iterator[T_co]: ...

    def __next__(self) -> T_co: ...

    def cancel(self) -> None:
        """End this piece of work soon and no other; from any thread, also before it has begun or after its end.

        An answer still ends in `Finished`, with reason "cancelled"; a load ends in an `EngineError`.
        """

    def draft(self, on: bool) -> None:
        """Draft from the next round on, or stop drafting; from any thread. Nothing happens but in an answer."""

    def close(self) -> None:
        """Give up: nothing more is read, and the engine is ready for the next request. On the iterating thread."""


class Work(Generic[T]):
    """A generator as a `Running`. `cancel` makes the generator end early, `draft` switches its drafts.

    >>> import threading
    >>> stop = threading.Event()
    >>> work = Work((step for step in range(3) if not stop.is_set()), stop.set)
    >>> next(work), work.cancel(), list(work)
    (0, None, [])
    """

    def __init__(
        self,
        steps: Generator[T, None, None],
        cancel: Callable[[], None],
        draft: Callable[[bool], None] = lambda on: None,
    ) -> None:
        self._steps = steps
        self._cancel = cancel
        self._draft = draft

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._steps)

    def cancel(self) -> None:
        self._cancel()

    def draft(self, on: bool) -> None:
        self._draft(on)

    def close(self) -> None:
        self._steps.close()


class Compares(Protocol):
    """The capability to show what drafting gains."""

    def compare(self, request: GenerationRequest) -> Running[CompareEvent]:
        """Generate the answer plain and adaptive in alternating slices; exactly one `Verdict` comes, last.

        `request.mode` is ignored. The prefill's progress is reported on the plain lane only.
        """


class RemembersConversations(Protocol):
    """The capability to draft from other conversations."""

    def remember(self, conversation: str, texts: Sequence[str]) -> None:
        """Let the answers in other conversations draft from this one; what was known of it is replaced.

        Does not wait: an answer that runs ends first. Known until another model is loaded. Without a model
        nothing happens.
        """

    def forget(self, conversation: str) -> None:
        """Never draft from this conversation again; the next answer already does not."""

    def look(self, phrase: str = "") -> MemoryView:
        """What is known, and what would be proposed behind a phrase. Waits for the engine; raises `EngineError`."""


class CountsTokens(Protocol):
    """The capability to say how many tokens a text makes."""

    def count(self, texts: Sequence[str]) -> tuple[int, ...] | None:
        """How many tokens of the loaded model each text is; None where that cannot be known at present.

        From any thread, also while an answer runs, which it does not wait for.
        """


ProcessState = Literal["absent", "starting", "loading", "ready", "crashed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """The state of an engine's process. `progress` is the last step of the latest load."""

    state: ProcessState
    progress: LoadProgress | None = None
    message: str = ""  # why it is not ready, until it is


class EngineProcessInfo(Protocol):
    """The capability of an engine in a process of its own, which may die and loads its model again by itself."""

    @property
    def pid(self) -> int | None:
        """The process's id, or None where none runs."""

    @property
    def status(self) -> EngineStatus: ...

    def on_ready(self, listener: Callable[[], None]) -> None:
        """Call `listener`, on some thread, whenever a process has loaded a model. There is one listener."""


class WorksInBackground(Protocol):
    """The capability to answer before all is known of a model: the rest is found out while nobody asks.

    `info.provisional` says whether answers are plain until then; `info` changes when it is known.
    """

    @property
    def progress(self) -> LoadProgress | None:
        """How far that is; None where answers do not wait for it."""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener`, on some thread, whenever `progress` or `info` has changed so. There is one listener."""


class EngineAPI(Protocol):
    """One model at a time, one answer at a time; a request while another runs raises `EngineBusy` when iterated."""

    @property
    def info(self) -> ModelInfo | None:
        """The loaded model, or None."""

    def load(self, spec: ModelSpec) -> Running[LoadProgress]:
        """Load a model; the present one is unloaded first; the last event has the stage "ready"."""

    def generate(self, request: GenerationRequest) -> Running[Event]:
        """Generate one answer; exactly one `Finished` comes, last."""

    def unload(self) -> None:
        """Give the model's bytes back."""

    def close(self) -> None:
        """Unload and end; the object is not used afterwards."""

    @property
    def compares(self) -> Compares | None: ...

    @property
    def memory(self) -> RemembersConversations | None: ...

    @property
    def process(self) -> EngineProcessInfo | None: ...

    @property
    def background(self) -> WorksInBackground | None: ...

    @property
    def counts(self) -> CountsTokens | None: ...
