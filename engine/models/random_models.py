"""Models of true shape with random weights, for benchmarks that ask for time alone: `random:NAME`, no download.

The structure takes no memory at first; then each weight is made on its device, and quantised before the next one, so
that the model is in memory once. Values repeat one block of normal noise whose length is a prime number, so that no
two rows of a matrix are alike. Their scale keeps activations near 1. There is no tokenizer.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.config import ModelSpec, Sampling
from engine.errors import ModelNotFound
from engine.models.checkpoints.checkpoint import ModelShape, Tensor
from engine.models.libraries import Bar, quiet_libraries
from engine.models.loader import LoadedModel, choose_placement, load_model, out_of_memory, weights_bytes
from engine.models.progress import Report
from engine.models.quantised import quantise_linear
from engine.models.shapes import PREFIX, SHAPES

_NOISE = 1_048_583  # numbers; the smallest prime above 2**20
_BIAS_SCALE = 0.02


def load_any(spec: ModelSpec, report: Report) -> LoadedModel:
    """Load any model, `random:NAME` too; then the tokenizer is None."""
    if spec.model.startswith(PREFIX):
        return load_random(spec, report)
    return load_model(spec, report)


def load_random(spec: ModelSpec, report: Report) -> LoadedModel:
    """Build the model that `random:NAME` names. Raises what `load_model` raises."""
    quiet_libraries()
    config = _config(spec.model)
    skeleton = _skeleton(config, torch.float32)
    tensors = tuple(Tensor(name, "F32", tuple(p.shape)) for name, p in skeleton.named_parameters())
    shape = ModelShape(spec.model, config.to_dict(), tensors)
    placement = choose_placement(shape, spec)
    torch.set_num_threads(placement.threads)
    failure: BaseException | None = None
    try:
        model = _build(config, placement.device.torch_device, placement.dtype, placement.quant, report, spec.model)
    except (RuntimeError, MemoryError) as exc:  # torch.OutOfMemoryError is a RuntimeError
        failure = exc
    if failure is not None:  # outside the except block, whose traceback holds the half-built model
        raise out_of_memory(failure.with_traceback(None), shape, spec, placement) or failure from None
    return LoadedModel(
        model=model,
        shape=shape,
        backend="torch",
        backend_reason="torch computes: random weights are made here.",
        tokenizer=None,
        name=spec.model,
        path=Path(),
        files=(),
        fingerprint="",
        architecture=type(model).__name__,
        num_parameters=shape.num_parameters,
        weights_bytes=weights_bytes(model),
        kv_bytes=placement.memory.kv_bytes,
        dtype=placement.dtype,
        quant=placement.quant,
        device=placement.device.torch_device,
        device_name=placement.device.name,
        threads=placement.threads,
        context_length=placement.memory.context_length,
        vocab_size=int(config.vocab_size),
        eos_ids=frozenset(),
        default_sampling=Sampling(),
        has_thinking_switch=False,
        notes=placement.notes,
    )


def _config(model: str) -> Any:
    from transformers import AutoConfig

    name = model.removeprefix(PREFIX)
    if name not in SHAPES:
        raise ModelNotFound(f"There is no {model}: known are {', '.join(PREFIX + known for known in SHAPES)}.")
    return AutoConfig.for_model(**deepcopy(SHAPES[name]))


def _skeleton(config: Any, dtype: torch.dtype) -> Any:
    """The model without memory for its weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def _build(config: Any, device: torch.device, dtype: torch.dtype, quant: str, report: Report, name: str) -> Any:
    model = _skeleton(config, dtype)
    if quant != "none":
        model = quantise_linear(model, quant, dtype)
    noise = torch.randn(_NOISE, device=device, generator=torch.Generator(device).manual_seed(0)).to(dtype)
    made: dict[nn.Parameter, nn.Parameter] = {}  # by what stood for it: a tied head is the embedding itself
    modules = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
    for module in Bar(modules, report, name):
        for kind, empty in list(module.named_parameters(recurse=False)):
            if empty not in made:
                made[empty] = _filled(kind, empty, noise)
            module.register_parameter(kind, made[empty])
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)  # its frequencies are no parameters
    model.tie_weights()
    assert not any(each.is_meta for each in (*model.parameters(), *model.buffers())), "every weight is made"
    return model.eval().requires_grad_(False)


def _filled(kind: str, empty: nn.Parameter, noise: torch.Tensor) -> nn.Parameter:
    """A parameter in place of `empty`, on the noise's device, quantised as that one's class says."""
    if kind == "bias":
        value = _tiled(tuple(empty.shape), noise * _BIAS_SCALE)
    elif empty.dim() == 1:  # a norm's scale
        value = torch.ones_like(empty, device=noise.device, dtype=noise.dtype)
    else:
        value = _tiled(tuple(empty.shape), noise * empty.shape[-1] ** -0.5)
    if type(empty) is nn.Parameter:
        return nn.Parameter(value, requires_grad=False)
    options = {key: each for key, each in empty.__dict__.items() if key not in ("SCB", "CB")}
    quantised = type(empty)(value, requires_grad=False, **options).to(noise.device)
    assert isinstance(quantised, nn.Parameter)  # bitsandbytes' own
    return quantised


def _tiled(shape: tuple[int, ...], noise: torch.Tensor) -> torch.Tensor:
    """As much of the noise as a shape takes, from its beginning again where it ends."""
    value = torch.empty(shape, dtype=noise.dtype, device=noise.device)
    flat = value.view(-1)
    whole = flat.numel() // _NOISE * _NOISE
    flat[:whole].view(-1, _NOISE).copy_(noise)
    flat[whole:].copy_(noise[: flat.numel() - whole])
    return value
