"""What the engine reports while it works: frozen values of plain Python types, never tensors, each JSON-able.

A generation yields any number of `PrefillProgress`, `Round` and `TextDelta` and exactly one `Finished`, last.
Failures raise (`engine.errors`); they are never events.
"""

from dataclasses import dataclass
from typing import Literal

from engine.config import Backend, Exactness, Mode, Sampling
from engine.metrics import GenerationStats, Loop, Served

StopReason = Literal["eos", "stop", "length", "context", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """One step of loading a model, or of what goes on in the background once it answers.

    `done`/`total` are bytes or steps; `total` None: unknown. `seconds_left` is None where nothing says so yet.
    """

    stage: Literal["find", "download", "weights", "warm-up", "measure", "certify", "ready"]
    message: str
    done: int = 0
    total: int | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A token and the natural logarithm of its probability in the model's own distribution, before any option of
    sampling. `text` is what it says by itself; U+FFFD stands for a part of a character."""

    token_id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLikelihood:
    """A committed token and the likeliest ones in its place, most likely first."""

    chosen: Likelihood
    likeliest: tuple[Likelihood, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillProgress:
    done: int  # prompt tokens in the cache, reused ones included
    total: int
    reused: int
    first_token_id: int | None = None  # with the last one, if known then: the answer's first token, in no round
    likelihoods: tuple[TokenLikelihood, ...] = ()  # of that token, where they were asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Where the tokens of one round came from, whose draft was verified.

    A place is "answer" (this one, further up), "prompt" (the newest message), "chat" (what was said before, or on
    another branch), "chat KEY" (another conversation, by its key), or "" where nothing was read. A chance is what was
    estimated of a token, those before it given. `refused` is the likeliest draft in place of the target's own token.
    """

    lengths: tuple[int, ...]  # of each committed token: characters that it made final
    chances: tuple[float, ...]  # of each accepted token; none where the drafter estimates nothing
    places: tuple[str, ...]  # of each accepted token
    refused: str = ""
    refused_source: str = ""
    refused_place: str = ""
    refused_chance: float | None = None


Undrafted = Literal["", "resting", "unsure"]
"""Why a round had no draft: drafting rests since it cost more than it brought, or nothing was likely enough to pay for
its row; "" where there was one, or none was to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One target forward pass. `token_ids` are the tokens it committed, end token included."""

    index: int
    draft_size: int
    accepted: int
    token_ids: tuple[int, ...]
    sources: tuple[str, ...]  # one per drafted token: where it came from, e.g. "ngram-4" (its N-gram level)
    decode_s: float  # since the first token, all rounds so far
    plain_round_s: float | None = None  # what a plain-fast round would take, all rounds so far considered
    loop: Loop | None = None  # the answer goes in circles now
    likelihoods: tuple[TokenLikelihood, ...] = ()  # of the tokens, end token excluded, where they were asked for
    origins: Origins | None = None  # None: nothing was drafted
    undrafted: Undrafted = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What the probe showed, and not more.

    Tier A: all measured widths give bit-equal rows, any mix is used. Tier B: only the listed widths agree
    (one of them where none does), and both modes use those alone. Tier C: fastest kernels, plain and adaptive
    equal up to rounding. `trees`: drafts may have side branches, whose rows are held to the same; else chains alone.
    `provisional`: the probe had not ended when the answer began, so nothing was shown; both modes answered one token at
    a time, without drafts.
    """

    setting: Literal["exact", "fast"]
    tier: Literal["A", "B", "C"]
    widths: tuple[int, ...]
    trees: bool = False
    provisional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    stop_reason: StopReason
    text: str
    token_ids: tuple[int, ...]  # end token excluded; ends at a stop string
    stats: GenerationStats
    certificate: Certificate
    dropped_turns: int = 0  # oldest messages left out so that the prompt fits the context
    verbatim: bool = False  # the model has no chat template: the prompt was completed as it stands


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProgress:
    """How far the answer of a server is, in place of rounds, which it does not tell."""

    num_tokens: int = 0  # as the server counts them, else the pieces that came
    decode_s: float = 0.0  # since the first text, by the clock here
    ttft_s: float | None = None
    served: Served | None = None
    note: str = ""  # why nothing comes yet, as a sentence


Event = PrefillProgress | Round | TextDelta | ServerProgress | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneEvent:
    """An event of one lane of a comparison; both lanes share one prefill."""

    lane: Mode
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Where two answers diverge: `position` counts answer tokens from 0; an id is None where that answer ended.

    `margin` is the plain lane's top-two logit difference at that position (0: an exact tie).
    """

    position: int
    plain_id: int | None
    adaptive_id: int | None
    margin: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a comparison ended. `speedup` is wall clock: adaptive over plain tokens per second."""

    identical: bool
    num_compared: int
    divergence: Divergence | None
    plain: GenerationStats
    adaptive: GenerationStats
    speedup: float | None
    complete: bool  # False: stopped by the user before both lanes ended


CompareEvent = LaneEvent | Verdict


@dataclass(frozen=True, slots=True)
class Remembered:
    """A conversation in the memory, by its key."""

    conversation: str
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be drafted next, and how likely its first token is; source and place as in a `Round`."""

    text: str
    chance: float
    source: str
    place: str


@dataclass(frozen=True, slots=True)
class Match:
    """Where a phrase stands in the memory: how many times in a conversation, and one of them with what is around it."""

    conversation: str
    times: int
    excerpt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryView:
    """What may be drafted from other conversations, the oldest first; for a phrase, what would be proposed behind it.

    `joining`: the conversation that was answered last, which joins when another one is answered.
    """

    conversations: tuple[Remembered, ...]
    cap_tokens: int
    num_bytes: int
    joining: str = ""
    proposals: tuple[Proposal, ...] = ()
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A server that answers in the engine's place.

    `speculation`: whether it was started with drafts of its own, as far as it says so, and `method` which ones.
    `switch_on`: the flags that start it with N-gram drafts. `switches`: drafting is chosen with each request.
    """

    kind: str
    address: str
    is_here: bool  # on this machine
    speculation: Literal["on", "off", "unknown"]
    method: str = ""
    switch_on: str = ""
    switches: bool = False
    continues: bool = False  # it can go on with an answer that was cut short
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A loaded model as people and programs see it. Sizes are bytes; `cost_curve` is (width, seconds)."""

    name: str
    path: str
    architecture: str
    num_parameters: int
    weights_bytes: int
    dtype: str
    quant: str
    device: str
    device_name: str
    threads: int
    context_length: int
    has_chat_template: bool
    has_thinking_switch: bool
    default_sampling: Sampling
    exact: Certificate | None  # None: the engine compares no widths, or has not done so yet
    fast: Certificate
    cost_curve: tuple[tuple[int, float], ...] | None  # None: the engine measures no rounds, or has not done so yet
    exact_cost: float | None  # plain-exact over plain-fast round time; 1.03 means that exact costs 3 %
    load_s: float
    notes: tuple[str, ...] = ()  # sentences worth showing: a fallback that was taken, a shorter context
    backend: Backend = "torch"
    backend_reason: str = ""  # why that one computes, as a sentence
    drafter_pack: str = ""  # the pack that drafts along; none: ""
    provisional: bool = False  # the model has not been probed: answers are plain, and `exact` and `cost_curve` None
    server: ServerInfo | None = None  # the model is at a server, of which little is known here

    def certificate(self, exactness: Exactness) -> Certificate:
        """What holds for answers of this exactness; without a certificate no more than for fast ones."""
        if self.provisional:
            return Certificate(setting=exactness, tier="C", widths=(1,), provisional=True)
        return self.exact if exactness == "exact" and self.exact is not None else self.fast
