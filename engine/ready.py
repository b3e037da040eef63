"""A model that is ready to answer: loaded, certified and measured. Knows no conversation and no drafter by name."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.config import SMOLLM2, GenerationRequest, ModelSpec
from engine.decoding import choose
from engine.decoding.generation import Generation
from engine.decoding.loop import Decoder
from engine.decoding.sampling import NodeSampler
from engine.drafting import adaptive
from engine.drafting.drafter import Drafter
from engine.errors import DownloadCancelled
from engine.events import Certificate, LoadProgress, ModelInfo
from engine.forward.target import Cache, Target
from engine.forward.transformers_target import TransformersTarget
from engine.forward.widths import WIDTHS
from engine.models import bundled
from engine.models.footprint import kv_bytes_per_token
from engine.models.loader import LoadedModel, load_model
from engine.models.out_of_memory import out_of_memory_in_words
from engine.probe.cost import CostCurve
from engine.probe.exactness import FAST
from engine.probe.findings import Findings, FindingsFolder, find_out
from engine.prompt.context import Prompt, build_prompt
from engine.prompt.detokenise import TextStream


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A loaded model with everything measured about it, and the cache that rounds were recorded over."""

    spec: ModelSpec
    loaded: LoadedModel
    target: Target[Any]
    cost: CostCurve
    info: ModelInfo
    cache: Cache

    def prompt(self, request: GenerationRequest) -> Prompt:
        """The request as token ids; raises what `build_prompt` raises."""
        loaded = self.loaded
        return build_prompt(loaded.tokenizer, request, loaded.context_length, loaded.vocab_size)

    def encode(self, texts: Sequence[str]) -> list[int]:
        """The texts as one run of ids, without those that the model lacks."""
        encoded = self.loaded.tokenizer(list(texts), add_special_tokens=False).input_ids
        return [token_id for ids in encoded for token_id in ids if token_id < self.loaded.vocab_size]

    def cache_bytes(self, tokens: int) -> int:
        """What a cache for so many tokens takes, in bytes."""
        loaded = self.loaded
        return self.target.padded_capacity(tokens) * kv_bytes_per_token(
            loaded.model.config.to_dict(), loaded.dtype.itemsize
        )

    def generation(self, request: GenerationRequest, prompt: Prompt, cache: Cache, drafter: Drafter) -> Generation:
        """An answer that is yet to be generated, in `cache`."""
        loaded = self.loaded
        certificate = self._certificate(request)
        decoder = Decoder(
            self.target,
            cache,
            drafter=drafter,
            sampler=NodeSampler(request.sampling, prompt.token_ids, loaded.vocab_size, self.target.device),
            cost=self.cost,
            widths=self._widths(request, certificate, len(prompt.token_ids)),
            aligned=request.exactness == "exact",
            trees=certificate.trees,
        )
        return Generation(
            request,
            prompt,
            decoder,
            TextStream(loaded.tokenizer, prompt.continued_ids, request.stop),
            eos_ids=loaded.eos_ids,
            context_length=loaded.context_length,
            certificate=certificate,
        )

    def _certificate(self, request: GenerationRequest) -> Certificate:
        return self.info.certificate(request.exactness)

    def _widths(self, request: GenerationRequest, certificate: Certificate, context: int) -> tuple[int, ...]:
        """The round widths that an answer may use."""
        if request.mode == "adaptive":
            return certificate.widths
        if request.exactness == "fast":
            return (1,)
        return (min(certificate.widths, key=self.cost.at(context)),)  # all give the same bits: take the cheapest


def prepare(
    spec: ModelSpec,
    folder: FindingsFolder,
    cancelled: Callable[[], bool],
    report: Callable[[LoadProgress], None],
) -> ReadyModel:
    """Load a model and find out what there is to know about it; `cancelled` is asked at every report."""
    started = time.perf_counter()

    def report_or_stop(progress: LoadProgress) -> None:
        if cancelled():
            raise DownloadCancelled(f"Loading {spec.model} was cancelled. Load it again to continue.")
        report(progress)

    if spec.model == SMOLLM2:
        bundled.check(bundled.require(), folder.path)
    loaded = load_model(spec, report_or_stop, cancelled)
    with out_of_memory_in_words(loaded.footprint):
        target = TransformersTarget(
            loaded.model,
            loaded.device,
            loaded.dtype,
            loaded.context_length,
            threads=loaded.threads,
            stock_layers=spec.stock_layers,
        )
        found = find_out(loaded, target, folder, report_or_stop, reprobe=spec.reprobe, warm_up=_warm_up)
        cache = target.new_cache()
        target.prepare(cache, WIDTHS)
    info = _describe(loaded, found, time.perf_counter() - started, target.notes)
    return ReadyModel(spec, loaded, target, found.cost, info, cache)


def _warm_up() -> None:
    """Compile what a round runs beside the model."""
    adaptive.warm_up()
    choose.warm_up()


def _describe(loaded: LoadedModel, found: Findings, load_s: float, notes: tuple[str, ...]) -> ModelInfo:
    seconds = dict(found.cost.points)
    return ModelInfo(
        name=loaded.name,
        path=str(loaded.path),
        architecture=loaded.architecture,
        num_parameters=loaded.num_parameters,
        weights_bytes=loaded.weights_bytes,
        dtype=str(loaded.dtype).removeprefix("torch."),
        quant=loaded.quant,
        device=str(loaded.device),
        device_name=loaded.device_name,
        threads=loaded.threads,
        context_length=loaded.context_length,
        has_chat_template=bool(loaded.tokenizer.chat_template),
        has_thinking_switch=loaded.has_thinking_switch,
        default_sampling=loaded.default_sampling,
        exact=found.exact,
        fast=FAST,
        cost_curve=found.cost.points,
        exact_cost=min(seconds[width] for width in found.exact.widths) / seconds[1],
        load_s=load_s,
        notes=loaded.notes + notes,
    )
