"""What a pack drafts with, on the target's device."""

from dataclasses import dataclass

import torch

from engine.trained.look_ahead import TrainedHeads
from engine.trained.pack import Pack
from engine.trained.unrolling import TrainedChimera


@dataclass(frozen=True, slots=True)
class TrainedDrafter:
    """Implements `engine.drafting.looking.Trained`."""

    name: str
    heads: TrainedHeads | None
    chimera: TrainedChimera | None

    @property
    def num_bytes(self) -> int:
        """What it takes beside the target, on its device and in memory."""
        return sum(each.num_bytes for each in (self.heads, self.chimera) if each is not None)


def ready_to_draft(pack: Pack, device: torch.device) -> TrainedDrafter:
    """The parts of a pack, as far as it has them."""
    return TrainedDrafter(
        pack.name,
        TrainedHeads(pack, device) if pack.config.heads else None,
        TrainedChimera(pack, device) if pack.config.chimera else None,
    )
