"""What a benchmark run is asked to do: frozen values, no torch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from engine.bench.inputs.curves import YARDSTICKS, Curve
from engine.config import DrafterName, ModelSpec
from engine.drafting.registry import DRAFTER_NAMES, NEED_LOGITS

Drafters = Literal["adaptive", "wrong", "oracle", "mixed"]
StockArm = Literal[
    "plain-fast",
    "plain-exact",
    "adaptive-fast",
    "transformers",
    "transformers-lookup",
    "llama-cpp",
    "llama-cpp-lookup",
    "xllamacpp",
    "xllamacpp-ngram-mod",
]
Ablation = Literal[
    "without-pointer", "without-skip", "without-recycled", "without-calibration", "without-tree", "without-size"
]
Contestant = DrafterName | Ablation
ArmName = StockArm | Contestant
Memory = Literal["cold", "warm"]

DRAFTERS: tuple[Drafters, ...] = get_args(Drafters)
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)
BASELINES: tuple[DrafterName, ...] = tuple(name for name in DRAFTER_NAMES if name != "adaptive")
LLAMA_CPP_ARMS: tuple[ArmName, ...] = ("llama-cpp", "llama-cpp-lookup")  # where it computes the model
OWN_SIZE_ARMS: tuple[ArmName, ...] = (
    *("plain-fast", "plain-exact", "adaptive", "adaptive-fast", "transformers", "transformers-lookup"),
    *LLAMA_CPP_ARMS,
)
XLLAMACPP_ARMS: tuple[ArmName, ...] = ("xllamacpp", "xllamacpp-ngram-mod")  # where its package is, too; if asked for
EQUAL_SIZE_ARMS: tuple[ArmName, ...] = ("plain-exact", "adaptive", *BASELINES)
ARMS: tuple[ArmName, ...] = (*OWN_SIZE_ARMS, *XLLAMACPP_ARMS, *BASELINES, *ABLATIONS)
MEMORIES: tuple[Memory, ...] = get_args(Memory)
USUAL_REPLAY: tuple[Contestant, ...] = tuple(name for name in DRAFTER_NAMES if name not in NEED_LOGITS)
REPLAYABLE: tuple[Contestant, ...] = (*USUAL_REPLAY, *(name for name in ABLATIONS if name != "without-recycled"))
ALL = "all"  # the category that stands for the whole of a suite
LOOPING_SHARE = 0.3  # an answer with more of its own 4-grams repeated proves nothing about drafting


@dataclass(frozen=True, slots=True, kw_only=True)
class LosslessPlan:
    """`temperature` is that of the seeded arm, for lines that set none."""

    temperature: float = 0.8
    drafters: tuple[Drafters, ...] = ("adaptive",)
    negative_control: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedPlan:
    """`max_nodes`: all drafts are verified whole, up to so many tokens, whatever they cost; None: at their own size."""

    repeats: int = 3
    arms: tuple[ArmName, ...] = OWN_SIZE_ARMS
    max_nodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthsPlan:
    """`contexts`: tokens in the KV cache; each width is timed `repeats` times at each."""

    contexts: tuple[int, ...] = (64, 1024)
    repeats: int = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """`files` as read from the folder of `tokenizers`; `limit` conversations of each. With a `target` its forward
    passes are timed, and no curve predicts anything."""

    files: tuple[Path, ...]
    tokenizers: Path
    drafters: tuple[Contestant, ...] = USUAL_REPLAY
    curves: tuple[Curve, ...] = tuple(Curve(name, points) for name, points in YARDSTICKS.items())
    memories: tuple[Memory, ...] = ("cold",)
    max_nodes: int = 64
    limit: int | None = None
    target: ModelSpec | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "files": [path.name for path in self.files],
            "drafters": list(self.drafters),
            "curves": [curve.to_json() for curve in self.curves],
            "memories": list(self.memories),
            "max_nodes": self.max_nodes,
            "limit": self.limit,
            "target": asdict(self.target) if self.target else None,
        }
