"""The words and the figures: each defined once, here, and used everywhere (code, page, README).

- *target*: the model. *drafter*: what proposes tokens. *draft*: the proposal of one round; *draft size*: its tokens.
- *verify*: one target forward pass over the last committed token and the draft. *accept*: a draft token equals
  the target's own. *commit*: a token becomes part of the answer.
- *round*: one target forward pass after prefill. *accepted length*: draft tokens accepted in a round, 0..k.
  *bonus token*: the target's own token that ends a round.
- *tokens per round* (block efficiency, MAT): tokens committed by rounds / rounds, rounds without a draft
  included; plain decoding is exactly 1. *acceptance rate*: accepted / drafted tokens.
- *prefill*: the prompt's forward passes; it yields the first token, which belongs to no round. *TTFT*: time to it.
- *tokens per second*: tokens committed by rounds / decode seconds; prefill is never in it.
- *speedup*: wall-clock tokens/s over plain decoding of the same prompt, settings and process. *Estimated speedup*
  (always labelled "est."): the same against what plain rounds would have taken.
  Both times are taken at the machine's present speed: each round's own time is scaled by the measured T(1) / T(width).
- *plain-fast*: width 1, fastest kernels; what speed is compared with. *plain-exact*: certified widths; what tokens
  are compared with.
- *loop*: an answer goes in circles: it repeats its own words again and again. Drafts of such text are always right, so
  the speed of a loop is shown, but is no speedup and in no average.
"""

from dataclasses import asdict, dataclass
from typing import Any


def ratio(numerator: float, denominator: float) -> float | None:
    """numerator / denominator, or None where there is nothing to divide by."""
    return numerator / denominator if denominator else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """From its token `start` on, counted from 0, an answer repeats what it said `period` tokens before."""

    start: int
    period: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """What a server says of drafts; None where it does not say. `mean_length`: tokens gained by the verification of a
    draft, bonus token included, as the server counts them."""

    drafted: int | None = None
    accepted: int | None = None
    num_drafts: int | None = None  # that were verified
    mean_length: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An answer that a server gave, and the server's own figures: of this answer, and of all that it answered from its
    beginning to its end (`meanwhile`)."""

    kind: str
    answer: Speculation | None = None
    meanwhile: Speculation | None = None


def estimated_speedup(tokens_per_s: float, plain_round_s: float, tokens_per_round: float) -> float:
    """Against plain rounds as they were measured, and never more than tokens a round: no round of more tokens takes
    less time than a plain one, so that a larger figure tells of a busy machine at the measurement.

    >>> estimated_speedup(20.0, 0.1, 3.0), estimated_speedup(20.0, 2.0, 3.0)
    (2.0, 3.0)
    """
    return min(tokens_per_s * plain_round_s, tokens_per_round)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStats:
    """Every figure of one answer. Counts are tokens, times are seconds.

    >>> stats = GenerationStats(num_prompt_tokens=9, num_reused_tokens=0, num_tokens=7, num_committed=6,
    ...     draft_sizes=(4, 0, 3), accepted_lengths=(3, 0, 0), prefill_s=0.1, ttft_s=0.1, decode_s=0.3,
    ...     draft_s=0.001, plain_round_s=0.1)
    >>> stats.rounds, stats.tokens_per_round, stats.acceptance_rate, stats.tokens_per_s
    (3, 2.0, 0.42857142857142855, 20.0)
    """

    num_prompt_tokens: int
    num_reused_tokens: int  # prompt tokens whose keys and values were already in the cache
    num_tokens: int  # tokens of the answer, end token excluded
    num_committed: int  # tokens committed by rounds: all but the first, end token included
    draft_sizes: tuple[int, ...]  # per round
    accepted_lengths: tuple[int, ...]  # per round
    prefill_s: float
    ttft_s: float
    decode_s: float
    draft_s: float  # the drafter's share of decode_s
    plain_round_s: float | None  # a plain-fast round here, from this answer's rounds and the measured T(1) / T(width)
    loop: Loop | None = None  # the answer goes in circles to its end: its speed says nothing of drafting
    served: Served | None = None  # a server answered: it tells no rounds, and times are those that passed here

    @property
    def rounds(self) -> int:
        return len(self.accepted_lengths)

    @property
    def drafted(self) -> int:
        return sum(self.draft_sizes)

    @property
    def accepted(self) -> int:
        return sum(self.accepted_lengths)

    @property
    def tokens_per_round(self) -> float | None:
        return ratio(self.num_committed, self.rounds)

    @property
    def acceptance_rate(self) -> float | None:
        return ratio(self.accepted, self.drafted)

    @property
    def tokens_per_s(self) -> float | None:
        return ratio(self.num_committed, self.decode_s)

    @property
    def estimated_speedup(self) -> float | None:
        """See the function of this name; None where nothing was measured."""
        if self.plain_round_s is None or self.tokens_per_s is None or self.tokens_per_round is None:
            return None
        return estimated_speedup(self.tokens_per_s, self.plain_round_s, self.tokens_per_round)

    def to_json(self) -> dict[str, Any]:
        """The fields and the derived figures, for people and programs that read JSON."""
        derived = ("rounds", "drafted", "accepted", "tokens_per_round", "acceptance_rate", "tokens_per_s")
        return asdict(self) | {name: getattr(self, name) for name in (*derived, "estimated_speedup")}
