"""From a `ModelSpec` to a model that is ready to compute.

find -> (download) -> look through the folder -> device, dtype, memory plan -> tokenizer -> weights. Everything that
can be known to fail is known before the weights are read; what remains is translated here. Knows nothing about
decoding.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from engine.config import ModelSpec, Quant, Sampling
from engine.errors import BrokenModel, EngineError, NotEnoughMemory, UnsupportedModel
from engine.events import LoadProgress
from engine.models.catalog import Checkpoint, read_checkpoint, resolve
from engine.models.download import fetch
from engine.models.hardware import Device, choose_device, choose_dtype, choose_threads
from engine.models.memory_plan import MemoryPlan, plan
from engine.models.out_of_memory import Footprint, is_out_of_memory
from engine.models.quantised import avoid_packing, check_quantisation, quantisation
from engine.prompt.template import end_of_turn_ids, has_thinking_switch

log = logging.getLogger(__name__)

Report = Callable[[LoadProgress], None]
# Gemma 3 with vision: the text model's names, as the Hub and as transformers store them, to the text model's own.
_TEXT_PART = {r"^(model\.language_model|language_model\.model)\.": "model.", r"^language_model\.lm_head\.": "lm_head."}


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, in eval mode, with what the engine needs to know about it."""

    model: Any
    tokenizer: Any
    name: str
    path: Path
    fingerprint: str  # names these very weights; "" where nothing is to be known of them later
    architecture: str
    num_parameters: int
    weights_bytes: int
    dtype: torch.dtype
    quant: Quant
    device: torch.device
    device_name: str
    threads: int
    context_length: int
    vocab_size: int
    eos_ids: frozenset[int]
    default_sampling: Sampling
    has_thinking_switch: bool
    notes: tuple[str, ...]

    @property
    def footprint(self) -> Footprint:
        return Footprint(
            model=self.name,
            device_name=self.device_name,
            device_type=self.device.type,
            quant=self.quant,
            weights_bytes=self.weights_bytes,
            context_length=self.context_length,
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a model will compute. `notes` are sentences worth showing."""

    device: Device
    threads: int
    dtype: torch.dtype
    memory: MemoryPlan
    notes: tuple[str, ...]


def load_model(spec: ModelSpec, report: Report, cancelled: Callable[[], bool] = lambda: False) -> LoadedModel:
    """Load the model that `spec` names; `cancelled` is asked during a download.

    Raises one of the `EngineError`s about models, devices, memory, disk and network; nothing stays allocated then.
    """
    quiet_libraries()
    location = resolve(spec.model)
    report(LoadProgress(stage="find", message=f"Looking for {location.name}"))
    folder = location.folder
    if folder is None:
        assert location.hub_id is not None
        folder = fetch(location.hub_id, report, offline=spec.offline, cancelled=cancelled)
    checkpoint = read_checkpoint(folder, location.name)
    config = _read_text_config(checkpoint)
    checkpoint = replace(checkpoint, config=config.to_dict())

    placement = choose_placement(checkpoint, spec)
    fingerprint = checkpoint.fingerprint  # as the files are now: what replaces them meanwhile must not pass for them
    tokenizer = load_tokenizer(checkpoint)
    defaults = _generation_defaults(checkpoint)
    sampling, sampling_notes = default_sampling(defaults)
    model, weight_notes = _load_weights(checkpoint, config, spec, placement, report)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=location.name,
        path=folder,
        fingerprint=fingerprint,
        architecture=type(model).__name__,
        num_parameters=checkpoint.num_parameters,
        weights_bytes=weights_bytes(model),
        dtype=placement.dtype,
        quant=spec.quant,
        device=placement.device.torch_device,
        device_name=placement.device.name,
        threads=placement.threads,
        context_length=placement.memory.context_length,
        vocab_size=int(config.vocab_size),
        eos_ids=end_ids(tokenizer, defaults, checkpoint.config),
        default_sampling=sampling,
        has_thinking_switch=has_thinking_switch(tokenizer),
        notes=placement.notes + sampling_notes + weight_notes,
    )


def choose_placement(checkpoint: Checkpoint, spec: ModelSpec) -> Placement:
    """Choose device, threads (set), dtype and context. Raises `UnsupportedDevice` or `NotEnoughMemory`."""
    device = choose_device(spec.device)
    threads = choose_threads(spec.threads, device, checkpoint.num_parameters)
    torch.set_num_threads(threads)
    dtype = choose_dtype(spec.dtype, device, checkpoint.num_parameters)
    if spec.quant != "none":
        check_quantisation(spec.quant, device, dtype)
    memory, notes = plan(checkpoint, spec, device, dtype)
    return Placement(device, threads, dtype, memory, notes)


def _read_text_config(checkpoint: Checkpoint) -> Any:
    """The text model's configuration with its class's defaults filled in."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except Exception as exc:  # configurations validate themselves, each with exceptions of its own
        raise BrokenModel(
            f"{checkpoint.name}: config.json is not valid ({_lines(exc)[-1]}). Download the model again."
        ) from exc
    text = config.get_text_config()
    if not text.num_hidden_layers:
        raise BrokenModel(f"{checkpoint.name}: config.json names no layers. Download the model again.")
    return text


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The folder's tokenizer. Raises `BrokenModel` or `UnsupportedModel`."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except Exception as exc:  # the Rust part raises plain Exception
        raise BrokenModel(
            f"{checkpoint.name}: the tokenizer cannot be read ({_lines(exc)[0]}). Copy tokenizer.json and "
            "tokenizer_config.json from the original model."
        ) from exc
    if not tokenizer.is_fast:
        raise UnsupportedModel(
            f"{checkpoint.name} has a tokenizer without a tokenizer.json. Choose a version of the model that has one."
        )
    vocab_size = int(checkpoint.config["vocab_size"])
    if tokenizer.vocab_size > vocab_size:
        raise BrokenModel(
            f"{checkpoint.name}: the tokenizer knows {tokenizer.vocab_size:,} tokens and the model {vocab_size:,}, so "
            "it belongs to another model. Copy the tokenizer from the original model."
        )
    return tokenizer


# --- weights


def _load_weights(
    checkpoint: Checkpoint, config: Any, spec: ModelSpec, placement: Placement, report: Report
) -> tuple[Any, tuple[str, ...]]:
    """The model, and a note where weights were left over."""
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {}
    if spec.quant != "none":
        options["quantization_config"] = quantisation(spec.quant, placement.dtype)
    failure: BaseException | None = None
    try:
        with _weights_progress(report, checkpoint.name):
            model, info = AutoModelForCausalLM.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=placement.dtype,
                device_map={"": placement.device.torch_device},
                key_mapping=_TEXT_PART if checkpoint.config["model_type"] == "gemma3_text" else None,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                **options,
            )
    except EngineError:  # the listener's: loading was cancelled
        raise
    except Exception as exc:  # a model's own classes fail in whatever way its config.json leads them to
        failure = exc
    if failure is not None:  # outside the except block: its traceback would hold the half-loaded weights
        raise _translated(failure.with_traceback(None), checkpoint, spec, placement) from None
    notes = _judge(checkpoint, model, info)
    if spec.quant == "nf4" and placement.device.kind == "cpu":
        avoid_packing(model)
    return model.eval().requires_grad_(False), notes


def _judge(checkpoint: Checkpoint, model: Any, info: dict[str, Any]) -> tuple[str, ...]:
    """Refuse weights that are missing or of another shape than config.json says; a note for those left over."""
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise BrokenModel(
            f"{checkpoint.name}: {len(missing)} weights are in none of its files, the first is {missing[0]}. Download "
            "the model again."
        )
    mismatched = sorted({(name, tuple(stored), tuple(wanted)) for name, stored, wanted in info["mismatched_keys"]})
    for module_name, module in model.named_modules():  # transformers does not look at quantised weights
        if isinstance(module, torch.nn.Linear) and _shape(module) != (module.out_features, module.in_features):
            mismatched.append((f"{module_name}.weight", _shape(module), (module.out_features, module.in_features)))
    if mismatched:
        name, stored, wanted = mismatched[0]
        raise BrokenModel(
            f"{checkpoint.name}: {len(mismatched)} weights do not fit its config.json, the first is {name}: {stored} "
            f"instead of {wanted}. Download the model again."
        )
    wanted_tensors = {t.name for t in checkpoint.text_tensors}
    unused = sorted(wanted_tensors & set(info["unexpected_keys"]))
    if not unused:
        return ()
    return (
        f"{len(unused)} weights in its files have no place in the model and are left aside, the first {unused[0]}.",
    )


def _translated(exc: BaseException, checkpoint: Checkpoint, spec: ModelSpec, placement: Placement) -> Exception:
    return out_of_memory(exc, checkpoint, spec, placement) or BrokenModel(
        f"{checkpoint.name}: the weights do not fit its config.json ({type(exc).__name__}: {_lines(exc)[0]}). Download "
        "the model again."
    )


def out_of_memory(
    exc: BaseException, checkpoint: Checkpoint, spec: ModelSpec, placement: Placement
) -> NotEnoughMemory | None:
    """The sentence for a model that did not fit after all; None where `exc` says something else."""
    log.error("Loading %s failed: %r", checkpoint.name, exc)
    if placement.device.kind == "cuda":
        torch.cuda.empty_cache()
    if not is_out_of_memory(exc):
        return None
    footprint = Footprint(
        model=checkpoint.name,
        device_name=placement.device.name,
        device_type=placement.device.kind,
        quant=spec.quant,
        weights_bytes=placement.memory.weights_bytes,
        context_length=placement.memory.context_length,
    )
    return footprint.in_words(answering=False)


def _shape(module: torch.nn.Linear) -> tuple[int, ...]:
    state = getattr(module.weight, "quant_state", None)
    return tuple(module.weight.shape if state is None else state.shape)


def weights_bytes(model: Any) -> int:
    """Bytes a round reads: each parameter once, with the scales of quantised ones."""
    total = 0
    for parameter in model.parameters():
        total += parameter.nbytes
        state = getattr(parameter, "quant_state", None)
        scales = getattr(parameter, "SCB", None)
        if state is not None:
            total += state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
        elif scales is not None:
            total += scales.nbytes
    return total


class Bar:
    """Reports while it is walked through; stands in for tqdm where transformers reads weights."""

    def __init__(self, items: Iterable[Any], report: Report, name: str) -> None:
        self._items = list(items)
        self._report = report
        self._name = name

    def __iter__(self) -> Iterator[Any]:
        total = len(self._items)
        step = max(1, total // 50)  # a person sees no more
        for done, item in enumerate(self._items):
            if done % step == 0:
                self._report(LoadProgress(stage="weights", message=f"Loading {self._name}", done=done, total=total))
            yield item
        self._report(LoadProgress(stage="weights", message=f"Loading {self._name}", done=total, total=total))


@contextmanager
def _weights_progress(report: Report, name: str) -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    def bar(factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if options.get("desc") == "Loading weights" and args:
            return Bar(args[0], report, name)
        return factory(*args, **options)

    previous = transformers_logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(previous)


def quiet_libraries() -> None:
    """Send what the libraries say to the log, not to the terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    # Said at every layer of every forward pass where the dtype is not float16:
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


# --- defaults that come with the model


def _generation_defaults(checkpoint: Checkpoint) -> dict[str, Any]:
    path = checkpoint.folder / "generation_config.json"
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BrokenModel(
            f"{checkpoint.name}: generation_config.json cannot be read ({exc}). Download it again, or delete it."
        ) from exc
    if not isinstance(values, dict):
        raise BrokenModel(
            f"{checkpoint.name}: generation_config.json is not an object. Download it again, or delete it."
        )
    return values


def default_sampling(generation_config: dict[str, Any]) -> tuple[Sampling, tuple[str, ...]]:
    """What the model's maker recommends; greedy where nothing is, or `do_sample` is off.

    >>> default_sampling({"do_sample": True, "temperature": 0.6, "top_k": 20})[0].temperature
    0.6
    """
    if not generation_config.get("do_sample"):
        return Sampling(), ()
    known: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    values = {name: generation_config.get(name) for name in known}
    try:
        return Sampling(**{name: known[name] if value is None else value for name, value in values.items()}), ()
    except ValueError as exc:
        return Sampling(), (f"The model's own sampling settings are left aside: {exc}",)


def end_ids(tokenizer: Any, generation_config: dict[str, Any], config: dict[str, Any]) -> frozenset[int]:
    """All ids that end an answer: those of the configurations, the tokenizer and the template."""
    ids: set[int] = set(end_of_turn_ids(tokenizer))
    for named in (generation_config.get("eos_token_id"), config.get("eos_token_id"), tokenizer.eos_token_id):
        ids.update(named if isinstance(named, list) else [named] if isinstance(named, int) else [])
    return frozenset(ids)


def _lines(exc: BaseException) -> list[str]:
    """What an exception says: a library's summary comes first, and the reason last."""
    return [line.strip() for line in str(exc).splitlines() if line.strip()] or [type(exc).__name__]
