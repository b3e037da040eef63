"""The parts of a pack in training: what each learns from, and how good each is found in the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from engine.drafting.sources.heads import MAX_HEADS
from engine.trained.block_heads import BlockHeads
from engine.trained.chimera import Chimera
from engine.trained.pack import PackConfig
from engine.trained.rescorer import Rescorer
from engine.training.answers import Answer
from engine.training.evaluate import chimera_sharpness_of, drafts_of, lattices_of, replayed, sharpness_of
from engine.training.examples import Examples, Part, examples_of, part_of, prompt_end, starts_of
from engine.training.fit import Fit
from engine.training.lessons import ChimeraLesson, HeadLesson, Lesson, Text, rescorer_lesson
from engine.training.plan import EXAMPLES
from engine.training.rescoring import Neural, NGrams, ways_of, weights_for
from engine.training.vocabulary import as_numbers, numbers_of

_SEED = 5

PartName = Literal["heads", "rescorer", "chimera"]


@dataclass(frozen=True)
class Material:
    """Answers with their states, in a draft vocabulary."""

    answers: Sequence[Answer]
    states: torch.Tensor  # (rows, hidden)
    draft_ids: torch.Tensor
    vocab_size: int

    @cached_property
    def examples(self) -> Examples:
        return examples_of(self.answers)

    @cached_property
    def numbers(self) -> torch.Tensor:
        """(examples, 1 + MAX_HEADS): the examples' tokens."""
        return numbers_of(self.examples, self.draft_ids, self.vocab_size)

    @cached_property
    def texts(self) -> list[Text]:
        """One for each answer."""
        whole = [[*prompt_end(answer), *answer.answer_ids] for answer in self.answers]
        numbers = as_numbers(whole, self.draft_ids, self.vocab_size)
        return [
            Text(start, len(prompt_end(answer)), torch.tensor(each, dtype=torch.int64))
            for answer, each, start in zip(self.answers, numbers, starts_of(self.answers), strict=False)
        ]

    def of(self, part: Part) -> list[int]:
        """The answers of a part that anything can be learned from."""
        return [
            index
            for index, answer in enumerate(self.answers)
            if part_of(answer.number) == part and len(answer.answer_ids) > 1
        ]

    @cached_property
    def learned(self) -> list[list[int]]:
        """The answers to learn from, as numbers."""
        answers = [self.answers[index].answer_ids for index in self.of("train")]
        return as_numbers(answers, self.draft_ids, self.vocab_size)


@dataclass(frozen=True, slots=True)
class Trainee:
    """A part in training."""

    name: PartName
    module: nn.Module
    fit: Fit


def trainees(
    config: PackConfig, head: torch.Tensor, material: Material, epochs: int, device: torch.device
) -> list[Trainee]:
    """The parts of a pack, with the rows of the target's own `head` for the draft vocabulary."""
    found: list[Trainee] = []

    def add(name: PartName, module: BlockHeads | Chimera | Rescorer, lesson: Lesson) -> None:
        module.head.data.copy_(head)
        found.append(Trainee(name, module, Fit(module, lesson, epochs, device)))

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(_SEED)

    if config.heads is not None:
        heads = BlockHeads(config.heads, seeded()).to(device)
        examples = material.examples
        numbers = material.numbers[:, : 1 + config.heads.num_heads]
        add("heads", heads, HeadLesson(heads, material.states, examples.rows, numbers, examples.of("train"), EXAMPLES))
    if config.rescorer is not None:
        rescorer = Rescorer(config.rescorer, seeded()).to(device)
        add("rescorer", rescorer, rescorer_lesson(rescorer, material.learned))
    if config.chimera is not None:
        chimera = Chimera(config.chimera, seeded()).to(device)
        texts = [material.texts[index] for index in material.of("train")]
        length = sum(len(text.numbers) - 1 - text.first for text in texts) / len(texts)
        add("chimera", chimera, ChimeraLesson(chimera, material.states, texts, max(1, round(EXAMPLES / length))))
    return found


def calibrated_and_evaluated(
    learned: Sequence[Trainee], material: Material
) -> tuple[dict[str, tuple[float, ...]], dict[str, Any]]:
    """The sharpness of each part that has one, and figures of what it brings."""
    modules: dict[str, Any] = {part.name: part.module.eval().requires_grad_(False) for part in learned}
    examples, numbers = material.examples, material.numbers
    kept_out = examples.of("evaluate")
    outside = len(material.draft_ids)
    known = numbers[torch.from_numpy(kept_out), 0].numpy()
    sharpness: dict[str, tuple[float, ...]] = {}
    figures: dict[str, Any] = {
        "answers": len(material.answers),
        "tokens": sum(len(each.answer_ids) for each in material.answers),
        "evaluated_on": f"{len(kept_out)} positions in answers to prompts kept out of training",
        "in_draft_vocabulary": float((known != outside).mean()) if len(known) else None,
    }
    if "heads" in modules:
        heads: BlockHeads = modules["heads"]
        calibrate, evaluate = (
            lattices_of(heads, material.states, numbers, examples, examples.of(part))
            for part in ("calibrate", "evaluate")
        )
        sharpness["heads"] = sharpness_of(heads, calibrate)
        ngrams = NGrams(material.learned)
        neural = Neural(modules["rescorer"]) if "rescorer" in modules else None
        weights = weights_for(heads, calibrate, ngrams, neural)
        figures["weights"] = weights
        ways = ways_of(heads, evaluate, ngrams, neural, weights)
        figures |= {name: replayed(evaluate, draft) for name, draft in ways.items()}
    if "chimera" in modules:
        chimera: Chimera = modules["chimera"]
        calibrating = examples.of("calibrate")
        found = [
            drafts_of(chimera, material.states, material.texts, numbers, examples, chosen, MAX_HEADS)
            for chosen in (calibrating, kept_out)
        ]
        sharpness["chimera"] = chimera_sharpness_of(found[0])
        figures["chimera"] = replayed(found[1], found[1].chain)
    return sharpness, figures
