"""The engine with what only benchmarks and tests ask of it: given drafters, an empty cache, the model itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from engine.api import Running
from engine.config import GenerationRequest
from engine.decoding import comparison
from engine.drafting.drafter import Drafter
from engine.engine import Engine
from engine.events import Event
from engine.models.loader import LoadedModel, load_model


class InstrumentedEngine(Engine):
    """The engine that the benchmarks run; see `engine.bench.harness.BenchEngine`."""

    def __init__(self, findings: Path | None = None, packs: Path | None = None) -> None:
        super().__init__(findings, packs)
        self._stock: Any = None  # the model as transformers loads it, once it was asked for

    @property
    def loaded(self) -> LoadedModel:
        """The model and tokenizer themselves."""
        return self._session.model.loaded

    def generate(self, request: GenerationRequest, *, drafter: Drafter | None = None) -> Running[Event]:
        """Generate one answer, with `drafter` in place of the request's."""

        def given(request: GenerationRequest) -> Drafter:
            if drafter is None or request.mode == "plain":
                return self._drafters.of(request)
            return drafter

        return self._answering(request, given)

    def reset_cache(self) -> None:
        """Forget the cached conversation, so that the next prompt is prefilled from its first token."""
        with self._exclusive():
            self._session.reset()

    def draft_every_round(self) -> None:
        """Ask the adaptive drafter in every round, until another model is loaded: proofs must go by no clock."""
        self._drafters.adaptive.draft_every_round()

    def next_logits(self, token_ids: Sequence[int], *, width: int | None) -> torch.Tensor:
        """What a round of this width finds behind these tokens, (vocab,), or the prefill where `width` is None; the
        cached conversation is not touched."""
        target = self._session.model.target
        cache = target.new_cache(len(token_ids))
        if width is None:
            *_, logits = target.prefill(cache, token_ids)
            first: torch.Tensor = logits[0]
            return first
        for _ in target.prefill(cache, token_ids[:-1]):
            pass
        return target.forward(cache, token_ids[-1:], width=width)[0]

    def top_two_margin(self, token_ids: Sequence[int]) -> float:
        """The difference of the two largest logits behind these tokens; the cached conversation is not touched."""
        return comparison.top_two_margin(self._session.model.target, token_ids)

    @contextmanager
    def stock_model(self) -> Iterator[Any]:
        """The transformers model with its own attention, for `model.generate`; loaded a second time where ours has laid
        out the weights for itself."""
        model = self._session.model
        if model.target.stock_model is not None:
            with model.target.stock_model() as stock:
                yield stock
            return
        if self._stock is None:
            self._stock = load_model(replace(model.spec, backend="torch"), lambda _: None, lambda: False).model
        torch.set_num_threads(model.loaded.threads)
        try:
            yield self._stock
        finally:
            model.target.prepare_thread()

    def _drop(self) -> None:
        self._stock = None
        super()._drop()
