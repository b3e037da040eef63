"""What an arm of the speed benchmark is, and what it came to on a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.batch import PromptLine
from engine.metrics import ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRun:
    """One arm's answer to a prompt, over all of its turns. `drafted` None: the arm does not report it."""

    answers: tuple[tuple[int, ...], ...]  # the ids of each turn's answer
    committed: int  # tokens after the first of each answer
    decode_s: float
    ttft_s: float  # of the first turn
    rounds: int
    drafted: int | None
    accepted: int

    @property
    def tokens_per_s(self) -> float | None:
        return ratio(self.committed, self.decode_s)

    @classmethod
    def of_turns(cls, turns: Sequence["ArmRun"]) -> "ArmRun":
        """The turns of a conversation as one run."""
        drafted = [turn.drafted for turn in turns if turn.drafted is not None]
        return cls(
            answers=tuple(answer for turn in turns for answer in turn.answers),
            committed=sum(turn.committed for turn in turns),
            decode_s=sum(turn.decode_s for turn in turns),
            ttft_s=turns[0].ttft_s,
            rounds=sum(turn.rounds for turn in turns),
            drafted=sum(drafted) if len(drafted) == len(turns) else None,
            accepted=sum(turn.accepted for turn in turns),
        )


class Arm(Protocol):
    """One way of answering. `needs_greedy`: it cannot sample with our seeds."""

    name: str
    needs_greedy: bool

    def run(self, line: PromptLine) -> ArmRun:
        """Answer all turns of a line, from an empty cache on."""
