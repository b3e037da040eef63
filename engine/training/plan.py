"""What a training is about, what it takes, and the folder that it goes on in after an interruption."""

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from engine.config import Quant
from engine.drafting.sources.chimera import MAX_DEPTH
from engine.errors import NotEnoughDisk, NotEnoughMemory, OtherTraining, UnusablePack
from engine.models.identity import ModelIdentity
from engine.models.ram import free_ram, gigabytes
from engine.trained.chimera import CONTEXT
from engine.trained.pack import HEAD, Sizes
from engine.training.answers import FEWEST, LIMIT, rows_for
from engine.training.forecast import disk_of

MAX_PROMPT = CONTEXT - LIMIT  # tokens of a prompt's end whose states are kept
CHIMERA_DEPTH = 5  # tokens in a row
EXAMPLES = 256  # in a step

TRAINED = ("heads", "rescorer", "chimera")  # in this order
Stage = Literal["answers", "states", "heads", "rescorer", "chimera", "calibrate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Whose answers to what: with other settings they would be others. `prompts` is a digest of the prompts' token ids,
    `device` a kind of devices, `rows` how many are written at once."""

    model: ModelIdentity
    dtype: str
    quant: Quant
    device: str
    prompts: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a stage is; `seconds_left` is None until something says how fast it goes."""

    stage: Stage
    done: int
    total: int
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Upper bounds, in bytes. `memory` is beside the model itself, `disk` while it trains, `pack` what stays."""

    memory: int
    disk: int
    pack: int

    @property
    def sentence(self) -> str:
        return (
            f"Training takes up to {gigabytes(self.memory)} of memory beside the model and {gigabytes(self.disk)} of "
            f"disk; the pack will take up to {gigabytes(self.pack)}."
        )

    def check(self, folder: Path, *, in_ram: bool) -> None:
        """Raise `NotEnoughDisk` or `NotEnoughMemory` where there is less."""
        free = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free
        if free < self.disk:
            raise NotEnoughDisk(
                f"Training takes up to {gigabytes(self.disk)} of disk, and {gigabytes(free)} are free in {folder}: "
                "choose another folder with --out, or fewer --tokens."
            )
        ram = free_ram()
        if in_ram and ram < self.memory:
            raise NotEnoughMemory(
                f"Training takes up to {gigabytes(self.memory)} of memory beside the model, and {gigabytes(ram)} are "
                "free: close other programs, or choose a smaller model."
            )


def needs(
    parts: Sequence[Sizes], *, vocab_size: int, kv_bytes: int, longest: int, num_tokens: int, num_prompts: int
) -> Needs:
    """What a training of parts of these sizes takes; `longest` is the longest prompt, `kv_bytes` what a cached token
    takes."""
    learned = [sum(math.prod(shape) for name, shape in each.shapes().items() if name != HEAD) for each in parts]
    vocab, hidden_size = parts[0].draft_vocab, parts[0].hidden_size
    frozen = vocab * hidden_size
    at_once = rows_for(kv_bytes)
    answering = at_once * ((longest + LIMIT) * kv_bytes + vocab_size * 8)
    rows = max(EXAMPLES, LIMIT) * MAX_DEPTH  # that are scored in a step, and their gradients
    fitting = 16 * max(learned) + 4 * frozen + 6 * 4 * rows * vocab
    states = 2 * hidden_size * (num_tokens + num_prompts * min(longest, MAX_PROMPT))
    return Needs(
        memory=max(answering, fitting + states),
        disk=disk_of(states, sum(learned), frozen, num_tokens),
        pack=2 * (sum(learned) + frozen),
    )


class Workplace:
    """The folder in which a training keeps what it has: `training` in the pack's own.

    Answers and states serve trainings on more tokens or with other heads too; those with other settings are refused.
    """

    def __init__(self, pack: Path) -> None:
        self.pack = pack
        self.folder = pack / "training"

    @property
    def answers(self) -> Path:
        return self.folder / "answers.jsonl"

    @property
    def states(self) -> Path:
        return self.folder / "states.bin"

    def checkpoint(self, part: str) -> Path:
        return self.folder / f"{part}.pt"

    def begin(self, settings: Settings) -> int:
        """Make the folder, or go on in it; returns with how many rows. Raises `OtherTraining` where it holds one."""
        file = self.folder / "settings.json"
        text = json.dumps(asdict(settings), indent=1) + "\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                draft = file.with_suffix(".new")
                draft.write_text(text, encoding="utf-8")
                os.replace(draft, file)
            known = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            known = {}
        except OSError as exc:
            raise UnusablePack(
                f"{self.folder} cannot be written ({exc.strerror}): choose another folder with --out."
            ) from exc
        rows = known.get("rows", FEWEST) if isinstance(known, dict) else None  # versions that did not note it had these
        if not isinstance(rows, int) or {**known, "rows": settings.rows} != asdict(settings):
            raise OtherTraining(
                f"{self.pack} holds the training of another model, or with another --dtype, --quant or --device, or "
                "with other prompts: choose another folder with --out, the settings it began with, or remove this one."
            )
        return int(rows)

    def end(self) -> None:
        """Remove what only a training that goes on needs; the answers stay."""
        self.states.unlink(missing_ok=True)
        self.states.with_suffix(".done").unlink(missing_ok=True)
        for part in TRAINED:
            self.checkpoint(part).unlink(missing_ok=True)
