"""What a benchmark run is asked to do: frozen values, no torch."""

from dataclasses import dataclass
from typing import Literal, get_args

Drafters = Literal["adaptive", "wrong", "oracle", "mixed"]
ArmName = Literal["plain-fast", "plain-exact", "adaptive", "adaptive-fast", "transformers", "prompt-lookup"]

DRAFTERS: tuple[Drafters, ...] = get_args(Drafters)
ARMS: tuple[ArmName, ...] = get_args(ArmName)
LOOPING_SHARE = 0.3  # an answer with more of its own 4-grams repeated proves nothing about drafting


@dataclass(frozen=True, slots=True, kw_only=True)
class LosslessPlan:
    """`temperature` is that of the seeded arm, for lines that set none."""

    temperature: float = 0.8
    drafters: tuple[Drafters, ...] = ("adaptive",)
    negative_control: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedPlan:
    repeats: int = 3
    arms: tuple[ArmName, ...] = ARMS
