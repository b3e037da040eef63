"""Our engine as arms of the speed benchmark: plain, adaptive, and with each of the drafters."""

from copy import deepcopy
from dataclasses import replace

from engine.batch import PromptLine
from engine.bench.arms.arm import Arm, ArmRun
from engine.bench.arms.contestants import make_contestant
from engine.bench.harness import BenchEngine, converse
from engine.bench.plans import ABLATIONS, BASELINES, Contestant
from engine.config import Exactness, GenerationRequest, Mode
from engine.drafting.drafter import Drafter
from engine.forward.widths import MAX_WIDTH


class EngineArm:
    """Our engine in one exactness, with a drafter or plain.

    The drafter keeps learning from prompt to prompt, but each repeat starts from what it knew before the prompt: what
    it learned from an answer must not help it with the same answer.
    """

    needs_greedy = False

    def __init__(self, name: str, engine: BenchEngine, exactness: Exactness, drafter: Drafter | None) -> None:
        self.name = name
        self._engine = engine
        self._mode: Mode = "adaptive" if drafter else "plain"
        self._exactness = exactness
        self._drafter = drafter  # after the last run
        self._before = drafter  # before the prompt of the last run
        self._prompt: tuple[str, int] | None = None  # that of the last run; the warm-up's is the first one, cut short

    def run(self, line: PromptLine) -> ArmRun:
        def edit(request: GenerationRequest) -> GenerationRequest:
            return replace(request, mode=self._mode, exactness=self._exactness)

        prompt = (line.category, line.number)
        if prompt != self._prompt:
            self._prompt, self._before = prompt, self._drafter
        self._drafter = deepcopy(self._before)
        turns = []
        for answer in converse(self._engine, line, edit, lambda _: self._drafter):
            stats = answer.stats
            turns.append(
                ArmRun(
                    answers=(answer.token_ids,),
                    committed=stats.num_committed,
                    decode_s=stats.decode_s,
                    ttft_s=stats.ttft_s,
                    rounds=stats.rounds,
                    drafted=stats.drafted,
                    accepted=stats.accepted,
                )
            )
        return ArmRun.of_turns(turns)


def engine_arms(engine: BenchEngine, max_nodes: int | None = None) -> tuple[Arm, ...]:
    """Ours, by name; each drafting one with a drafter of its own."""

    def drafter(name: Contestant) -> Drafter:
        return make_contestant(name, max_nodes or MAX_WIDTH - 1, whole=max_nodes is not None)

    return (
        EngineArm("plain-fast", engine, "fast", None),
        EngineArm("plain-exact", engine, "exact", None),
        EngineArm("adaptive", engine, "exact", drafter("adaptive")),
        EngineArm("adaptive-fast", engine, "fast", drafter("adaptive")),
        *(EngineArm(name, engine, "exact", drafter(name)) for name in (*BASELINES, *ABLATIONS)),
    )
