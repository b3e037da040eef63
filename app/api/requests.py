"""What a client asks for, read from the JSON of OpenAI's API, with the further fields of llama-server and vLLM.

A field that would change the answer and cannot be heeded is refused; fields that are not known are ignored, as clients
send many. What a request leaves open is what the loaded model recommends. Pure values.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.api.errors import Refused
from app.store.text import clean_text
from engine.config import MOST_LIKELIEST, GenerationRequest, Message, Role, Sampling
from engine.events import ModelInfo
from engine.options import shown

Kind = Literal["chat", "text"]

MAX_STOPS = 64
MAX_MESSAGES = 10_000
UNTOLD_CONTEXT = 4096  # tokens, where a server in the engine's place does not say how many it takes
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_ANSWER = ("ignore_eos", "mode", "drafter", "exactness")  # ours, and vLLM's ignore_eos
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request. `sampling` holds what it says of sampling; `max_tokens` None: as many as the context holds."""

    kind: Kind
    model: str
    template: GenerationRequest
    sampling: Mapping[str, Any]
    max_tokens: int | None
    stream: bool
    include_usage: bool
    return_token_ids: bool

    def request_for(self, info: ModelInfo, seed: int) -> GenerationRequest:
        """The request for the model that answers; `seed` is used where the client gave none."""
        sampling = replace(info.default_sampling, **({"seed": seed} | dict(self.sampling)))
        if sampling.greedy and "seed" not in self.sampling:
            sampling = replace(sampling, seed=0)
        return replace(
            self.template, sampling=sampling, max_tokens=self.max_tokens or info.context_length or UNTOLD_CONTEXT
        )


def parse_body(data: bytes) -> dict[str, Any]:
    """The object that a request's body is; raises `Refused`."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise Refused("The request's body is not JSON: send an object.") from exc
    if not isinstance(body, dict):
        raise Refused(f"The request's body must be an object; got {shown(body)}.")
    return body


def read_chat(body: Mapping[str, Any]) -> Asked:
    """A request to `/v1/chat/completions`; raises `Refused`, or `ValueError` for a value that does not fit."""
    _refuse_tools(body)
    messages = _messages(body.get("messages"))
    continues = messages[-1].role == "assistant"
    limit = "max_tokens" if body.get("max_completion_tokens") is None else "max_completion_tokens"
    thinking = _thinking(body)
    wanted = _optional("logprobs", body.get("logprobs"), bool, False)
    if body.get("top_logprobs") is not None and not wanted:
        raise Refused("top_logprobs needs logprobs: set it to true.", param="top_logprobs")
    likeliest = _likeliest("top_logprobs", body.get("top_logprobs") or 0) if wanted else None
    return _asked(
        "chat",
        body,
        limit,
        lambda values: GenerationRequest(
            messages=messages,
            continue_final=continues,
            thinking=thinking,
            memory=False,
            num_likeliest=likeliest,
            **values,
        ),
    )


def read_completion(body: Mapping[str, Any]) -> Asked:
    """A request to `/v1/completions`: the prompt is completed as it stands, without the chat template."""
    for name in ("echo", "suffix"):
        if body.get(name):
            raise _unsupported(name, "only what follows the prompt is returned: leave it out")
    if body.get("best_of") not in (None, 1):
        raise _unsupported("best_of", "one answer is made for each request: leave it out")
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise Refused(f"prompt must be one text; got {shown(prompt)}.", param="prompt")
    messages = (Message.of("user", _text("prompt", prompt)),)
    likeliest = None if body.get("logprobs") is None else _likeliest("logprobs", body["logprobs"])
    return _asked(
        "text",
        body,
        "max_tokens",
        lambda values: GenerationRequest(
            messages=messages, verbatim=True, memory=False, num_likeliest=likeliest, **values
        ),
    )


def _asked(
    kind: Kind, body: Mapping[str, Any], limit: str, make: Callable[[dict[str, Any]], GenerationRequest]
) -> Asked:
    """What both endpoints share; `limit` names the field with the most tokens."""
    if body.get("n") not in (None, 1):
        raise _unsupported("n", "one answer is made for each request: send it again for another")
    for name in ("presence_penalty", "frequency_penalty", "logit_bias"):
        if body.get(name):
            raise _unsupported(name, "use repetition_penalty, or leave it out")
    _require_plain_text(body.get("response_format"))
    sampling = _sampling(body)
    values = {name: body[name] for name in _ANSWER if body.get(name) is not None}
    max_tokens = body.get(limit)
    if max_tokens is not None:
        values["max_tokens"] = max_tokens
    Sampling(**sampling)  # refuses now what would be refused when the turn has come
    options = body.get("stream_options")
    return Asked(
        kind=kind,
        model=_optional("model", body.get("model"), str, ""),
        template=make(values | {"stop": _stop(body.get("stop"))}),
        sampling=sampling,
        max_tokens=max_tokens,
        stream=_optional("stream", body.get("stream"), bool, False),
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        return_token_ids=body.get("return_token_ids") is True,
    )


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise Refused(f"messages must be a list of {{role, content}}; got {shown(value)}.", param="messages")
    if len(value) > MAX_MESSAGES:
        raise Refused(f"{len(value):,} messages are too many; send {MAX_MESSAGES:,} at most.", param="messages")
    return tuple(_message(f"messages[{index}]", item) for index, item in enumerate(value))


def _message(name: str, item: Any) -> Message:
    role = item.get("role") if isinstance(item, dict) else None
    if role in ("tool", "function") or (isinstance(item, dict) and item.get("tool_calls")):
        raise Refused(f"{name} belongs to a tool, and this server calls none: send texts alone.", param=name)
    if not isinstance(item, dict) or not isinstance(role, str) or role not in _ROLES:
        known = ", ".join(_ROLES)
        raise Refused(f"{name} must have a content and a role, one of {known}; got {shown(item)}.", param=name)
    return Message.of(_ROLES[role], _text(f"{name}.content", _content(f"{name}.content", item.get("content"))))


def _content(name: str, value: Any) -> str:
    """A message's text; parts are joined by line ends, as other servers do."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise Refused(f"{name} must be a text or a list of parts; got {shown(value)}.", param=name)
    texts = []
    for index, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise Refused(
                f"{name}[{index}] must be a part of type text, as the model reads nothing else; got {shown(kind)}.",
                param=name,
            )
        texts.append(_optional(f"{name}[{index}].text", part.get("text"), str, None))
    return "\n".join(texts)


def _text(name: str, text: str) -> str:
    """The text, cleaned like all text that comes in."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise Refused(f"{name} is not valid Unicode: half a surrogate pair at {exc.start}.", param=name) from exc
    return clean_text(text)


def _sampling(body: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: body[name] for name in _SAMPLING if body.get(name) is not None}
    if said.get("top_k") == -1:  # off, in vLLM's words
        said["top_k"] = 0
    if body.get("seed") not in (None, -1):  # llama-server's word for a random one
        said["seed"] = body["seed"]
    return said


def _stop(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise Refused(f"stop must be a text or a list of {MAX_STOPS} at most; got {shown(value)}.", param="stop")
    return tuple(_text("stop", stop) for stop in stops)


def _likeliest(name: str, value: Any) -> int:
    """How many tokens are to be reported in each place."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_LIKELIEST:
        raise Refused(f"{name} must be between 0 and {MOST_LIKELIEST}; got {shown(value)}.", param=name)
    return value


def _thinking(body: Mapping[str, Any]) -> bool | None:
    arguments = body.get("chat_template_kwargs")
    value = arguments.get("enable_thinking") if isinstance(arguments, dict) else None
    return _optional("chat_template_kwargs.enable_thinking", value, bool, False) if value is not None else None


def _refuse_tools(body: Mapping[str, Any]) -> None:
    """Tools may be offered, and are never called; a client that insists on a call is refused."""
    for name in ("tool_choice", "function_call"):
        if body.get(name) not in (None, "none", "auto"):
            raise _unsupported(name, "this server calls no tools: leave it out, or choose auto")


def _require_plain_text(value: Any) -> None:
    kind = value.get("type") if isinstance(value, dict) else value
    if kind not in (None, "text"):
        raise _unsupported("response_format", "answers follow no schema: ask for the format in the message")


def _optional(name: str, value: Any, kind: type, default: Any) -> Any:
    if value is None and default is not None:
        return default
    if not isinstance(value, kind):
        wanted = {str: "text", bool: "true or false"}[kind]
        raise Refused(f"{name} must be {wanted}; got {shown(value)}.", param=name)
    return value


def _unsupported(name: str, why: str) -> Refused:
    return Refused(f"{name} is not supported: {why}.", param=name, code="unsupported_parameter")
