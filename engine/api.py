"""The engine as its users see it, whether it runs in this process or in a child.

`engine.engine.Engine` is the one that computes; `engine.process.client.EngineProcess` has the same face over a pipe,
and tests put a scripted one in its place. Nothing here imports torch.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from engine.config import GenerationRequest, ModelSpec
from engine.events import CompareEvent, Event, LoadProgress, ModelInfo


class EngineAPI(Protocol):
    """One model at a time, one answer at a time.

    The iterators raise `EngineError` or `ValueError`; closing one early cancels the work behind it and leaves
    the engine ready for the next request.
    """

    @property
    def info(self) -> ModelInfo | None:
        """The loaded model, or None."""

    def load(self, spec: ModelSpec) -> Iterator[LoadProgress]:
        """Load a model in place of the present one; the last event has the stage "ready"."""

    def generate(self, request: GenerationRequest) -> Iterator[Event]:
        """Generate one answer; exactly one `Finished` comes, last."""

    def compare(self, request: GenerationRequest) -> Iterator[CompareEvent]:
        """Generate the answer plain and adaptive in alternating slices; exactly one `Verdict` comes, last.

        `request.mode` is ignored. The prefill's progress is reported on the plain lane only.
        """

    def cancel(self) -> None:
        """End the running answer soon, from any thread; it still finishes, with reason "cancelled"."""

    def remember(self, conversation: str, texts: Sequence[str]) -> None:
        """Let the answers in other conversations draft from this one; what was known of it is replaced.

        Does not wait: an answer that runs ends first. Known until another model is loaded. Without a model
        nothing happens.
        """

    def forget(self, conversation: str) -> None:
        """Never draft from this conversation again; the next answer already does not."""

    def unload(self) -> None:
        """Give the model's memory back."""

    def close(self) -> None:
        """Unload and end; the object is not used afterwards."""
