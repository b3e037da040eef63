"""What comes with a model beside its weights: the tokenizer, what its maker recommends, and what ends an answer."""

from dataclasses import fields
from typing import Any

from engine.config import Sampling
from engine.errors import BrokenModel, EngineError, UnsupportedModel
from engine.models.checkpoints.checkpoint import Checkpoint
from engine.models.libraries import lines_of
from engine.prompt.encode import plain_ids
from engine.prompt.template import end_of_turn_ids

TRIED = "Hello, world"  # any text


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The checkpoint's tokenizer. Raises `BrokenModel` or `UnsupportedModel`."""
    from transformers import AutoTokenizer

    try:
        with checkpoint.opened(tokenizer=True) as files:
            tokenizer = AutoTokenizer.from_pretrained(**files, local_files_only=True, trust_remote_code=False)
            tokenizer.decode(plain_ids(tokenizer, TRIED))  # what its files say wrongly shows here first
    except EngineError:
        raise
    except Exception as exc:  # the Rust part raises plain Exception
        raise BrokenModel(
            f"{checkpoint.name}: the tokenizer cannot be read ({lines_of(exc)[0]}). {checkpoint.tokenizer_advice}"
        ) from exc
    if not tokenizer.is_fast:
        raise UnsupportedModel(
            f"{checkpoint.name} has a tokenizer without a tokenizer.json. Choose a version of the model that has one."
        )
    vocab_size = int(checkpoint.config["vocab_size"])
    if tokenizer.vocab_size > vocab_size:
        raise BrokenModel(
            f"{checkpoint.name}: the tokenizer knows {tokenizer.vocab_size:,} tokens and the model {vocab_size:,}, so "
            f"it belongs to another model. {checkpoint.tokenizer_advice}"
        )
    return tokenizer


USUAL = Sampling(temperature=0.7, top_p=0.95)  # what chat programs usually take: greedy small models go in circles


def default_sampling(generation_config: dict[str, Any]) -> tuple[Sampling, tuple[str, ...]]:
    """What the model's maker recommends: greedy where `do_sample` is off, and `USUAL` where nothing is said.

    >>> default_sampling({"do_sample": True, "temperature": 0.6, "top_k": 20})[0].temperature
    0.6
    """
    sampled = generation_config.get("do_sample")
    if sampled is False:
        return Sampling(), ()
    if sampled is None and generation_config.get("temperature") is None:
        return USUAL, ()
    off = {f.name: f.default for f in fields(Sampling) if f.name != "seed"}
    known: dict[str, Any] = off | {"temperature": 1.0}
    values = {name: generation_config.get(name) for name in known}
    try:
        return Sampling(**{name: known[name] if value is None else value for name, value in values.items()}), ()
    except ValueError as exc:
        return USUAL, (f"The model's own sampling settings are not used: {exc}",)


def end_ids(tokenizer: Any, generation_config: dict[str, Any], config: dict[str, Any]) -> frozenset[int]:
    """All ids that end an answer: those of the configurations, the tokenizer and the template."""
    ids: set[int] = set(end_of_turn_ids(tokenizer))
    for named in (generation_config.get("eos_token_id"), config.get("eos_token_id"), tokenizer.eos_token_id):
        ids.update(named if isinstance(named, list) else [named] if isinstance(named, int) else [])
    return frozenset(ids)
