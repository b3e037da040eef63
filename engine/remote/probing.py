"""Finds out what answers at an address: which kind of server, which models, whether it drafts. Sends no words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx2

from engine.config import Sampling
from engine.errors import EngineError, ModelNotFound, ServerUnavailable
from engine.remote.address import LIMIT
from engine.remote.figures import counters_of
from engine.remote.http import Contact, TryAgain, look, require, trying
from engine.remote.values import count, first, mapping, number, text

Kind = Literal["llama-server", "vLLM", "SGLang", "Slipstream", "OpenAI-compatible"]
Speculates = Literal["on", "off", "unknown"]

OWNERS: dict[str, Kind] = {"llamacpp": "llama-server", "vllm": "vLLM", "sglang": "SGLang", "slipstream": "Slipstream"}
NAME_LIMIT = 300  # characters of a model's name
MODELS_LIMIT = 200  # of one server
USUAL = Sampling(temperature=0.7, top_p=0.95)  # where the server does not say what it recommends
SWITCH_ON: dict[Kind, str] = {
    "llama-server": "--spec-type ngram-mod",
    "vLLM": (
        """--speculative-config '{"method":"ngram","num_speculative_tokens":4,"prompt_lookup_min":2,"""
        """"prompt_lookup_max":5}' --per-request-spec-decode-metrics summary"""
    ),
    "SGLang": "--speculative-algorithm NGRAM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What answers at an address, as far as it says so. `counts`: its metrics count drafts."""

    kind: Kind
    model: str
    models: tuple[str, ...]
    speculation: Speculates = "unknown"
    method: str = ""
    counts: bool = False
    context_length: int = 0
    sampling: Sampling = USUAL
    version: str = ""


async def probe(contact: Contact, report: Callable[[str], None]) -> Server:
    """Ask the server what it is, and wait where it loads its model. Raises `EngineError`."""
    async with contact.client() as client:

        def waits(exc: TryAgain, pause: float) -> None:
            report(f"{exc.why[:1].upper()}{exc.why[1:]}: asking again")

        listed = await trying(contact.patience, lambda: _models(client, contact), waits)
        server = await _kind(client, contact, listed)
        return await _ASK[server.kind](client, contact, server, listed)


async def _models(client: httpx2.AsyncClient, contact: Contact) -> list[Mapping[str, Any]]:
    """The models that the server lists, as it describes them."""
    listed = mapping(await require(client, contact, "/v1/models")).get("data")
    if isinstance(listed, list):
        named = [each for each in listed if isinstance(each, Mapping) and text(each.get("id"))]
        fit = [each for each in named if _fits(contact, each["id"])]
        if named and not fit:
            raise ModelNotFound(
                f"{contact.address.url} offers models, but none of its models has a name that can be shown: name them "
                f"there on one line, with at most {NAME_LIMIT} characters."
            )
        wanted = [each for each in fit[MODELS_LIMIT:] if each["id"] == contact.address.model][:1]
        return fit[: MODELS_LIMIT - len(wanted)] + wanted
    if contact.address.model:
        return []  # it lists none, and answers for the one that was named
    raise ServerUnavailable(
        f"{contact.address.url} lists no models. If it speaks OpenAI's API, add the model's name to the address behind "
        "a #; else give the address of a server that does."
    )


def _fits(contact: Contact, name: str) -> bool:
    """Whether the name of a model can be shown, and stand behind the address."""
    room = min(NAME_LIMIT, LIMIT - len(contact.address.url))
    return len(name) <= room and name.isprintable() and name == name.strip()


async def _kind(client: httpx2.AsyncClient, contact: Contact, listed: list[Mapping[str, Any]]) -> Server:
    """Which server it is, by what it says of its models, else by the paths that it knows."""
    models = tuple(text(each["id"]) for each in listed)
    wanted = contact.address.model
    if wanted and models and wanted not in models:
        offered = contact.quoted(", ".join(models[:8]))
        raise ModelNotFound(f"{contact.address.url} has no model {wanted!r}: it offers {offered}.")
    if not wanted and not models:
        raise ModelNotFound(f"{contact.address.url} has no model yet: load one there, then try again.")
    server = Server(kind="OpenAI-compatible", model=wanted or models[0], models=models)
    owners = {text(each.get("owned_by")).lower() for each in listed}
    if kind := next((kind for owner, kind in OWNERS.items() if owner in owners), None):
        return replace(server, kind=kind)
    if "default_generation_settings" in mapping(await look(client, contact, "/props")):
        return replace(server, kind="llama-server")
    if "speculative_algorithm" in mapping(await look(client, contact, "/server_info")):
        return replace(server, kind="SGLang")
    if "vllm:" in text(await look(client, contact, "/metrics")):
        return replace(server, kind="vLLM")
    return server


async def _ask_llama(
    client: httpx2.AsyncClient, contact: Contact, server: Server, listed: list[Mapping[str, Any]]
) -> Server:
    """`/props` says "none" of drafts whatever is the case; the slots say it, and which ones once they have answered."""
    props = mapping(await look(client, contact, "/props"))
    usual = mapping(props.get("default_generation_settings"))
    params = mapping(usual.get("params"))
    speculation, method = await drafts_of_slots(client, contact)
    return replace(
        server,
        speculation=speculation,
        method=method,
        counts=counters_of(await look(client, contact, "/metrics")) is not None,
        context_length=count(usual.get("n_ctx")) or _context(server, listed),
        sampling=_sampling(params),
        version=text(props.get("build_info")),
    )


async def drafts_of_slots(client: httpx2.AsyncClient, contact: Contact) -> tuple[Speculates, str]:
    """Whether llama-server drafts, and by which method, as its slots say."""
    slots = await look(client, contact, "/slots")
    slots = [mapping(slot) for slot in slots] if isinstance(slots, list) else []
    said = [slot["speculative"] for slot in slots if isinstance(slot.get("speculative"), bool)]
    types = (text(mapping(slot.get("params")).get("speculative.types")) for slot in slots)
    method = next((each for each in types if each not in ("", "none")), "")
    if not said:
        return "unknown", method
    return ("on" if any(said) else "off"), method


async def _ask_vllm(
    client: httpx2.AsyncClient, contact: Contact, server: Server, listed: list[Mapping[str, Any]]
) -> Server:
    """Its metrics count drafts only where it was started with them."""
    metrics = await look(client, contact, "/metrics")
    counts = counters_of(metrics) is not None
    known = "vllm:" in text(metrics)
    config = mapping(mapping(await look(client, contact, "/server_info?config_format=json")).get("vllm_config"))
    method = text(mapping(config.get("speculative_config")).get("method"))
    return replace(
        server,
        speculation="on" if counts else "off" if known else "unknown",
        method=method,
        counts=counts,
        context_length=_context(server, listed),
        version=text(mapping(await look(client, contact, "/version")).get("version")),
    )


async def _ask_sglang(
    client: httpx2.AsyncClient, contact: Contact, server: Server, listed: list[Mapping[str, Any]]
) -> Server:
    info = mapping(await look(client, contact, "/server_info"))
    info = info or mapping(await look(client, contact, "/get_server_info"))  # older ones
    method = text(info.get("speculative_algorithm"))
    return replace(
        server,
        speculation="on" if method else "off" if info else "unknown",
        method=method.lower(),
        counts=bool(method) and counters_of(await look(client, contact, "/metrics")) is not None,
        context_length=_context(server, listed),
        version=text(info.get("version")),
    )


async def _ask_other(
    client: httpx2.AsyncClient, contact: Contact, server: Server, listed: list[Mapping[str, Any]]
) -> Server:
    return replace(server, context_length=_context(server, listed))


async def _ask_slipstream(
    client: httpx2.AsyncClient, contact: Contact, server: Server, listed: list[Mapping[str, Any]]
) -> Server:
    return replace(server, speculation="on", method="adaptive N-grams", context_length=_context(server, listed))


_ASK = {
    "llama-server": _ask_llama,
    "vLLM": _ask_vllm,
    "SGLang": _ask_sglang,
    "Slipstream": _ask_slipstream,
    "OpenAI-compatible": _ask_other,
}


def _context(server: Server, listed: list[Mapping[str, Any]]) -> int:
    """Tokens that the model takes, by whichever name the list says it; 0: it does not."""
    own = next((each for each in listed if each["id"] == server.model), {})
    meta = mapping(own.get("meta"))
    return first(count(own.get("max_model_len")), count(meta.get("n_ctx")), count(own.get("context_length"))) or 0


def _sampling(params: Mapping[str, Any]) -> Sampling:
    """What llama-server uses where a request leaves it open."""
    names = {
        "temperature": "temperature",
        "top_p": "top_p",
        "min_p": "min_p",
        "repetition_penalty": "repeat_penalty",
    }
    values = {ours: number(params.get(theirs)) for ours, theirs in names.items()}
    said: dict[str, Any] = {name: round(value, 4) for name, value in values.items() if value is not None}
    if (top_k := count(params.get("top_k"))) is not None:
        said["top_k"] = top_k
    try:
        return Sampling(**said) if said else USUAL
    except ValueError:
        return USUAL


def require_continues(server: Server) -> None:
    """Raise where the server cannot go on with an answer that was cut short."""
    if server.kind == "OpenAI-compatible":
        raise EngineError("This server cannot continue an answer: press Retry for another one.")
