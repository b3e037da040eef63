"""What a server is asked: a request as the body that its kind understands. Pure."""

from typing import Any

from engine.config import GenerationRequest, Message
from engine.remote.probing import Server, require_continues

_OPEN, _CLOSE = "<think>", "</think>"
_OFF = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


def body_of(request: GenerationRequest, server: Server) -> tuple[str, dict[str, Any]]:
    """(path, body); raises `EngineError` or `ValueError` for what the server cannot do.

    Sampling is sent whole to servers that fill in what a request leaves out, so that the settings on the page hold.
    """
    if request.num_likeliest is not None:
        raise ValueError("Logprobs are not passed on from a server: leave logprobs out, or load a model here.")
    body: dict[str, Any] = {
        "model": server.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": request.max_tokens,
        "seed": request.sampling.seed,
        **_sampling(request, server),
        **_extras(request, server),
    }
    if request.stop:
        body["stop"] = list(request.stop)
    if request.ignore_eos:
        body["ignore_eos"] = True
    if request.verbatim:
        return "/v1/completions", body | {"prompt": "".join(message.text for message in request.messages)}
    if request.thinking is not None:
        body["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    body["messages"] = [
        {"role": message.role, "content": _content(message, last=message is request.messages[-1])}
        for message in request.messages
    ]
    if request.continue_final:
        require_continues(server)
        if server.kind in ("vLLM", "SGLang"):
            body |= {"continue_final_message": True, "add_generation_prompt": False}
    return "/v1/chat/completions", body


def _content(message: Message, *, last: bool) -> str:
    """The message; an earlier answer without its reasoning, which templates leave out."""
    text = message.text
    if message.role != "assistant" or last or not text.lstrip().startswith(_OPEN):
        return text
    _, closed, rest = text.partition(_CLOSE)
    return rest.lstrip("\n") if closed and rest.strip() else text


def _sampling(request: GenerationRequest, server: Server) -> dict[str, Any]:
    sampling = request.sampling
    values: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
    }
    if server.kind == "llama-server":
        values["repeat_penalty"] = values.pop("repetition_penalty")
    elif server.kind == "SGLang":
        values["top_k"] = sampling.top_k or -1
    elif server.kind == "vLLM":
        if not sampling.min_p:
            del values["min_p"]  # it refuses it beside drafts
    elif server.kind == "OpenAI-compatible":  # some refuse names that OpenAI's own lacks
        values = {name: value for name, value in values.items() if value != _OFF.get(name)}
    return values


def _extras(request: GenerationRequest, server: Server) -> dict[str, Any]:
    """What makes a server tell its figures."""
    match server.kind:
        case "llama-server":
            return {"timings_per_token": True, "cache_prompt": True}
        case "vLLM":
            return {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
        case "SGLang":
            counted = {"include_usage": True, "continuous_usage_stats": True}
            return {"stream_options": counted, "return_spec_tokens_details": True}
        case "Slipstream":
            return {"mode": request.mode, "exactness": request.exactness}
        case _:
            return {}
