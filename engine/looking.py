"""The memory of conversations as people see it: what it holds, where a phrase stands, what would be drafted then."""

from collections.abc import Sequence

from engine.drafters import Drafters
from engine.drafting.drafter import ELSEWHERE
from engine.drafting.lookup import Chain, Found, chains, find_phrase
from engine.errors import NotCertified
from engine.events import Match, MemoryView, Proposal, Remembered
from engine.ready import ReadyModel

_SKETCHED = 64  # nodes of the draft behind a phrase


def memory_view(model: ReadyModel, drafters: Drafters, phrase: str = "") -> MemoryView:
    """What may be drafted from other conversations; only while nobody answers. Raises `NotCertified`."""
    memory = drafters.memory
    found, proposed = _looked_up(model, drafters, phrase) if phrase else ([], [])
    return MemoryView(
        conversations=tuple(Remembered(key, size) for key, size in memory.sizes.items() if key != ELSEWHERE),
        cap_tokens=memory.cap_tokens,
        num_bytes=memory.num_bytes,
        joining=drafters.joining,
        proposals=tuple(
            Proposal(model.spell(chain.token_ids), round(chain.chance, 3), chain.source, _place(chain))
            for chain in proposed
        ),
        matches=tuple(Match(each.key, each.times, model.spell(each.around)) for each in found if each.key != ELSEWHERE),
    )


def _looked_up(model: ReadyModel, drafters: Drafters, phrase: str) -> tuple[Sequence[Found], Sequence[Chain]]:
    """Where the phrase stands, and what would follow. Words mostly follow a space, which belongs to their token: it is
    looked up with a space before it, too, and as it stands more often."""
    if drafters.asleep:
        raise NotCertified("The model is still getting ready to draft: look a phrase up when drafting is on.")
    variants = [model.encode([text]) for text in (f" {phrase}", phrase)]
    found = [find_phrase(drafters.memory, token_ids) for token_ids in variants]
    best = max((0, 1), key=lambda at: sum(each.times for each in found[at]))
    if not variants[best]:
        return found[best], []
    return found[best], chains(model.sketched(drafters.adaptive.sketch(variants[best], _SKETCHED)))


def _place(chain: Chain) -> str:
    """As `engine.events.Origins` names places; the phrase alone is no chat."""
    return f"chat {chain.place}" if isinstance(chain.place, str) and chain.place != ELSEWHERE else ""
