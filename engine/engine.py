"""The engine: one model, one conversation's cache, one answer at a time. Implements `engine.api.EngineAPI`.

It puts the parts together and owns what outlives an answer: the KV cache with the ids it holds, the drafter, the
certificate and the measured cost curve. It knows no page and no store.
"""

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from engine.api import Running, Work
from engine.config import DrafterName, GenerationRequest, Mode, ModelSpec
from engine.decoding import choose
from engine.decoding.comparison import race, verdict
from engine.decoding.generation import Generation, Prefilled
from engine.decoding.loop import Decoder
from engine.decoding.sampling import NodeSampler
from engine.drafting import adaptive
from engine.drafting.adaptive import AdaptiveDrafter
from engine.drafting.drafter import Drafter, NoDrafter
from engine.drafting.registry import make_drafter
from engine.drafting.sources.memory import ConversationMemory
from engine.errors import DownloadCancelled, EngineBusy, EngineError, NoModelLoaded
from engine.events import (
    CompareEvent,
    Event,
    Finished,
    LaneEvent,
    LoadProgress,
    ModelInfo,
    PrefillProgress,
)
from engine.forward.kv_cache import KVCache
from engine.forward.top_tokens import TopTokens, read_chunk, rows_per_chunk, rows_to_read
from engine.forward.transformers_target import TransformersTarget
from engine.forward.widths import WIDTHS
from engine.models.loader import LoadedModel, load_model
from engine.models.out_of_memory import out_of_memory_in_words
from engine.models.progress import with_progress
from engine.probe.cost import CostCurve
from engine.probe.exactness import FAST
from engine.probe.findings import Findings, FindingsFolder, find_out
from engine.prompt.context import Prompt, build_prompt
from engine.prompt.detokenise import TextStream


@dataclass(frozen=True, slots=True)
class _Ready:
    """A loaded model with everything measured about it, and the cache it works in."""

    spec: ModelSpec
    loaded: LoadedModel
    target: TransformersTarget
    cost: CostCurve
    info: ModelInfo
    cache: KVCache


class Engine:
    """Loads models and generates answers in this process; see `EngineAPI` for the contract.

    `findings`: the folder that keeps what the probe and the clock find out about a model; None keeps nothing.
    """

    def __init__(self, findings: Path | None = None) -> None:
        self._findings = FindingsFolder(findings)
        self._loaded: _Ready | None = None
        self._stock: Any = None  # the model as transformers loads it, where a benchmark asked for it
        self._cached_ids: list[int] = []  # the tokens of the cache's committed slots
        self._num_certified = 0  # leading slots that were computed by prefill and certified widths alone
        self._memory = ConversationMemory(0)
        self._new_drafters()
        self._at_hand: str | None = None  # the conversation in the cache, where it will be remembered
        self._to_learn: deque[Callable[[], None]] = deque()  # what to remember and forget when nobody answers
        self._lock = threading.Lock()

    @property
    def info(self) -> ModelInfo | None:
        return self._loaded.info if self._loaded else None

    @property
    def loaded(self) -> LoadedModel:
        """The model and tokenizer themselves, for benchmarks that run other ways beside ours."""
        return self._ready.loaded

    @property
    def compares(self) -> Self:
        return self

    @property
    def memory(self) -> Self:
        return self

    @property
    def process(self) -> None:
        return None

    def load(self, spec: ModelSpec) -> Running[LoadProgress]:
        """Load, certify and measure a model in place of the present one."""
        stop = threading.Event()
        return Work(self._load(spec, stop), stop.set)

    def _load(self, spec: ModelSpec, stop: threading.Event) -> Generator[LoadProgress, None, None]:
        with self._exclusive():
            self._drop()
            try:
                self._loaded = yield from with_progress(
                    lambda report: _prepare(spec, self._findings, report, stop.is_set)
                )
            except GeneratorExit:
                stop.set()  # nobody waits for the rest: neither a download nor the reading of weights need go on
                raise
            self._memory = ConversationMemory(spec.memory_tokens)
            self._new_drafters()
            yield LoadProgress(stage="ready", message=f"{self._loaded.info.name} is ready", done=1, total=1)

    def unload(self) -> None:
        with self._exclusive():
            self._drop()

    def close(self) -> None:
        self.unload()

    def remember(self, conversation: str, texts: Sequence[str]) -> None:
        self._learn(partial(self._absorb, conversation, tuple(texts)))

    def forget(self, conversation: str) -> None:
        self._learn(partial(self._forget, conversation))

    def always_look(self) -> None:
        """Ask the adaptive drafter in every round, until another model is loaded: for proofs, which go by no clock."""
        self._drafter.allowance = None

    def reset_cache(self) -> None:
        """Forget the cached conversation, so that the next prompt is prefilled from its first token."""
        with self._exclusive():
            self._remember([], num_certified=0)

    @contextmanager
    def stock_attention(self) -> Iterator[Any]:
        """The transformers model with its own attention, for `model.generate` in a benchmark; loaded a second time
        where ours has laid out the weights for itself."""
        ready = self._ready
        if ready.target.has_stock_model:
            with ready.target.stock_model() as model:
                yield model
            return
        if self._stock is None:
            self._stock = load_model(ready.spec, lambda _: None, lambda: False).model
            torch.set_num_threads(ready.loaded.threads)
        yield self._stock

    def next_logits(self, token_ids: Sequence[int], *, width: int | None) -> torch.Tensor:
        """What a round of this width finds behind these tokens, (vocab,), or the prefill where `width` is None; the
        cached conversation is not touched."""
        target = self._ready.target
        cache = target.new_cache(len(token_ids))
        if width is None:
            *_, logits = target.prefill(cache, token_ids)
            first: torch.Tensor = logits[0]
            return first
        for _ in target.prefill(cache, token_ids[:-1]):
            pass
        return target.forward(cache, token_ids[-1:], width=width)[0]

    def top_two_margin(self, token_ids: Sequence[int]) -> float:
        """Difference of the two largest logits behind these tokens; the cached conversation is not touched."""
        target = self._ready.target
        *_, logits = target.prefill(target.new_cache(len(token_ids)), token_ids)
        first, second = logits[0].float().topk(2).values.tolist()
        return float(first - second)

    def generate(self, request: GenerationRequest, *, drafter: Drafter | None = None) -> Running[Event]:
        """Generate one answer. `drafter` takes the place of the request's, for tests and benchmarks."""
        stop = threading.Event()
        return Work(self._generate(request, drafter, stop), stop.set)

    def _generate(
        self, request: GenerationRequest, drafter: Drafter | None, stop: threading.Event
    ) -> Generator[Event, None, None]:
        with self._exclusive():
            prompt = self._begin(request)
            drafter = self._drafter_of(request, drafter)
            generation = self._generation(request, prompt, self._ready.cache, drafter)
            try:
                prefilled = yield from self._prefill(prompt, request, drafter.num_top, stop)
                if prefilled is not None:
                    yield from generation.start(prefilled)
                    while generation.stop_reason is None and not stop.is_set():
                        yield from generation.step()
            finally:
                self._remember_answer(generation, request)
            yield from generation.finish()

    def compare(self, request: GenerationRequest) -> Running[CompareEvent]:
        """Generate the answer plain and adaptive from one prefill, in alternating slices of the one device."""
        stop = threading.Event()
        return Work(self._compare(request, stop), stop.set)

    def _compare(self, request: GenerationRequest, stop: threading.Event) -> Generator[CompareEvent, None, None]:
        with self._exclusive():
            prompt = self._begin(request)
            ready, drafting = self._ready, request.with_mode("adaptive")
            drafter = self._drafter_of(drafting)
            adaptive = self._generation(drafting, prompt, ready.cache, drafter)
            try:
                prefill = self._prefill(prompt, request, drafter.num_top, stop)
                prefilled = yield from _on_lane("plain", prefill)
                tokens = min(len(prompt.token_ids) + request.max_tokens, ready.loaded.context_length)
                twin = ready.cache.copy(ready.target.padded_capacity(tokens))
                plain = self._generation(request.with_mode("plain"), prompt, twin, NoDrafter())
                ready.target.prepare(twin, plain.widths)
                if prefilled is not None:
                    yield from race(plain, adaptive, prefilled, stop.is_set)
            except EngineError:
                ready.cache.clear()  # what is no number in the twin may be none here: both share the prefill
                raise
            finally:
                self._remember_answer(adaptive, request)
            lanes: list[tuple[Mode, Generation]] = [("plain", plain), ("adaptive", adaptive)]
            ends: dict[Mode, Finished] = {}
            for lane, generation in lanes:
                for event in generation.finish():
                    yield LaneEvent(lane=lane, event=event)
                    if isinstance(event, Finished):
                        ends[lane] = event
            answer = ends["plain"].token_ids
            yield verdict(
                ends["plain"],
                ends["adaptive"],
                lambda position: self.top_two_margin([*prompt.token_ids, *answer[:position]]),
            )

    # What both ways share

    def _new_drafters(self) -> None:
        """What drafters have learnt ends with the model."""
        self._drafter = AdaptiveDrafter(self._memory)
        self._drafters: dict[DrafterName, Drafter] = {"adaptive": self._drafter}

    def _drafter_of(self, request: GenerationRequest, given: Drafter | None = None) -> Drafter:
        """Who drafts: nobody, the given one or the one asked for."""
        if request.mode == "plain":
            return NoDrafter()
        if given is None and request.drafter not in self._drafters:
            self._drafters[request.drafter] = make_drafter(request.drafter)
        return given or self._drafters[request.drafter]

    def _learn(self, change: Callable[[], None]) -> None:
        """Change the memory now, or before the next answer where one is running."""
        self._to_learn.append(change)
        if self._lock.acquire(blocking=False):
            try:
                self._catch_up()
            finally:
                self._lock.release()

    def _catch_up(self) -> None:
        while self._to_learn:
            self._to_learn.popleft()()

    def _absorb(self, conversation: str, texts: tuple[str, ...]) -> None:
        if self._loaded is not None and texts:
            loaded = self._loaded.loaded
            encoded = loaded.tokenizer(list(texts), add_special_tokens=False).input_ids
            known = [token_id for ids in encoded for token_id in ids if token_id < loaded.vocab_size]
            self._memory.absorb(conversation, known)

    def _forget(self, conversation: str) -> None:
        self._memory.forget(conversation)
        self._drafter.forget_recycled()
        self._drafters = {"adaptive": self._drafter}  # what the others know is not kept by conversation either
        if conversation == self._at_hand:
            self._at_hand = None

    def _turn_to(self, request: GenerationRequest) -> None:
        """Draft for the request's conversation; the one that was answered in before becomes part of the memory.

        The cache holds that one's text until this request's prefill: a request that fails before has none at hand.
        """
        self._catch_up()
        if self._at_hand is not None and self._at_hand != request.conversation:
            self._memory.absorb(self._at_hand, self._cached_ids)
        if self._at_hand != request.conversation or not request.memory:
            self._at_hand = None
        self._drafter.conversation = request.conversation
        self._drafter.use_memory = request.memory and self._memory.cap_tokens > 0

    @property
    def _ready(self) -> _Ready:
        if self._loaded is None:
            raise NoModelLoaded("No model is loaded: choose one first.")
        return self._loaded

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One piece of work at a time; a device that runs out of memory is told in a sentence."""
        if not self._lock.acquire(blocking=False):
            raise EngineBusy("The engine is busy with another answer: wait for it, or stop it.")
        try:
            with out_of_memory_in_words(
                self._loaded.loaded.footprint if self._loaded is not None else None, answering=True
            ):
                yield
        finally:
            self._lock.release()

    def _begin(self, request: GenerationRequest) -> Prompt:
        loaded = self._ready.loaded
        self._turn_to(request)
        torch.set_num_threads(loaded.threads)  # OpenMP keeps this per thread, and answers come on any thread
        return build_prompt(loaded.tokenizer, request, loaded.context_length, loaded.vocab_size)

    def _generation(self, request: GenerationRequest, prompt: Prompt, cache: KVCache, drafter: Drafter) -> Generation:
        ready = self._ready
        loaded, exact = ready.loaded, request.exactness == "exact"
        certificate = ready.info.exact if exact else FAST
        widths = certificate.widths
        if request.mode == "plain":  # certified widths give the same bits: take the cheapest
            widths = (min(widths, key=ready.cost.at(len(prompt.token_ids))) if exact else 1,)
        decoder = Decoder(
            ready.target,
            cache,
            drafter=drafter,
            sampler=NodeSampler(request.sampling, prompt.token_ids, loaded.vocab_size, loaded.device),
            cost=ready.cost,
            widths=widths,
            aligned=exact,
            trees=certificate.trees,
        )
        text = TextStream(loaded.tokenizer, prompt.continued_ids, request.stop)
        return Generation(
            request,
            prompt,
            decoder,
            text,
            eos_ids=loaded.eos_ids,
            context_length=loaded.context_length,
            certificate=certificate,
        )

    def _prefill(
        self, prompt: Prompt, request: GenerationRequest, num_top: int, stop: threading.Event
    ) -> Generator[PrefillProgress, None, Prefilled | None]:
        """Bring the cache to the prompt, reusing the longest common prefix; None where cancelled on the way.

        With `num_top`, some rows' likeliest tokens are kept for the drafter, as many as cost little. In `exact` these
        rows go through the head whoever drafts: how many do may decide the last row's bits.
        """
        ready, token_ids = self._ready, prompt.token_ids
        started = time.perf_counter()
        reusable = self._cached_ids if request.exactness == "fast" else self._cached_ids[: self._num_certified]
        reused = min(_common_prefix(reusable, token_ids), len(token_ids) - 1)  # the last token's logits are needed
        ready.cache.crop(reused)
        self._num_certified = min(self._num_certified, reused)
        logits: torch.Tensor | None = None
        tops: list[TopTokens] = []
        several = num_top > 0 or request.exactness == "exact"
        wanted = partial(rows_to_read, most=rows_per_chunk(ready.target)) if several else None
        done = reused
        yield PrefillProgress(done=reused, total=len(token_ids), reused=reused)
        for rows in ready.target.prefill(ready.cache, token_ids, wanted):
            logits = rows[-1:]
            if wanted is not None and num_top:
                tops.append(read_chunk(rows, token_ids, done, wanted(token_ids[done : ready.cache.length]), num_top))
            if self._num_certified == done:
                self._num_certified = ready.cache.length
            done = ready.cache.length
            if stop.is_set():
                return None
            yield PrefillProgress(done=done, total=len(token_ids), reused=reused)
        assert logits is not None
        ready.target.synchronize()
        return Prefilled(logits, reused, time.perf_counter() - started, tuple(tops))

    def _remember_answer(self, generation: Generation, request: GenerationRequest) -> None:
        """Note what the cache holds now, and whose text that is, however the answer ended."""
        self._at_hand = request.conversation if request.memory else None
        cached = generation.cached_ids
        certified = len(cached) if request.exactness == "exact" else min(self._num_certified, len(cached))
        self._remember(cached, num_certified=certified)

    def _remember(self, cached_ids: list[int], *, num_certified: int) -> None:
        self._cached_ids = cached_ids
        self._num_certified = num_certified
        if self._loaded is not None:
            self._loaded.cache.crop(len(cached_ids))

    def _drop(self) -> None:
        self._remember([], num_certified=0)
        self._loaded = self._stock = self._at_hand = None
        self._to_learn.clear()
        self._memory = ConversationMemory(0)
        self._new_drafters()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _prepare(
    spec: ModelSpec,
    folder: FindingsFolder,
    listener: Callable[[LoadProgress], None],
    cancelled: Callable[[], bool],
) -> _Ready:
    """Load a model and find out what there is to know about it; every report is a place to stop."""
    started = time.perf_counter()

    def report(progress: LoadProgress) -> None:
        if cancelled():
            raise DownloadCancelled(f"Loading {spec.model} was cancelled. Load it again to go on.")
        listener(progress)

    loaded = load_model(spec, report, cancelled)
    torch.set_num_threads(loaded.threads)
    with out_of_memory_in_words(loaded.footprint):
        target = TransformersTarget(
            loaded.model, loaded.device, loaded.dtype, loaded.context_length, stock_layers=spec.stock_layers
        )
        found = find_out(loaded, target, folder, report, afresh=spec.afresh, warm_up=_warm_up)
        cache = target.new_cache()
        target.prepare(cache, WIDTHS)
    info = _describe(loaded, found, time.perf_counter() - started, target.notes)
    return _Ready(spec, loaded, target, found.cost, info, cache)


def _warm_up() -> None:
    """Compile what a round runs beside the model."""
    adaptive.warm_up()
    choose.warm_up()


def _on_lane(
    lane: Mode, events: Generator[PrefillProgress, None, Prefilled | None]
) -> Generator[LaneEvent, None, Prefilled | None]:
    while True:
        try:
            yield LaneEvent(lane=lane, event=next(events))
        except StopIteration as end:
            prefilled: Prefilled | None = end.value
            return prefilled


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


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
