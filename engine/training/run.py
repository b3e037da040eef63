"""One training from its prompts to its pack: answers, states, its parts, calibration and evaluation, in steps.

Between two steps it may be given up; started again with the same settings it goes on, and ends with the same bits.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.errors import UnusablePack
from engine.forward.transformers_seam import head_size
from engine.models.identity import ModelIdentity, tokenizer_digest, weights_digest
from engine.models.loader import LoadedModel
from engine.ready import target_of
from engine.trained.block_heads import HeadSizes
from engine.trained.chimera import ChimeraSizes
from engine.trained.pack import HEAD, Kind, PackConfig, read_pack, write_pack
from engine.trained.rescorer import RescorerSizes
from engine.training.answers import Answer, AnswerFile, generate, rows_for
from engine.training.card import NAME, card_of
from engine.training.examples import StateFile, count_examples, part_of
from engine.training.forecast import MAX_DRAFT_VOCAB, MAX_INNER, RANK, Rate, work_of
from engine.training.parts import Material, Trainee, calibrated_and_evaluated, trainees
from engine.training.plan import (
    CHIMERA_DEPTH,
    TRAINED,
    Needs,
    Progress,
    Settings,
    Stage,
    Workplace,
    needs,
)
from engine.training.vocabulary import draft_vocabulary

_TIMED_WIDTH = 64  # tokens of a pass, about as many as are answered at once
_LEAST_PROMPTS = 40  # two to calibrate with, two to evaluate with


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is to be trained, for which model, and where."""

    loaded: LoadedModel  # as it was loaded: nothing has computed with it yet
    prompts: Sequence[Sequence[int]]  # token ids, each up to where the answer begins
    prompts_of: str  # the file that they are from, for the card
    num_tokens: int
    num_heads: int
    epochs: int
    pack: Path
    kind: Kind = "heads"
    rescorer: bool = False  # train that too, for benchmarks
    without: str = ""  # an encoder that Chimera lacks, for benchmarks: "trigram" or "context"

    def __post_init__(self) -> None:
        if len(self.prompts) < _LEAST_PROMPTS:
            raise ValueError(f"There are {len(self.prompts)} prompts, and training needs {_LEAST_PROMPTS}: add some.")
        if self.loaded.backend != "torch":
            raise UnusablePack("Drafters are trained through torch: choose --backend torch.")
        if head_size(self.loaded.model) is None:
            raise UnusablePack(
                f"{self.loaded.name} has no head whose hidden states could be read, and drafters are trained on those: "
                "choose another model."
            )

    @property
    def identity(self) -> ModelIdentity:
        loaded = self.loaded
        return ModelIdentity(
            loaded.architecture,
            head_size(loaded.model) or 0,
            loaded.vocab_size,
            tokenizer_digest(loaded.tokenizer),
            weights_digest(loaded.files),
        )

    @property
    def needs(self) -> Needs:
        """What it takes beside the model."""
        loaded = self.loaded
        config = self.config(min(loaded.vocab_size, MAX_DRAFT_VOCAB), self.identity)
        return needs(
            list(config.parts.values()),
            vocab_size=loaded.vocab_size,
            kv_bytes=loaded.kv_bytes,
            longest=max(map(len, self.prompts)),
            num_tokens=self.num_tokens,
            num_prompts=len(self.prompts),
        )

    @property
    def work(self) -> dict[str, float]:
        """The multiplications of each stage, for `Forecast`."""
        config = self.config(min(self.loaded.vocab_size, MAX_DRAFT_VOCAB // 2), self.identity)
        drafted = {"heads": self.num_heads, "chimera": CHIMERA_DEPTH, "rescorer": 1}  # heads of their own, or passes
        learned = {
            name: sum(
                math.prod(shape) * (1 if name == "heads" and each != HEAD else drafted[name])
                for each, shape in sizes.shapes().items()
            )
            for name, sizes in config.parts.items()
        }
        num_prompt_tokens = sum(map(len, self.prompts))
        return work_of(
            {name: learned[name] for name in TRAINED if name in learned},
            num_parameters=self.loaded.num_parameters,
            num_tokens=self.num_tokens,
            epochs=self.epochs,
            num_prompt_tokens=num_prompt_tokens,
        )

    def seconds(self) -> float:
        """About how long it takes from its beginning, by a pass of the model that is timed now."""
        device, passes = self.loaded.device, []
        with torch.inference_mode():
            for width in (1, _TIMED_WIDTH, _TIMED_WIDTH):  # the first ones are slow
                began_s = time.monotonic()
                logits = self.loaded.model(torch.zeros((1, width), dtype=torch.long, device=device)).logits
                logits[0, -1, 0].item()  # a GPU has ended then
                passes.append(time.monotonic() - began_s)
        return sum(self.work.values()) * passes[-1] / (self.loaded.num_parameters * _TIMED_WIDTH)

    def config(self, draft_vocab: int, model: ModelIdentity) -> PackConfig:
        """The sizes of its parts. Chimera's are such that it takes about as much as four heads."""
        shared = {"hidden_size": model.hidden_size, "draft_vocab": draft_vocab}
        inner = min(model.hidden_size, MAX_INNER)
        half = max(1, inner // 2)
        return PackConfig(
            model=model,
            heads=None
            if self.kind == "chimera"
            else HeadSizes(num_heads=self.num_heads, inner_size=inner, rank=RANK, **shared),
            chimera=None
            if self.kind == "heads"
            else ChimeraSizes(
                width=inner - inner % 2,
                trigram_size=half,
                inner_size=half,
                depth=CHIMERA_DEPTH,
                trigram=self.without != "trigram",
                context=self.without != "context",
                **shared,
            ),
            rescorer=RescorerSizes(inner_size=half, **shared) if self.rescorer else None,
        )

    def steps(self) -> Generator[Progress, None, dict[str, Any]]:
        """Train, and write the pack; yields how far it is, and returns what the pack was measured to bring."""
        identity, loaded = self.identity, self.loaded
        digest = hashlib.sha256(json.dumps([list(each) for each in self.prompts]).encode()).hexdigest()
        place = Workplace(self.pack)
        settings = Settings(
            model=identity,
            dtype=str(loaded.dtype).removeprefix("torch."),
            quant=loaded.quant,
            device=loaded.device.type,
            prompts=digest,
            rows=rows_for(loaded.kv_bytes),
        )
        rows = place.begin(settings)
        file = AnswerFile(place.answers)
        batches = generate(loaded.model, self.prompts, loaded.eos_ids, file, self.num_tokens, rows)
        yield from _timed("answers", batches, lambda: self.num_tokens)
        answers = _first(file.read(), self.num_tokens)
        if not any(count_examples(each) for each in answers if part_of(each.number) == "train"):
            raise UnusablePack(f"{loaded.name} answered nothing to learn from: choose other prompts.")
        draft_ids = draft_vocabulary(answers, loaded.vocab_size)
        head = loaded.model.get_output_embeddings().weight[draft_ids.to(loaded.device)].float().clone()
        states = StateFile(place.states, identity.hidden_size)
        if states.done(answers) < len(answers):
            yield from _timed("states", states.compute(target_of(loaded), answers), lambda: len(answers))
        return (yield from _fitted(self, place, identity, answers, draft_ids, head, states))


def _fitted(
    training: Training,
    place: Workplace,
    identity: ModelIdentity,
    answers: list[Answer],
    draft_ids: torch.Tensor,
    head: torch.Tensor,
    states: StateFile,
) -> Generator[Progress, None, dict[str, Any]]:
    """Fit each part, calibrate, evaluate, write."""
    config = training.config(len(draft_ids), identity)
    material = Material(answers, states.read(answers), draft_ids, identity.vocab_size)
    learning: list[Trainee] = trainees(config, head, material, training.epochs, training.loaded.device)
    for part in learning:
        steps = part.fit.run(place.checkpoint(part.name), f"{len(answers)} answers")
        yield from _timed(part.name, steps, lambda part=part: part.fit.num_steps)  # type: ignore[misc]
    yield Progress(stage="calibrate", done=0, total=1)
    sharpness, figures = calibrated_and_evaluated(learning, material)
    weights: dict[str, Any] = {part.name: part.module.state_dict() for part in learning}
    write_pack(training.pack, config, weights, draft_ids, sharpness, figures)
    pack = read_pack(training.pack)
    asked = f"{len(training.prompts):,} prompts of {training.prompts_of}"
    card = card_of(pack, figures, model=training.loaded.name, prompts=asked)
    (training.pack / NAME).write_text(card, encoding="utf-8")
    place.end()
    yield Progress(stage="calibrate", done=1, total=1)
    return figures


def _first(batches: Sequence[Sequence[Answer]], num_tokens: int) -> list[Answer]:
    """As many batches as hold so many tokens; an earlier training may have had more."""
    answers: list[Answer] = []
    for batch in batches:
        if sum(len(answer.answer_ids) for answer in answers) >= num_tokens:
            break
        answers += batch
    return answers


def _timed(stage: Stage, steps: Iterator[int], total: Callable[[], int]) -> Iterator[Progress]:
    """The steps of a stage with the time that it will take yet, at the rate so far; closed with it."""
    measured = Rate()
    try:
        for done in steps:
            rate = measured.at(done, time.monotonic())
            left = None if rate is None else max(0, total() - done) / rate
            yield Progress(stage=stage, done=min(done, total()), total=total(), seconds_left=left)
    finally:
        close = getattr(steps, "close", None)
        if close is not None:
            close()
