"""One training from its prompts to its pack: answers, states, heads, calibration and evaluation, in steps.

Between two steps it may be given up; started again with the same settings it goes on, and ends with the same bits.
"""

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.errors import UnusablePack
from engine.forward.transformers_seam import head_size
from engine.models.identity import ModelIdentity, tokenizer_digest, weights_digest
from engine.models.loader import LoadedModel
from engine.ready import target_of
from engine.trained.block_heads import HeadSizes
from engine.trained.pack import PackConfig, write_pack
from engine.training.answers import Answer, AnswerFile, generate
from engine.training.evaluate import lattices_of, sharpness_of, table
from engine.training.examples import NO_TOKEN, Examples, StateFile, count_examples, examples_of, part_of
from engine.training.fit import Fit, Fitting
from engine.training.plan import MAX_INNER, RANK, Needs, Progress, Settings, Stage, Workplace, needs

_LEAST_PROMPTS = 40  # two to calibrate with, two to evaluate with
_DRAFT_VOCABS = (4096, 8192, 16384)
_COVERED = 0.98  # of the answers' tokens, by a draft vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is to be trained, for which model, and where."""

    loaded: LoadedModel  # as it was loaded: nothing has computed with it yet
    prompts: Sequence[Sequence[int]]  # token ids, each up to where the answer begins
    num_tokens: int
    num_heads: int
    epochs: int
    pack: Path

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
        return needs(
            hidden_size=head_size(loaded.model) or 0,
            vocab_size=loaded.vocab_size,
            kv_bytes=loaded.kv_bytes,
            longest=max(map(len, self.prompts)),
            num_tokens=self.num_tokens,
            num_heads=self.num_heads,
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
        )
        place.begin(settings)
        file = AnswerFile(place.answers)
        batches = generate(loaded.model, self.prompts, loaded.eos_ids, file, self.num_tokens)
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
    """Fit, calibrate, evaluate, write."""
    examples = examples_of(answers)
    numbers = numbers_of(examples, draft_ids, identity.vocab_size)[:, : 1 + training.num_heads]
    known = states.read(len(examples.tokens))
    sizes = HeadSizes(
        num_heads=training.num_heads,
        hidden_size=identity.hidden_size,
        inner_size=min(identity.hidden_size, MAX_INNER),
        rank=RANK,
        draft_vocab=len(draft_ids),
    )
    fit = Fit(sizes, head, Fitting(known, numbers, examples.of("train")), training.epochs, training.loaded.device)
    yield from _timed("train", fit.run(place.checkpoint, f"{len(answers)} answers"), lambda: fit.num_steps)
    yield Progress(stage="calibrate", done=0, total=1)
    heads = fit.heads.eval().requires_grad_(False)
    calibrate, evaluate = (
        lattices_of(heads, known, numbers, examples, examples.of(part)) for part in ("calibrate", "evaluate")
    )
    learned = [answer for answer in answers if part_of(answer.number) == "train"]
    figures = {
        "answers": len(answers),
        "tokens": sum(len(each.answer_ids) for each in answers),
        "evaluated_on": f"{len(evaluate)} positions in answers to prompts kept out of training",
        "in_draft_vocabulary": float((evaluate.wanted[:, 0] != len(draft_ids)).mean()) if len(evaluate) else None,
    } | table(heads, calibrate, evaluate, as_numbers(learned, draft_ids, identity.vocab_size))
    config = PackConfig(kind="heads", sizes=sizes, model=identity)
    write_pack(training.pack, config, heads.state_dict(), draft_ids, sharpness_of(heads, calibrate), figures)
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


def draft_vocabulary(answers: Sequence[Answer], vocab_size: int) -> torch.Tensor:
    """The ids of tokens that can be drafted, ascending: the most frequent ones in the answers, then the lowest.

    As few as cover most of what was said.
    """
    counts = np.zeros(vocab_size, np.int64)
    for answer in answers:
        if part_of(answer.number) == "train":
            np.add.at(counts, np.array(answer.answer_ids, np.int64), 1)
    order = np.argsort(-counts, kind="stable")
    covered = np.cumsum(counts[order]) / max(1, counts.sum())
    size = next((each for each in _DRAFT_VOCABS if covered[min(each, vocab_size) - 1] >= _COVERED), _DRAFT_VOCABS[-1])
    return torch.from_numpy(np.sort(order[: min(size, vocab_size)]))


def numbers_of(examples: Examples, draft_ids: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """The examples' tokens as numbers in the draft vocabulary; its size for others, NO_TOKEN where there is none."""
    table = _number_table(draft_ids, vocab_size)
    return torch.from_numpy(np.where(examples.tokens == NO_TOKEN, NO_TOKEN, table[examples.tokens]))


def as_numbers(answers: Sequence[Answer], draft_ids: torch.Tensor, vocab_size: int) -> list[list[int]]:
    """Answers as numbers in the draft vocabulary."""
    table = _number_table(draft_ids, vocab_size)
    return [table[np.array(answer.answer_ids, np.int64)].tolist() for answer in answers]


def _number_table(draft_ids: torch.Tensor, vocab_size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    table = np.full(vocab_size, len(draft_ids), np.int64)
    table[draft_ids.numpy()] = np.arange(len(draft_ids))
    return table


def _timed(stage: Stage, steps: Iterator[int], total: Callable[[], int]) -> Iterator[Progress]:
    """The steps of a stage with the time that it will take yet, at the rate so far; closed with it."""
    started = time.monotonic()
    first: int | None = None
    try:
        for done in steps:
            first = done if first is None else first
            rate = (done - first) / max(1e-9, time.monotonic() - started)
            left = max(0, total() - done) / rate if rate > 0 else None
            yield Progress(stage=stage, done=min(done, total()), total=total(), seconds_left=left)
    finally:
        close = getattr(steps, "close", None)
        if close is not None:
            close()
