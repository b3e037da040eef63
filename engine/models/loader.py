"""From a `ModelSpec` to a model that is ready to compute.

Everything that can be known to fail is known before the weights are read; what remains is translated here.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.config import STARTER, ModelSpec, Sampling
from engine.errors import ModelNotFound
from engine.events import LoadProgress

STARTER_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "starter"


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, in eval mode, with what the engine needs to know about it."""

    model: Any
    tokenizer: Any
    name: str
    path: Path
    architecture: str
    num_parameters: int
    weights_bytes: int
    dtype: torch.dtype
    quant: str
    device: torch.device
    device_name: str
    threads: int
    context_length: int
    vocab_size: int
    eos_ids: frozenset[int]
    default_sampling: Sampling
    has_thinking_switch: bool
    notes: tuple[str, ...]


def load_model(spec: ModelSpec, report: Callable[[LoadProgress], None]) -> LoadedModel:
    """Load the model that `spec` names."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from engine.context import has_thinking_switch

    folder = STARTER_FOLDER if spec.model == STARTER else Path(spec.model)
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"There is no model in {folder}. Choose a folder with a config.json.")
    report(LoadProgress(stage="find", message=f"Reading {folder.name}"))
    if spec.threads:
        torch.set_num_threads(spec.threads)
    device = torch.device("cpu" if spec.device == "auto" else spec.device)
    dtype = torch.float32 if spec.dtype == "auto" else getattr(torch, spec.dtype)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    report(LoadProgress(stage="weights", message="Loading the weights"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True, trust_remote_code=False)
    model.eval().requires_grad_(False).to(device)
    generation = GenerationConfig()
    if (folder / "generation_config.json").is_file():
        generation = GenerationConfig.from_dict(json.loads((folder / "generation_config.json").read_text()))
    eos = generation.eos_token_id if isinstance(generation.eos_token_id, list) else [generation.eos_token_id]
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=folder.name,
        path=folder,
        architecture=type(model).__name__,
        num_parameters=sum(p.numel() for p in model.parameters()),
        weights_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
        dtype=dtype,
        quant=spec.quant,
        device=device,
        device_name=str(device),
        threads=torch.get_num_threads(),
        context_length=spec.max_context or model.config.max_position_embeddings,
        vocab_size=model.config.vocab_size,
        eos_ids=frozenset(i for i in [*eos, tokenizer.eos_token_id] if i is not None),
        default_sampling=Sampling(),
        has_thinking_switch=has_thinking_switch(tokenizer),
        notes=(),
    )
