"""Makes the drafters that the benchmarks compare: those by name, and the adaptive one without one of its parts."""

from typing import cast

from engine.bench.arms.budget import WholeDraft
from engine.bench.plans import Contestant
from engine.config import DrafterName
from engine.drafting.adaptive import AdaptiveDrafter, DrafterOptions
from engine.drafting.conversation_memory import ConversationMemory
from engine.drafting.drafter import Drafter
from engine.drafting.registry import make_drafter

_WITHOUT: dict[str, DrafterOptions] = {
    "without-pointer": DrafterOptions(without=("pointer",)),
    "without-skip": DrafterOptions(without=("skip",)),
    "without-recycled": DrafterOptions(without=("recycled",)),
    "without-calibration": DrafterOptions(calibration=False),
    "without-tree": DrafterOptions(tree=False),
    "without-size": DrafterOptions(),  # all of a draft is verified, whatever it costs
}


def make_contestant(
    name: Contestant, max_nodes: int, *, whole: bool, memory: ConversationMemory | None = None
) -> Drafter:
    """A drafter that has learnt nothing yet; only the adaptive one has use for `memory`.

    `whole`: its drafts are verified whole, up to `max_nodes` tokens; else it chooses their size itself, if it can.
    """
    drafter: Drafter
    if name == "adaptive":
        drafter = AdaptiveDrafter(memory)
    elif name in _WITHOUT:
        drafter = AdaptiveDrafter(memory, _WITHOUT[name])
    else:
        drafter = make_drafter(cast(DrafterName, name))
    return WholeDraft(drafter, max_nodes) if whole or name == "without-size" else drafter
