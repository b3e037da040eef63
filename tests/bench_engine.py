"""An engine for the benchmarks' tests: a scripted target that really verifies drafts, and can be told to be faulty.

The target's token is a function of the last two ids and, with a temperature, of seed and place: so the same text
always has one answer, whoever drafts, unless `faulty` is set, which makes a round with a rejected draft commit
another bonus token, the kind of defect that the lossless benchmark exists to find.
"""

import zlib
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from typing import Any

from engine.api import Running, Work
from engine.config import GenerationRequest
from engine.drafting.adaptive import AdaptiveDrafter
from engine.drafting.drafter import ROOT, Drafter, NoDrafter
from engine.events import Event, Finished, Round, TextDelta
from engine.metrics import GenerationStats
from tests.scripted import ScriptedEngine
from tests.scripted_answer import EXACT, FAST, split_tokens, token_id

END = 0
VOCABULARY = 23
MAX_DRAFT = 15


class DraftingEngine(ScriptedEngine):
    """`faulty`: drafting changes answers. `loops`: answers repeat one token."""

    def __init__(self, *, faulty: bool = False, loops: bool = False) -> None:
        super().__init__(loaded=True)
        self.faulty = faulty
        self.loops = loops
        self.resets = 0

    @property
    def loaded(self) -> Any:  # type: ignore[override]
        return object()

    @loaded.setter
    def loaded(self, value: bool) -> None:
        pass

    def stock_model(self) -> Any:
        return nullcontext()

    def draft_every_round(self) -> None:
        pass

    def reset_cache(self) -> None:
        self.resets += 1
        self._cached = []

    def generate(self, request: GenerationRequest, *, drafter: Drafter | None = None) -> Running[Event]:
        return Work(self._draft(request, drafter), lambda: None)

    def _draft(self, request: GenerationRequest, drafter: Drafter | None) -> Generator[Event, None, None]:
        self.requests.append(request)
        text = "\n".join(message.text for message in request.messages)
        prompt = [token_id(piece) for piece in split_tokens(text)]
        reused = len(self._cached)
        if request.mode == "plain":
            drafter = NoDrafter()
        drafter = drafter or AdaptiveDrafter()
        ids = [*prompt, self._next(prompt, request)]
        drafter.begin(list(ids))
        sizes, accepted_lengths = [], []
        ended = ids[-1] == END
        while not ended and len(ids) - len(prompt) < request.max_tokens:
            room = request.max_tokens - (len(ids) - len(prompt)) - 1
            draft = drafter.draft(min(room, MAX_DRAFT))
            committed: list[int] = []
            nodes = {edge: node for node, edge in enumerate(zip(draft.parents, draft.token_ids, strict=True))}
            node: int | None = ROOT
            while node is not None:
                right = self._next([*ids, *committed], request)
                child = nodes.get((node, right)) if right != END else None
                if self.faulty and child is None and any(parent == node for parent in draft.parents):
                    right = 1 + right % VOCABULARY
                committed.append(right)
                node = child
            accepted = len(committed) - 1
            ended = committed[-1] == END
            sizes.append(len(draft))
            accepted_lengths.append(accepted)
            ids += committed
            drafter.commit(draft, committed)
            yield Round(
                index=len(sizes) - 1,
                draft_size=len(draft),
                accepted=accepted,
                token_ids=tuple(committed),
                sources=draft.sources,
                decode_s=0.02 * len(sizes),
            )
        answer = [i for i in ids[len(prompt) :] if i != END]
        self._cached = ids
        text = " ".join(map(str, answer))
        yield TextDelta(text=text)
        yield Finished(
            stop_reason="eos" if ended else "length",
            text=text,
            token_ids=tuple(answer),
            stats=_stats(prompt, reused, ids, sizes, accepted_lengths, len(answer)),
            certificate=FAST if request.exactness == "fast" else EXACT,
        )

    def _next(self, ids: Sequence[int], request: GenerationRequest) -> int:
        if self.loops:
            return 7
        sampling = request.sampling
        noise = (sampling.seed, len(ids)) if sampling.temperature else ()
        value = zlib.crc32(repr((list(ids[-2:]), noise)).encode())
        if value % 89 == 0 and not request.ignore_eos:
            return END
        return 1 + value % VOCABULARY


def _stats(
    prompt: Sequence[int],
    reused: int,
    ids: Sequence[int],
    sizes: Sequence[int],
    accepted_lengths: Sequence[int],
    num_tokens: int,
) -> GenerationStats:
    return GenerationStats(
        num_prompt_tokens=len(prompt),
        num_reused_tokens=min(reused, len(prompt) - 1),
        num_tokens=num_tokens,
        num_committed=len(ids) - len(prompt) - 1,
        draft_sizes=tuple(sizes),
        accepted_lengths=tuple(accepted_lengths),
        prefill_s=0.01,
        ttft_s=0.01,
        decode_s=0.02 * len(sizes),
        draft_s=0.0,
        plain_round_s=0.02,
    )
