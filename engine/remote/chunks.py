"""A chunk of a server's stream as a value: text, reasoning, why it ended, what it says of drafts. Pure.

Servers differ. `choices` may be empty, null or missing; a failure may stand in the middle of a stream, nested or flat;
a server that knows no streams sends the whole answer as if it were a chunk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import EngineError
from engine.events import StopReason
from engine.metrics import Speculation
from engine.remote.figures import speculation_of
from engine.remote.values import count, first, mapping, text

_REASONS: dict[str, StopReason] = {"length": "length", "max_tokens": "length"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one chunk adds. Counts are of the whole answer so far."""

    text: str = ""
    reasoning: str = ""
    stop_reason: StopReason | None = None
    num_tokens: int | None = None
    num_prompt_tokens: int | None = None
    num_reused_tokens: int | None = None
    speculation: Speculation | None = None


class SaidFailure(EngineError):
    """A server says in its stream that the answer failed; `str()` of it is what it says."""


def read_chunk(chunk: Any) -> Piece:
    """Read a chunk; raises `SaidFailure`, or `ValueError` where it is none."""
    if not isinstance(chunk, Mapping):
        raise ValueError("a chunk must be an object")
    if (failure := _failure(chunk)) is not None:
        raise SaidFailure(failure)
    words, reasoning, stop_reason = _said(_choice(chunk.get("choices")))
    usage, timings = mapping(chunk.get("usage")), mapping(chunk.get("timings"))
    details = mapping(usage.get("prompt_tokens_details"))
    cached = count(details.get("cached_tokens"))
    return Piece(
        text=words,
        reasoning=reasoning,
        stop_reason=stop_reason,
        num_tokens=first(count(usage.get("completion_tokens")), count(timings.get("predicted_n"))),
        num_prompt_tokens=count(usage.get("prompt_tokens")),
        num_reused_tokens=first(cached, count(timings.get("cache_n"))),
        speculation=speculation_of(chunk),
    )


def _failure(chunk: Mapping[str, Any]) -> str | None:
    error: Any = chunk.get("error")
    if chunk.get("object") == "error" or (error is None and "choices" not in chunk and "message" in chunk):
        error = chunk  # flat
    if error is None and "choices" not in chunk and isinstance(chunk.get("code"), int):
        error = chunk
    if error is None:
        return None
    said = error.get("message") if isinstance(error, Mapping) else error
    return said if isinstance(said, str) and said else "an error without a word"


def _choice(choices: Any) -> Mapping[str, Any]:
    if not isinstance(choices, list):
        return {}
    return next((each for each in choices if isinstance(each, Mapping) and each.get("index", 0) in (0, None)), {})


def _said(choice: Mapping[str, Any]) -> tuple[str, str, StopReason | None]:
    """Text, reasoning, and why the answer ended if it has."""
    delta = mapping(choice.get("delta")) or mapping(choice.get("message"))
    content = delta.get("content") if delta else choice.get("text")
    reasoning = first(delta.get("reasoning_content"), delta.get("reasoning"))
    finish = choice.get("finish_reason")
    if finish in ("error", "abort"):
        raise SaidFailure("the server gave the answer up")
    reason: StopReason | None = None
    if isinstance(finish, str) and finish:
        at = first(choice.get("stop_reason"), choice.get("matched_stop"))
        reason = _REASONS.get(finish, "stop" if isinstance(at, str) and at else "eos")
    return _words(content), _words(reasoning), reason


def _words(value: Any) -> str:
    """Text whose halves of characters (lone surrogates) are joined or replaced."""
    if isinstance(value, list):  # content as parts
        value = "".join(text(part.get("text")) for part in value if isinstance(part, Mapping))
    if not isinstance(value, str):
        return ""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
