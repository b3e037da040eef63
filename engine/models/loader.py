"""From a `ModelSpec` to a model that is ready to compute.

find -> (download) -> look through what is there -> device, dtype, memory plan -> tokenizer -> weights. Everything that
can be known to fail is known before the weights are read; what remains is translated here. Knows nothing about
decoding, nor about file formats.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from engine.config import SMOLLM2, Backend, ModelSpec, Quant, Sampling
from engine.errors import BrokenModel, EngineError, NotEnoughDisk, NotEnoughMemory, UnsupportedModel
from engine.events import LoadProgress
from engine.models import bundled
from engine.models.adapted import adapted_weights, adapter_of, merge
from engine.models.backends import BackendChoice, Measured, as_reason, choose_backend
from engine.models.catalog import read_checkpoint, resolve
from engine.models.checkpoints.adapter import Adapter
from engine.models.checkpoints.checkpoint import Checkpoint, ModelShape
from engine.models.checkpoints.gguf.names import label_of
from engine.models.checkpoints.gguf_file import GgufFile, model_name
from engine.models.decoded import missing_weights, model_class, state_dict, wrong_shapes
from engine.models.footprint import MemoryPlan
from engine.models.hardware import Device, choose_device, choose_dtype, choose_threads
from engine.models.hub.download import fetch
from engine.models.libraries import lines_of, quiet_libraries, weights_progress
from engine.models.llama_weights import read_weights
from engine.models.memory_plan import plan, slow_nf4
from engine.models.merged_file import merged_file
from engine.models.on_disk.fit import free_bytes
from engine.models.out_of_memory import Footprint, is_out_of_memory
from engine.models.progress import Report
from engine.models.quantised import avoid_packing, check_quantisation, choose_quant, quantisation
from engine.models.tokenizer import default_sampling, end_ids, load_tokenizer
from engine.prompt.template import has_thinking_switch

log = logging.getLogger(__name__)

# Gemma 3 with vision: the text model's names, as the Hub and as transformers store them, to the text model's own.
_TEXT_PART = {r"^(model\.language_model|language_model\.model)\.": "model.", r"^language_model\.lm_head\.": "lm_head."}


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, with what the engine needs to know about it."""

    model: Any  # of transformers, in eval mode, or a `LlamaModel`
    shape: ModelShape
    backend: Backend
    backend_reason: str
    tokenizer: Any
    name: str
    path: Path
    files: tuple[Path, ...]  # with the weights, an adapter's too
    fingerprint: str  # identifies the weights; "" where nothing about them is kept
    architecture: str
    num_parameters: int
    weights_bytes: int
    kv_bytes: int  # of one token
    dtype: torch.dtype  # of the logits
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
    quant: Quant
    dtype: torch.dtype
    memory: MemoryPlan
    notes: tuple[str, ...]


def load_model(
    spec: ModelSpec,
    report: Report,
    cancelled: Callable[[], bool] = lambda: False,
    stamps: Path | None = None,
    measured: Measured = lambda _: {},
) -> LoadedModel:
    """Load the model that `spec` names; `cancelled` is asked during a download.

    `stamps` is the folder where is kept which files were found whole, and what was merged for llama.cpp; `measured`
    says what a round of the weights with a fingerprint takes by each backend, where that is known here.

    Raises one of the `EngineError`s about models, devices, memory, disk and network; nothing stays allocated then.
    """
    quiet_libraries()
    location = resolve(spec.model)
    report(LoadProgress(stage="find", message=f"Looking for {location.name}"))
    path = location.path
    if path is None:
        assert location.hub_id is not None
        path = fetch(
            location.hub_id,
            report,
            location.gguf,
            offline=spec.offline,
            cancelled=cancelled,
            stamps=stamps,
            free_bytes=free_bytes(spec.device),
        )
    name = location.name
    if location.hub_id == name and path.is_file():
        name = f"{name}:{label_of(model_name(path)) or path.name}"  # which of its quantisations it is
    checkpoint = read_checkpoint(path, name)
    config = _read_text_config(checkpoint)
    checkpoint = replace(checkpoint, config=config.to_dict())

    adapter, adapter_notes = adapter_of(spec, config, checkpoint)
    # Before they are read: what replaces them meanwhile is something else.
    fingerprint = checkpoint.fingerprint + (adapter.fingerprint if adapter else "")
    tokenizer = load_tokenizer(checkpoint)
    defaults = checkpoint.generation_defaults() | (bundled.RECOMMENDED if spec.model == SMOLLM2 else {})
    sampling, sampling_notes = default_sampling(defaults)
    backend, placement, model = _place(checkpoint, adapter, spec, measured(fingerprint), stamps, report)
    architecture, num_bytes = checkpoint.model_type, placement.memory.weights_bytes
    weight_notes: tuple[str, ...] = ()
    if backend.name == "torch":
        torch.set_num_threads(placement.threads)
        model, weight_notes = _load_weights(checkpoint, adapter, config, spec, placement, report)
        architecture, num_bytes = type(model).__name__, weights_bytes(model)
    return LoadedModel(
        model=model,
        shape=ModelShape(name, checkpoint.config, checkpoint.tensors),
        backend=backend.name,
        backend_reason=backend.reason,
        tokenizer=tokenizer,
        name=f"{name} with {adapter.name}" if adapter else name,
        path=path,
        files=(*checkpoint.stored_in, *((adapter.file,) if adapter else ())),
        fingerprint=fingerprint,
        architecture=architecture,
        num_parameters=checkpoint.num_parameters,
        weights_bytes=num_bytes,
        kv_bytes=placement.memory.kv_bytes,
        dtype=placement.dtype,
        quant=placement.quant,
        device=placement.device.torch_device,
        device_name=placement.device.name,
        threads=placement.threads,
        context_length=placement.memory.context_length,
        vocab_size=int(config.vocab_size),
        eos_ids=end_ids(tokenizer, defaults, checkpoint.config),
        default_sampling=sampling,
        has_thinking_switch=has_thinking_switch(tokenizer),
        notes=adapter_notes + placement.notes + sampling_notes + weight_notes,
    )


def _place(
    checkpoint: Checkpoint,
    adapter: Adapter | None,
    spec: ModelSpec,
    measured: Mapping[Backend, float],
    folder: Path | None,
    report: Report,
) -> tuple[BackendChoice, Placement, Any]:
    """What computes, where and how; and the model in llama.cpp, where that is chosen and can read it."""
    choice = choose_backend(spec, checkpoint, choose_device(spec.device), measured)
    placement = choose_placement(checkpoint, spec, choice.name)
    for note in placement.notes:  # before a person waits for the weights
        report(LoadProgress(stage="find", message=note))
    if choice.name == "torch":
        return choice, placement, None
    assert isinstance(checkpoint, GgufFile)
    try:
        if adapter is not None:
            checkpoint = merged_file(checkpoint, adapter, folder, report)
            placement = choose_placement(checkpoint, spec, choice.name)
        return choice, placement, read_weights(checkpoint, report)
    except (BrokenModel, NotEnoughDisk, UnsupportedModel) as exc:
        if spec.backend != "auto":
            raise
        choice = BackendChoice("torch", f"torch computes: {as_reason(exc)}")
    return choice, choose_placement(checkpoint, spec), None


def choose_placement(shape: ModelShape, spec: ModelSpec, backend: Backend = "torch") -> Placement:
    """Choose device, threads, dtype and context. Raises `UnsupportedDevice` or `NotEnoughMemory`."""
    device = choose_device(spec.device)
    threads = choose_threads(spec.threads, device, shape.num_parameters)
    quant: Quant = "none" if backend == "llama-cpp" else choose_quant(spec, device, shape)
    dtype = choose_dtype(spec.dtype, device, shape.num_parameters, quant)
    if backend == "llama-cpp":
        dtype = torch.float32
    if quant != "none":
        check_quantisation(quant, device, dtype)
    memory, notes = plan(shape, device, dtype, quant, spec.max_context, backend)
    if quant == "nf4" and device.kind == "cpu":
        notes = (*notes, slow_nf4(shape, device, dtype, spec.max_context))
    return Placement(device, threads, quant, dtype, memory, notes)


def _read_text_config(checkpoint: Checkpoint) -> Any:
    """The text model's configuration with its class's defaults filled in."""
    from transformers import AutoConfig

    try:
        with checkpoint.opened() as files:
            config = AutoConfig.from_pretrained(**files, local_files_only=True, trust_remote_code=False)
    except Exception as exc:  # configurations validate themselves, each with exceptions of its own
        raise BrokenModel(
            f"{checkpoint.name}: {checkpoint.config_place} is not valid ({lines_of(exc)[-1]}). Download the model "
            "again."
        ) from exc
    text = config.get_text_config()
    if not text.num_hidden_layers:
        raise BrokenModel(f"{checkpoint.name}: {checkpoint.config_place} names no layers. Download the model again.")
    return text


# --- weights


def _load_weights(
    checkpoint: Checkpoint, adapter: Adapter | None, config: Any, spec: ModelSpec, placement: Placement, report: Report
) -> tuple[Any, tuple[str, ...]]:
    """The model with the adapter merged in, and a note where weights were left over."""
    from transformers import AutoModelForCausalLM

    reader: Any = AutoModelForCausalLM
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    decoded = checkpoint.decoded_weights()
    if decoded:
        if adapter is not None:
            decoded = adapted_weights(decoded, adapter)
        reader = model_class(checkpoint, config)  # an Auto class takes no weights without files
        options = {"pretrained_model_name_or_path": None, "state_dict": state_dict(decoded, placement.dtype)}
    if placement.quant != "none":
        options["quantization_config"] = quantisation(placement.quant, placement.dtype)
    failure: BaseException | None = None
    try:
        with weights_progress(report, checkpoint.name), checkpoint.opened() as files:
            model, info = reader.from_pretrained(
                **(files | options),
                config=config,
                dtype=placement.dtype,
                device_map={"": placement.device.torch_device},
                key_mapping=_TEXT_PART if checkpoint.config["model_type"] == "gemma3_text" else None,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except EngineError:  # the report's: loading was cancelled
        raise
    except Exception as exc:  # a model's own classes fail in whatever way its config.json leads them to
        failure = exc
    if failure is not None:  # outside the except block, whose traceback holds the half-loaded weights
        raise _translated(failure.with_traceback(None), checkpoint, spec, placement) from None
    notes = _judge(checkpoint, model, info)
    if adapter is not None and not decoded:
        merge(model, adapter)
    if placement.quant == "nf4" and placement.device.kind == "cpu":
        avoid_packing(model)
    return model.eval().requires_grad_(False), notes


def _judge(checkpoint: Checkpoint, model: Any, info: dict[str, Any]) -> tuple[str, ...]:
    """Refuse weights that are missing or of another shape than config.json says; a note for those left over."""
    if info["missing_keys"]:
        raise missing_weights(checkpoint, sorted(info["missing_keys"]))
    mismatched = sorted({(name, tuple(stored), tuple(wanted)) for name, stored, wanted in info["mismatched_keys"]})
    for module_name, module in model.named_modules():  # transformers does not look at quantised weights
        if isinstance(module, torch.nn.Linear) and _shape(module) != (module.out_features, module.in_features):
            mismatched.append((f"{module_name}.weight", _shape(module), (module.out_features, module.in_features)))
    if mismatched:
        raise wrong_shapes(checkpoint, mismatched)
    wanted_tensors = {t.name for t in checkpoint.text_tensors}
    unused = sorted(wanted_tensors & set(info["unexpected_keys"]))
    if not unused:
        return ()
    return (
        f"{len(unused)} weights in its files have no place in the model and are not used, the first is {unused[0]}.",
    )


def _translated(exc: BaseException, checkpoint: Checkpoint, spec: ModelSpec, placement: Placement) -> Exception:
    if isinstance(exc, OSError):
        return BrokenModel(
            f"{checkpoint.name}: the weights cannot be read ({lines_of(exc)[0]}). Check the disk that holds "
            f"{checkpoint.path}, or download the model again."
        )
    return out_of_memory(exc, checkpoint, spec, placement) or BrokenModel(
        f"{checkpoint.name}: the weights do not fit {checkpoint.config_place} "
        f"({type(exc).__name__}: {lines_of(exc)[0]}). Download the model again."
    )


def out_of_memory(
    exc: BaseException, shape: ModelShape, spec: ModelSpec, placement: Placement
) -> NotEnoughMemory | None:
    """The sentence for a model that did not fit after all; None where `exc` says something else."""
    log.error("Loading %s failed: %r", shape.name, exc)
    if placement.device.kind == "cuda":
        torch.cuda.empty_cache()
    if not is_out_of_memory(exc):
        return None
    footprint = Footprint(
        model=shape.name,
        device_name=placement.device.name,
        device_type=placement.device.kind,
        quant=placement.quant,
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
