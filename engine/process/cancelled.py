"""How an answer ends that was cancelled before its process had a model again. Knows no process."""

from collections.abc import Iterator
from typing import Literal

from engine.config import Mode
from engine.events import Certificate, CompareEvent, Event, Finished, LaneEvent, Verdict
from engine.metrics import GenerationStats

NO_STATS = GenerationStats(
    num_prompt_tokens=0,
    num_reused_tokens=0,
    num_tokens=0,
    num_committed=0,
    draft_sizes=(),
    accepted_lengths=(),
    prefill_s=0.0,
    ttft_s=0.0,
    decode_s=0.0,
    draft_s=0.0,
    plain_round_s=None,
)


def cancelled_answer(do: Literal["generate", "compare"], certificate: Certificate) -> Iterator[Event | CompareEvent]:
    """The events of an answer, or a comparison, without a token."""
    end = Finished(stop_reason="cancelled", text="", token_ids=(), stats=NO_STATS, certificate=certificate)
    if do == "generate":
        yield end
        return
    lanes: tuple[Mode, Mode] = ("plain", "adaptive")
    for lane in lanes:
        yield LaneEvent(lane=lane, event=end)
    yield Verdict(
        identical=True,
        num_compared=0,
        divergence=None,
        plain=NO_STATS,
        adaptive=NO_STATS,
        speedup=None,
        complete=False,
    )
