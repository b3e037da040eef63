"""Two engines as one: the one on this machine, and a server where the model's name is its address."""

from collections.abc import Generator

from engine.api import (
    Compares,
    CountsTokens,
    EngineAPI,
    EngineProcessInfo,
    RemembersConversations,
    Running,
    Work,
    WorksInBackground,
)
from engine.config import GenerationRequest, ModelSpec
from engine.events import Event, LoadProgress, ModelInfo
from engine.remote.address import is_address


class EitherEngine:
    """`EngineAPI` of whichever was loaded last; the other one holds no model. Capabilities are the present one's."""

    def __init__(self, local: EngineAPI, remote: EngineAPI) -> None:
        self._local = local
        self._remote = remote
        self._present = local

    @property
    def info(self) -> ModelInfo | None:
        return self._present.info

    @property
    def compares(self) -> Compares | None:
        return self._present.compares

    @property
    def memory(self) -> RemembersConversations | None:
        return self._present.memory

    @property
    def process(self) -> EngineProcessInfo | None:
        return self._present.process

    @property
    def background(self) -> WorksInBackground | None:
        return self._present.background

    @property
    def counts(self) -> CountsTokens | None:
        return self._present.counts

    def load(self, spec: ModelSpec) -> Running[LoadProgress]:
        chosen, other = (self._remote, self._local) if is_address(spec.model) else (self._local, self._remote)
        running = chosen.load(spec)
        return Work(self._load(running, chosen, other), running.cancel)

    def _load(
        self, running: Running[LoadProgress], chosen: EngineAPI, other: EngineAPI
    ) -> Generator[LoadProgress, None, None]:
        """Give the other one's memory back first, as a load does with the model before."""
        try:
            other.unload()
            self._present = chosen
            yield from running
        finally:
            running.close()

    def generate(self, request: GenerationRequest) -> Running[Event]:
        return self._present.generate(request)

    def unload(self) -> None:
        self._present.unload()

    def close(self) -> None:
        self._remote.close()
        self._local.close()
