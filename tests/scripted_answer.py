"""What a scripted engine answers: words as tokens, a model's facts, figures that add up."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from engine.config import Mode, ModelSpec, Sampling
from engine.events import (
    Certificate,
    Divergence,
    Event,
    Finished,
    Likelihood,
    ModelInfo,
    Origins,
    PrefillProgress,
    Round,
    StopReason,
    TextDelta,
    TokenLikelihood,
    Verdict,
)
from engine.metrics import GenerationStats, ratio

END_TOKEN = 0
PLACES = {"ngram-4": "prompt", "memory": "chat 1", "recycled": "", "heads": ""}  # by source, else this answer
EXACT = Certificate(setting="exact", tier="B", widths=(16,))
FAST = Certificate(setting="fast", tier="C", widths=(1, 2, 4, 8, 16))


def split_tokens(text: str) -> list[str]:
    """Text in pieces that join to it again: a word with the space before it is a token."""
    return re.findall(r"\s*\S+|\s+$", text)


def token_id(piece: str) -> int:
    """The same id for the same piece in every process, never the end token."""
    return 1 + zlib.crc32(piece.encode("utf-8", "surrogatepass")) % 49_999


@dataclass(frozen=True)
class Script:
    """One lane's answer, worked out before the first event."""

    pieces: list[str]
    ends: list[int]  # how much of `text` is out after each piece
    text: str
    reason: StopReason
    prompt_ids: list[int]
    reused: int
    num_likeliest: int | None = None

    @property
    def commits(self) -> list[int]:
        """The token ids to commit, end token included."""
        ids = [token_id(piece) for piece in self.pieces]
        return [*ids, END_TOKEN] if self.reason == "eos" else ids

    def likelihoods(self, start: int, end: int) -> tuple[TokenLikelihood, ...]:
        """Of the tokens from `start` to `end`, where asked for; the likeliest words are always the same."""
        if self.num_likeliest is None:
            return ()
        others = tuple(likelihood(word) for word in ("a", "an", "the")[: self.num_likeliest])
        return tuple(TokenLikelihood(likelihood(piece), others) for piece in self.pieces[start:end])

    def origins(self, start: int, accepted: int, sources: Sequence[str]) -> Origins:
        """Of a round that committed `accepted` drafted tokens from `start` on, and the target's own."""
        ends = [0, *self.ends]
        last = min(start + accepted + 1, len(self.ends))
        lengths = [ends[at + 1] - ends[at] for at in range(start, last)]
        refused = accepted < len(sources)
        return Origins(
            lengths=tuple(lengths + [0] * (accepted + 1 - len(lengths))),
            chances=tuple(max(0.05, 0.97 - 0.06 * n) for n in range(accepted)),
            places=tuple(PLACES.get(source, "answer") for source in sources[:accepted]),
            refused=" but not this" if refused else "",
            refused_source=sources[accepted] if refused else "",
            refused_place="answer" if refused else "",
            refused_chance=0.31 if refused else None,
        )


def drafted_from(index: int, draft_size: int) -> tuple[str, ...]:
    """What proposed the tokens of a round: the first an N-gram, the others one source in turn."""
    others = ("ngram-3", "memory", "recycled", "heads", "pointer")
    return ("ngram-4", *(others[index % len(others)],) * (draft_size - 1))[:draft_size]


def likelihood(piece: str) -> Likelihood:
    """The longer a word, the less likely it is."""
    return Likelihood(token_id(piece), piece, -float(len(piece)))


def scripted_info(spec: ModelSpec) -> ModelInfo:
    """What a small model on a laptop's processor would report."""
    return ModelInfo(
        name=spec.model,
        path=f"/models/{spec.model}",
        architecture="ScriptedForCausalLM",
        num_parameters=12_345_678,
        weights_bytes=49_382_712,
        dtype="float32" if spec.dtype == "auto" else spec.dtype,
        quant=spec.quant,
        device="cpu" if spec.device == "auto" else spec.device,
        device_name="Scripted CPU",
        threads=spec.threads or 2,
        context_length=spec.max_context or 2048,
        has_chat_template=True,
        has_thinking_switch=False,
        default_sampling=Sampling(temperature=0.7, top_p=0.9),
        exact=EXACT,
        fast=FAST,
        cost_curve=((1, 0.020), (2, 0.0205), (4, 0.021), (8, 0.023), (16, 0.028)),
        exact_cost=1.03,
        load_s=1.5,
        notes=("This is a scripted engine.",),
    )


def finished(script: Script, events: Sequence[Event], mode: Mode, reason: StopReason, round_s: float) -> Finished:
    """The end of an answer of which `events` came."""
    rounds = [event for event in events if isinstance(event, Round)]
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    num_committed = sum(len(event.token_ids) for event in rounds)
    told = any(isinstance(event, PrefillProgress) and event.first_token_id is not None for event in events)
    has_first = bool(told or rounds or text or reason != "cancelled")
    ids = script.commits[: 1 + num_committed] if has_first else []
    token_ids = tuple(i for i in ids if i != END_TOKEN)
    prefill_s = 0.001 * (len(script.prompt_ids) - script.reused)
    stats = GenerationStats(
        num_prompt_tokens=len(script.prompt_ids),
        num_reused_tokens=script.reused,
        num_tokens=len(token_ids),
        num_committed=num_committed,
        draft_sizes=tuple(event.draft_size for event in rounds),
        accepted_lengths=tuple(event.accepted for event in rounds),
        prefill_s=prefill_s,
        ttft_s=prefill_s,
        decode_s=len(rounds) * round_s,
        draft_s=len(rounds) * round_s / 100 if mode == "adaptive" else 0.0,
        plain_round_s=round_s,
        loop=rounds[-1].loop if rounds else None,
    )
    return Finished(stop_reason=reason, text=text, token_ids=token_ids, stats=stats, certificate=EXACT)


def verdict(plain: Finished, adaptive: Finished, complete: bool) -> Verdict:
    """Compare two ends as the engine does: over the tokens that both have."""
    divergence = None
    length = min(len(plain.token_ids), len(adaptive.token_ids))
    for place in range(max(len(plain.token_ids), len(adaptive.token_ids)) if complete else length):
        ours = plain.token_ids[place] if place < len(plain.token_ids) else None
        theirs = adaptive.token_ids[place] if place < len(adaptive.token_ids) else None
        if ours != theirs:
            divergence = Divergence(position=place, plain_id=ours, adaptive_id=theirs, margin=0.015625)
            break
    return Verdict(
        identical=divergence is None,
        num_compared=length,
        divergence=divergence,
        plain=plain.stats,
        adaptive=adaptive.stats,
        speedup=ratio(adaptive.stats.tokens_per_s or 0.0, plain.stats.tokens_per_s or 0.0),
        complete=complete,
    )
