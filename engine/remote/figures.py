"""What servers say of their drafts: with an answer, or in their metrics, which count all that they do. Pure.

- llama-server: `timings.draft_n` and `draft_n_accepted`, which it leaves out where nothing was drafted.
- vLLM: `metrics.speculative_decoding`, if it was started with `--per-request-spec-decode-metrics`.
- Slipstream: as vLLM; where none of its rounds had a draft, the rounds alone.
- SGLang: `sglext.spec_tokens_details`, if it is asked for them. Its metrics count passes that verified a draft, and
  tokens; of drafted and accepted tokens they hold a latest mean alone, which says nothing of one answer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.metrics import Speculation, ratio
from engine.remote.values import MOST, count, first, mapping, number

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?\s+([0-9.eE+-]+)")  # of one line; "}" may stand in a label
_DRAFTS = "spec_decode_num_drafts_total"
_DRAFTED = "spec_decode_num_draft_tokens_total"
_ACCEPTED = "spec_decode_num_accepted_tokens_total"
_VERIFIED, _WRITTEN = "spec_verify_calls_total", "generation_tokens_total"
_PREFIXES = ("llamacpp:", "vllm:")
_SGLANG = "sglang:"


def speculation_of(chunk: Mapping[str, Any]) -> Speculation | None:
    """The figures that come with a chunk; the last one's are those of the answer."""
    metrics, extended, timings = (mapping(chunk.get(name)) for name in ("metrics", "sglext", "timings"))
    if vllm := mapping(metrics.get("speculative_decoding")):
        return Speculation(
            drafted=count(vllm.get("num_draft_tokens")),
            accepted=count(vllm.get("num_accepted_draft_tokens")),
            num_drafts=count(vllm.get("num_spec_steps")),
            mean_length=number(vllm.get("mean_acceptance_length")),
        )
    details = extended.get("spec_tokens_details")
    if sglang := mapping(details[0] if isinstance(details, list) and details else details):
        return Speculation(
            drafted=count(first(sglang.get("spec_num_proposed_drafts"), sglang.get("spec_draft_token_num"))),
            accepted=count(first(sglang.get("spec_num_correct_drafts"), sglang.get("spec_accept_token_num"))),
            num_drafts=count(sglang.get("spec_verify_ct")),
            mean_length=number(sglang.get("spec_accept_length")),
        )
    if "draft_n" in timings:
        return Speculation(drafted=count(timings.get("draft_n")), accepted=count(timings.get("draft_n_accepted")))
    if count(mapping(chunk.get("slipstream")).get("rounds")):
        return Speculation(drafted=0, accepted=0)
    return None


@dataclass(frozen=True, slots=True)
class Counters:
    """A server's counts since it was started, over all that it answers. `written`: tokens, where it counts these in
    place of drafted and accepted ones."""

    drafts: float
    drafted: float
    accepted: float
    written: float | None = None


def counters_of(metrics: Any) -> Counters | None:
    """The counts in a server's metrics (Prometheus' text); None where it counts no drafts.

    >>> counters_of("vllm:spec_decode_num_drafts_total{engine=\\"0\\"} 3.0\\n")
    Counters(drafts=3.0, drafted=0.0, accepted=0.0, written=None)
    """
    if not isinstance(metrics, str):
        return None
    totals = _totals(metrics, _PREFIXES, (_DRAFTS, _DRAFTED, _ACCEPTED))
    if not totals:
        return _counters_of_sglang(metrics)
    return Counters(totals.get(_DRAFTS, 0.0), totals.get(_DRAFTED, 0.0), totals.get(_ACCEPTED, 0.0))


def _counters_of_sglang(metrics: str) -> Counters | None:
    """It lists a count once it is more than none, so that before its first answer there are none of these."""
    if not any(line.startswith(_SGLANG) for line in metrics.splitlines()):
        return None
    totals = _totals(metrics, (_SGLANG,), (_VERIFIED, _WRITTEN))
    return Counters(totals.get(_VERIFIED, 0.0), 0.0, 0.0, totals.get(_WRITTEN, 0.0))


def _totals(metrics: str, prefixes: tuple[str, ...], names: tuple[str, ...]) -> dict[str, float]:
    """The counts of these names, each over all its labels."""
    totals: dict[str, float] = {}
    for line in metrics.splitlines():
        prefix = next((prefix for prefix in prefixes if line.startswith(prefix)), None)
        if prefix is None or (found := _LINE.match(line)) is None:
            continue
        short, value = found[1].removeprefix(prefix), _counted(found[2])
        if short in names and value is not None:
            totals[short] = totals.get(short, 0.0) + value
    return totals


def _counted(value: str) -> float | None:
    try:
        return counted if 0 <= (counted := float(value)) <= MOST else None
    except ValueError:
        return None


def between(before: Counters | None, after: Counters | None) -> Speculation | None:
    """What was counted in between; None where that is not known, as when the server was started anew.

    >>> between(Counters(1, 10, 4), Counters(3, 30, 14))
    Speculation(drafted=20, accepted=10, num_drafts=2, mean_length=6.0)
    """
    if before is None or after is None:
        return None
    drafts, drafted = round(after.drafts - before.drafts), round(after.drafted - before.drafted)
    accepted = round(after.accepted - before.accepted)
    if not all(0 <= each <= MOST for each in (drafts, drafted, accepted)):
        return None
    if after.written is not None:
        written = round(after.written - (before.written or 0.0))
        return Speculation(num_drafts=drafts, mean_length=ratio(written, drafts)) if 0 <= written <= MOST else None
    gained = ratio(accepted, drafts)
    mean = None if gained is None else 1 + gained
    return Speculation(drafted=drafted, accepted=accepted, num_drafts=drafts, mean_length=mean)
