"""Two engines as one: the one on this machine, and a server where the model's name is its address."""

from collections.abc import Generator
from contextlib import closing

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
    """`EngineAPI` of whichever was loaded last; the other one holds no model. Capabilities are the present one's.

    The model here stays until a server has answered: a wrong address or key costs nothing.
    """

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
        running = (self._remote if is_address(spec.model) else self._local).load(spec)
        steps = self._turn_to_server(running) if is_address(spec.model) else self._turn_to_local(running)
        return Work(steps, running.cancel)

    def _turn_to_local(self, running: Running[LoadProgress]) -> Generator[LoadProgress, None, None]:
        with closing(running):
            self._remote.unload()
            self._present = self._local
            yield from running

    def _turn_to_server(self, running: Running[LoadProgress]) -> Generator[LoadProgress, None, None]:
        with closing(running):
            for step in running:
                if step.stage == "ready":
                    self._local.unload()
                    self._present = self._remote
                yield step

    def generate(self, request: GenerationRequest) -> Running[Event]:
        return self._present.generate(request)

    def unload(self) -> None:
        self._present.unload()

    def close(self) -> None:
        self._remote.close()
        self._local.close()
