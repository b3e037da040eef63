"""A model that is ready to answer, and what is yet to be found out about it. Knows no conversation and no drafter by
name.

Until it is certified and measured, a model answers one token at a time, without drafts.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

import torch

from engine.compilation import warm_up
from engine.config import SMOLLM2, GenerationRequest, ModelSpec
from engine.decoding.generation import Generation
from engine.decoding.loop import Decoder
from engine.decoding.sampling import NodeSampler
from engine.drafting.drafter import Draft, Drafter
from engine.errors import DownloadCancelled, UnusablePack
from engine.events import Certificate, LoadProgress, ModelInfo
from engine.forward.llama_cpp.target import LlamaCppTarget
from engine.forward.target import Cache, Target
from engine.forward.top_tokens import USUAL_TOP, most_likely
from engine.forward.transformers_target import TransformersTarget
from engine.forward.widths import WIDTHS
from engine.models import bundled
from engine.models.identity import ModelIdentity, tokenizer_digest, weights_digest
from engine.models.llama_weights import head_share
from engine.models.loader import LoadedModel, load_model
from engine.models.out_of_memory import out_of_memory_in_words
from engine.probe.cost import CostCurve
from engine.probe.exactness import FAST
from engine.probe.findings import COMPILING, Findings, FindingsFolder, find_out, key_of
from engine.probe.steps import run
from engine.prompt.context import Prompt, build_prompt, newest_start
from engine.prompt.detokenise import TextStream
from engine.prompt.encode import num_tokens
from engine.trained.drafter import TrainedDrafter, ready_to_draft
from engine.trained.finding import AUTO, NONE, find_pack, require_named

Search = Generator[LoadProgress, None, Findings]
"""What is yet to be found out about a model, in small steps; the target may do other work between two."""

_UNMEASURED = CostCurve({0: {1: 1.0}})  # seconds that nothing is chosen by: there is one width


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A loaded model, what was found out about it so far, and the cache that rounds are recorded over."""

    spec: ModelSpec
    loaded: LoadedModel
    target: Target[Any]
    found: Findings | None  # None: not certified yet
    info: ModelInfo
    cache: Cache
    trained: TrainedDrafter | None  # of the model's drafter pack
    pack_notes: tuple[str, ...]  # a sentence where a pack is not what it should be

    def with_findings(self, found: Findings) -> Self:
        """The same model, certified and measured."""
        info = _describe(self.loaded, self.target, found, self.info.load_s, self.trained, self.pack_notes)
        return replace(self, found=found, info=info)

    def with_note(self, note: str) -> Self:
        """The same model, with a sentence for people."""
        return replace(self, info=replace(self.info, notes=(*self.info.notes, note)))

    def prompt(self, request: GenerationRequest) -> Prompt:
        """The request as token ids; raises what `build_prompt` raises."""
        loaded = self.loaded
        return build_prompt(loaded.tokenizer, request, loaded.context_length, loaded.vocab_size)

    def encode(self, texts: Sequence[str]) -> list[int]:
        """The texts as one run of ids, without those that the model lacks."""
        encoded = self.loaded.tokenizer(list(texts), add_special_tokens=False).input_ids
        return [token_id for ids in encoded for token_id in ids if token_id < self.loaded.vocab_size]

    def spell(self, token_ids: Sequence[int]) -> str:
        """What tokens say by themselves, without special ones."""
        tokenizer = self.loaded.tokenizer
        return str(tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def sketched(self, draft: Draft) -> Draft:
        """A draft without what stands behind the end of an answer."""
        return draft.up_to(self.loaded.eos_ids)

    def count(self, texts: Sequence[str]) -> tuple[int, ...]:
        """How many tokens each text makes."""
        return tuple(num_tokens(self.loaded.tokenizer, text) for text in texts)

    def cache_bytes(self, tokens: int) -> int:
        """What a cache for so many tokens takes, in bytes."""
        return self.target.padded_capacity(tokens) * self.loaded.kv_bytes

    def generation(self, request: GenerationRequest, prompt: Prompt, cache: Cache, drafter: Drafter) -> Generation:
        """An answer that is yet to be generated, in `cache`."""
        loaded = self.loaded
        certificate = self._certificate(request)
        end_ids = frozenset() if request.ignore_eos else loaded.eos_ids
        decoder = Decoder(
            self.target,
            cache,
            drafter=drafter,
            sampler=NodeSampler(request.sampling, prompt.token_ids, loaded.vocab_size, self.target.device),
            cost=self._cost,
            widths=self._widths(request, certificate, len(prompt.token_ids)),
            aligned=request.exactness == "exact",
            trees=certificate.trees,
            num_likeliest=request.num_likeliest,
            end_ids=end_ids,
        )
        return Generation(
            request,
            prompt,
            decoder,
            TextStream(loaded.tokenizer, prompt.continued_ids, request.stop),
            end_ids=end_ids,
            context_length=loaded.context_length,
            certificate=certificate,
            newest=self._newest(request, prompt),
        )

    def draft_with(self, drafter: Drafter, generation: Generation, request: GenerationRequest) -> None:
        """Let another drafter draft from the next round on, as the request's mode now says."""
        certificate = self._certificate(request)
        widths = self._widths(request, certificate, len(generation.cached_ids))
        generation.draft_with(drafter, widths, self._newest(request, generation.prompt))

    def _newest(self, request: GenerationRequest, prompt: Prompt) -> int:
        """Where the newest message begins in the prompt; not looked for where nothing is drafted."""
        return newest_start(self.loaded.tokenizer, request, prompt) if request.mode == "adaptive" else 0

    @property
    def _cost(self) -> CostCurve:
        return self.found.cost if self.found is not None else _UNMEASURED

    def _certificate(self, request: GenerationRequest) -> Certificate:
        return self.info.certificate(request.exactness)

    def _widths(self, request: GenerationRequest, certificate: Certificate, context: int) -> tuple[int, ...]:
        """The round widths that an answer may use."""
        if request.mode == "adaptive" or certificate.provisional:
            return certificate.widths
        if request.exactness == "fast":
            return (1,)
        return (min(certificate.widths, key=self._cost.at(context)),)  # all give the same bits: take the cheapest


def prepare(
    spec: ModelSpec,
    folder: FindingsFolder,
    cancelled: Callable[[], bool],
    report: Callable[[LoadProgress], None],
    packs: Path | None = None,
) -> tuple[ReadyModel, Search | None]:
    """Load a model; returns it and what is yet to be found out about it, for `ReadyModel.with_findings`.

    Nothing is left to be found out where the specification asks for all of that first, or for none. `cancelled` is
    asked at every report.
    """
    started = time.perf_counter()

    def report_or_stop(progress: LoadProgress) -> None:
        if cancelled():
            raise DownloadCancelled(f"Loading {spec.model} was cancelled. Load it again to continue.")
        report(progress)

    require_named(spec.drafter_pack)
    if spec.model == SMOLLM2:
        bundled.check(bundled.require(), folder.path)
    loaded = load_model(spec, report_or_stop, cancelled, folder.path, folder.usual_tokens)
    with out_of_memory_in_words(loaded.footprint):
        target = target_of(loaded, plain_code=spec.stock_layers)
        cache = target.new_cache()
        key = key_of(loaded, target)
        known = None if spec.reprobe else folder.read(key)
        search = _search(target, loaded.dtype, cache, known, lambda found: folder.write(key, found))
        if spec.certify == "first":
            known = run(search, report_or_stop)
        elif known is not None:
            for _ in warm_up(elsewhere=False):
                report_or_stop(LoadProgress(stage="warm-up", message=COMPILING))
        trained, notes = _trained_for(loaded, target, spec, packs)
    info = _describe(loaded, target, known, time.perf_counter() - started, trained, notes)
    model = ReadyModel(spec, loaded, target, known, info, cache, trained, notes)
    return model, search if spec.certify == "background" else None


def _trained_for(
    loaded: LoadedModel, target: Target[Any], spec: ModelSpec, packs: Path | None
) -> tuple[TrainedDrafter | None, tuple[str, ...]]:
    """What the model's drafter pack drafts with, and notes on it. Raises `UnusablePack`."""
    if target.hidden_size is None:
        if spec.drafter_pack not in (AUTO, NONE):
            raise UnusablePack(
                f"The drafter pack {spec.drafter_pack} cannot be used: llama.cpp hands over no hidden states here. "
                "Load the model with --backend torch."
            )
        return None, ()
    identity = lru_cache(lambda: identity_of(loaded, target))  # a vocabulary takes a while
    pack, notes = find_pack(spec.drafter_pack, identity, loaded.path, packs, target.device)
    return (None if pack is None else ready_to_draft(pack, target.device)), notes


def identity_of(loaded: LoadedModel, target: Target[Any]) -> ModelIdentity:
    """Tell the model, for the packs that belong to it."""
    return ModelIdentity(
        loaded.architecture,
        target.hidden_size or 0,
        target.vocab_size,
        tokenizer_digest(loaded.tokenizer),
        weights_digest(loaded.files),
    )


def target_of(
    loaded: LoadedModel,
    *,
    plain_code: bool = False,
    over_torch: type[TransformersTarget] = TransformersTarget,
    over_llama: type[LlamaCppTarget] = LlamaCppTarget,
) -> Target[Any]:
    """The target that computes a loaded model; `plain_code`: through code whose rounding depends on the width."""
    if loaded.backend == "torch":
        return over_torch(
            loaded.model,
            loaded.device,
            loaded.dtype,
            loaded.context_length,
            threads=loaded.threads,
            stock_layers=plain_code,
        )
    config = loaded.shape.config
    return over_llama(
        loaded.model,
        context_length=loaded.context_length,
        threads=loaded.threads,
        numbers_per_row=config["hidden_size"] * config["num_hidden_layers"],
        head_share=head_share(loaded.shape),
        flash=not plain_code,
    )


def _search(
    target: Target[Any], dtype: torch.dtype, cache: Cache, known: Findings | None, keep: Callable[[Findings], None]
) -> Search:
    """Find out what is not `known`, do what the first round of each width over `cache` would wait for, and keep what
    was found."""
    compiling = warm_up(elsewhere=known is None, also=partial(_read_top_once, target, dtype))
    found = yield from find_out(target, known, compiling)
    for width in reversed(WIDTHS):
        target.prepare(cache, (width,))
        yield LoadProgress(stage="measure", message="Recording rounds", done=1, total=1, seconds_left=0.0)
    keep(found)
    return found


def _read_top_once(target: Target[Any], dtype: torch.dtype) -> None:
    """Compile what reads the likeliest tokens on a processor: else the first timed round would wait for it."""
    if target.device.type == "cpu":
        most_likely(torch.zeros(1, target.vocab_size, dtype=dtype), USUAL_TOP)


def _describe(
    loaded: LoadedModel,
    target: Target[Any],
    found: Findings | None,
    load_s: float,
    trained: TrainedDrafter | None,
    pack_notes: tuple[str, ...],
) -> ModelInfo:
    return ModelInfo(
        name=loaded.name,
        path=str(loaded.path),
        architecture=loaded.architecture,
        num_parameters=loaded.num_parameters,
        weights_bytes=loaded.weights_bytes,
        dtype=_format_of(loaded),
        quant=loaded.quant,
        device=str(loaded.device),
        device_name=loaded.device_name,
        threads=loaded.threads,
        context_length=loaded.context_length,
        has_chat_template=bool(loaded.tokenizer.chat_template),
        has_thinking_switch=loaded.has_thinking_switch,
        default_sampling=loaded.default_sampling,
        exact=found.exact if found is not None else None,
        fast=replace(FAST, trees=target.trees),
        cost_curve=found.cost.points if found is not None else None,
        exact_cost=_exact_cost(found) if found is not None else None,
        load_s=load_s,
        notes=loaded.notes + target.notes + pack_notes,
        backend=loaded.backend,
        backend_reason=loaded.backend_reason,
        drafter_pack=trained.name if trained is not None else "",
        provisional=found is None,
    )


def _format_of(loaded: LoadedModel) -> str:
    """The number format of the weights; where a file has several, that of most of them."""
    if loaded.backend == "torch":
        return str(loaded.dtype).removeprefix("torch.")
    sizes: Counter[str] = Counter()
    for tensor in loaded.shape.text_tensors:
        sizes[tensor.dtype] += tensor.num_elements
    return sizes.most_common(1)[0][0]


def _exact_cost(found: Findings) -> float:
    seconds = dict(found.cost.points)
    return min(seconds[width] for width in found.exact.widths) / seconds[1]
