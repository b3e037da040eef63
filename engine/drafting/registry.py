"""The drafters by name: what a benchmark compares and what a person can choose from."""

from typing import TYPE_CHECKING, get_args

from engine.config import DrafterName

if TYPE_CHECKING:
    from engine.drafting.drafter import Drafter

DRAFTER_NAMES: tuple[DrafterName, ...] = get_args(DrafterName)
NEED_LOGITS: tuple[DrafterName, ...] = ("recycling", "racer")  # draft nothing, or not as meant, without a target


def make_drafter(name: DrafterName) -> "Drafter":
    """A drafter that has learned nothing yet. What a name needs is imported here: the names themselves need nothing."""
    match name:
        case "adaptive":
            from engine.drafting.adaptive import AdaptiveDrafter

            return AdaptiveDrafter()
        case "prompt-lookup":
            from engine.drafting.baselines.prompt_lookup import PromptLookupDrafter

            return PromptLookupDrafter()
        case "anpd":
            from engine.drafting.baselines.anpd import AnpdDrafter

            return AnpdDrafter()
        case "suffix":
            from engine.drafting.baselines.suffix import SuffixDrafter

            return SuffixDrafter()
        case "recycling":
            from engine.drafting.baselines.recycling import TokenRecyclingDrafter

            return TokenRecyclingDrafter()
        case "racer":
            from engine.drafting.baselines.racer import RacerDrafter

            return RacerDrafter()
