"""An answer as OpenAI's API writes it, whole or in chunks, with the figures of drafting beside it. Pure values.

The figures have the names that clients read already: llama-server's `timings`, vLLM's `metrics.speculative_decoding`.
What neither has is under `slipstream`: tokens per round, and the certificate.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.api.requests import Asked, Kind
from engine import codec
from engine.config import GenerationRequest
from engine.events import Finished, Likelihood, ModelInfo, StopReason, TokenLikelihood
from engine.metrics import GenerationStats, ratio

OWNER = "slipstream"
_REASONS: dict[StopReason, str] = {
    "eos": "stop",
    "stop": "stop",
    "cancelled": "stop",
    "length": "length",
    "context": "length",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What all replies to one request have in common; `created` is in seconds since 1970."""

    id: str
    created: int
    model: str
    asked: Asked
    request: GenerationRequest

    @property
    def kind(self) -> Kind:
        return self.asked.kind

    def whole(self, end: Finished, likelihoods: Sequence[TokenLikelihood] = ()) -> dict[str, Any]:
        """The answer in one piece."""
        found = self._logprobs(likelihoods)
        choice: dict[str, Any] = {"index": 0, "logprobs": found, "finish_reason": _REASONS[end.stop_reason]}
        if self.kind == "chat":
            choice["message"] = {"role": "assistant", "content": end.text, "refusal": None}
        else:
            choice["text"] = end.text
        self._add_ids(choice, end)
        return self._head(streamed=False) | {"choices": [choice], "usage": usage(end.stats)} | self._figures(end)

    def first(self) -> list[dict[str, Any]]:
        """The chunk before the text."""
        return [self._chunk({"role": "assistant", "content": ""})] if self.kind == "chat" else []

    def piece(self, text: str, likelihoods: Sequence[TokenLikelihood] = ()) -> dict[str, Any]:
        """A chunk of text, and how likely its tokens were where that was asked for."""
        chunk = self._chunk({"content": text} if self.kind == "chat" else text)
        chunk["choices"][0]["logprobs"] = self._logprobs(likelihoods)
        return chunk

    def last(self, end: Finished) -> list[dict[str, Any]]:
        """The chunks after the text: why it ended, and the usage where it is asked for; the last has the figures."""
        final = self._chunk({} if self.kind == "chat" else "", _REASONS[end.stop_reason])
        self._add_ids(final["choices"][0], end)
        if not self.asked.include_usage:
            return [final | self._figures(end)]
        return [final, self._head(streamed=True) | {"choices": [], "usage": usage(end.stats)} | self._figures(end)]

    def _head(self, *, streamed: bool) -> dict[str, Any]:
        name = "text_completion" if self.kind == "text" else "chat.completion.chunk" if streamed else "chat.completion"
        return {"id": self.id, "object": name, "created": self.created, "model": self.model}

    def _chunk(self, said: dict[str, Any] | str, reason: str | None = None) -> dict[str, Any]:
        content = {"delta": said} if isinstance(said, dict) else {"text": said}
        chunk = self._head(streamed=True)
        chunk["choices"] = [{"index": 0, **content, "logprobs": None, "finish_reason": reason}]
        return chunk | ({"usage": None} if self.asked.include_usage else {})

    def _logprobs(self, likelihoods: Sequence[TokenLikelihood]) -> dict[str, Any] | None:
        if self.request.num_likeliest is None:
            return None
        return chat_logprobs(likelihoods) if self.kind == "chat" else text_logprobs(likelihoods)

    def _add_ids(self, choice: dict[str, Any], end: Finished) -> None:
        if self.asked.return_token_ids:
            choice["token_ids"] = list(end.token_ids)

    def _figures(self, end: Finished) -> dict[str, Any]:
        return {
            "timings": timings(end.stats),
            "metrics": {"speculative_decoding": speculative_decoding(end.stats)},
            OWNER: {
                "mode": self.request.mode,
                "seed": self.request.sampling.seed,
                "stop_reason": end.stop_reason,
                "rounds": end.stats.rounds,
                "tokens_per_round": end.stats.tokens_per_round,
                "estimated_speedup": end.stats.estimated_speedup,
                "ttft_ms": 1000 * end.stats.ttft_s,
                "dropped_turns": end.dropped_turns,
                "loop": codec.dump(end.stats.loop),
                "certificate": codec.dump(end.certificate),
            },
        }


def chat_logprobs(likelihoods: Sequence[TokenLikelihood]) -> dict[str, Any]:
    def entry(found: Likelihood) -> dict[str, Any]:
        said = None if "\ufffd" in found.text else list(found.text.encode())  # bytes of half a character are not known
        return {"token": found.text, "logprob": found.logprob, "bytes": said}

    content = [
        entry(each.chosen) | {"top_logprobs": [entry(other) for other in each.likeliest]} for each in likelihoods
    ]
    return {"content": content, "refusal": None}


def text_logprobs(likelihoods: Sequence[TokenLikelihood]) -> dict[str, Any]:
    return {
        "tokens": [each.chosen.text for each in likelihoods],
        "token_logprobs": [each.chosen.logprob for each in likelihoods],
        "top_logprobs": [{other.text: other.logprob for other in each.likeliest} for each in likelihoods],
    }


def models(*found: dict[str, Any]) -> dict[str, Any]:
    """The list of models: the one that is loaded, if any."""
    return {"object": "list", "data": list(found)}


def model(name: str, info: ModelInfo, created: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "max_model_len": info.context_length,  # vLLM's name
    }


def usage(stats: GenerationStats) -> dict[str, Any]:
    """
    >>> from engine.metrics import GenerationStats
    >>> usage(GenerationStats(num_prompt_tokens=9, num_reused_tokens=4, num_tokens=7, num_committed=6, draft_sizes=(),
    ...     accepted_lengths=(), prefill_s=0, ttft_s=0, decode_s=0, draft_s=0, plain_round_s=None))["total_tokens"]
    16
    """
    return {
        "prompt_tokens": stats.num_prompt_tokens,
        "completion_tokens": stats.num_tokens,
        "total_tokens": stats.num_prompt_tokens + stats.num_tokens,
        "prompt_tokens_details": {"cached_tokens": stats.num_reused_tokens},
    }


def timings(stats: GenerationStats) -> dict[str, Any]:
    """llama-server's figures; those of drafts only where there were some, as there. A server's are its own."""
    num_read = stats.num_prompt_tokens - stats.num_reused_tokens
    figures: dict[str, Any] = {
        "cache_n": stats.num_reused_tokens,
        "prompt_n": num_read,
        "prompt_ms": 1000 * stats.prefill_s,
        "prompt_per_second": ratio(num_read, stats.prefill_s),
        "predicted_n": stats.num_tokens,
        "predicted_ms": 1000 * stats.decode_s,
        "predicted_per_second": stats.tokens_per_s,
    }
    said = stats.served.answer if stats.served is not None else None
    if stats.drafted:
        figures |= {"draft_n": stats.drafted, "draft_n_accepted": stats.accepted}
    elif said is not None and said.drafted:
        figures |= {"draft_n": said.drafted, "draft_n_accepted": said.accepted}
    return figures


def speculative_decoding(stats: GenerationStats) -> dict[str, Any] | None:
    """vLLM's figures of the rounds that had a draft; None where none had. The mean length counts the bonus token."""
    lengths = [accepted for accepted, size in zip(stats.accepted_lengths, stats.draft_sizes, strict=True) if size]
    if not lengths:
        return None
    counts = Counter(lengths)
    return {
        "mean_acceptance_length": 1 + sum(lengths) / len(lengths),
        "draft_acceptance_rate": stats.acceptance_rate,
        "acceptance_histogram": [counts[length] for length in range(max(stats.draft_sizes) + 1)],
        "num_spec_steps": len(lengths),
        "num_draft_tokens": stats.drafted,
        "num_accepted_draft_tokens": stats.accepted,
        "num_spec_tokens": max(stats.draft_sizes),  # the longest draft: its size changes from round to round
    }
