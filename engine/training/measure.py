"""What `bench trained` measures: drafters of packs over a model's own answers to prompts that none was trained on.

Answers are generated once, kept in a folder, and used again; half of the batches are greedy. Beside the sets of prompts
that are named there is "kept-out": those of the training itself that it left out.
"""

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.drafting.sources.heads import MAX_HEADS
from engine.errors import UnusablePack
from engine.models.identity import ModelIdentity
from engine.models.loader import LoadedModel
from engine.ready import identity_of, target_of
from engine.trained.block_heads import BlockHeads
from engine.trained.chimera import Chimera
from engine.trained.drafter import TrainedDrafter, ready_to_draft
from engine.trained.finding import find_pack
from engine.trained.pack import HEAD, Pack
from engine.trained.rescorer import Rescorer
from engine.training.answers import LIMIT, Answer, AnswerFile, generate, rows_for
from engine.training.evaluate import Lattices, drafts_of, lattices_of, replayed
from engine.training.examples import StateFile, part_of, prompt_end, starts_of
from engine.training.merged import Replay, Told, told
from engine.training.parts import Material
from engine.training.plan import Progress, Workplace
from engine.training.rescoring import Neural, NGrams, ways_of, weights_for
from engine.training.vocabulary import as_numbers

KEPT_OUT = "kept-out"
_LENGTHS = (4, 8)  # tokens of a chain
_MAX_NODES = 32
_MOST_LEARNED = 40  # answers that the merged drafter learns from first
_ALL_TOKENS = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """`packs` are folders, `sets` prompts by name, each up to where the answer begins; `kept` is where answers stay."""

    loaded: LoadedModel  # as it was loaded: nothing has computed with it yet
    packs: Sequence[Path]
    sets: Mapping[str, Sequence[Sequence[int]]]
    kept: Path

    def steps(self) -> Generator[Progress, None, dict[str, Any]]:
        """Measure; yields how far it is, and returns all figures."""
        loaded = self.loaded
        trained_on = [_trained_on(folder) for folder in self.packs]
        head = loaded.model.get_output_embeddings().weight.detach().float().clone()
        asked: dict[str, list[Answer]] = {}
        for name, prompts in self.sets.items():
            asked[name] = yield from self._answers(name, prompts)
        target = target_of(loaded)
        identity = identity_of(loaded, target)
        results: list[dict[str, Any]] = []
        packs: list[dict[str, Any]] = []
        for folder, known in zip(self.packs, trained_on, strict=True):
            pack, notes = find_pack(str(folder), lambda: identity, folder, None, loaded.device)
            assert pack is not None
            trained = ready_to_draft(pack, loaded.device)
            packs.append(_described(pack, trained, known, notes))
            own = {part: [each for each in known if part_of(each.number) == part] for part in ("calibrate", "evaluate")}
            first = [each for each in known if part_of(each.number) == "train"][:_MOST_LEARNED]
            learned = {each.prompt_ids for each in known if part_of(each.number) != "evaluate"}
            sets = {KEPT_OUT: own["evaluate"]} | {
                name: [each for each in answers if each.prompt_ids not in learned] for name, answers in asked.items()
            }
            wanted = [*own["calibrate"], *first, *(each for answers in sets.values() for each in answers)]
            states = StateFile(self.kept / f"{_digest(wanted, identity)}.states", identity.hidden_size)
            for done in states.compute(target, wanted):
                yield Progress(stage="states", done=done, total=len(wanted))
            material = Material(wanted, states.read(wanted), pack.draft_ids, identity.vocab_size)
            bounds = np.cumsum([0, len(own["calibrate"]), len(first), *map(len, sets.values())])
            ranges = [range(low, high) for low, high in pairwise(bounds.tolist())]
            yield Progress(stage="calibrate", done=0, total=len(sets))
            measured = _OfPack(pack, material, known, ranges[0])
            numbers_of = dict(zip(sets, ranges[2:], strict=True))
            for name, numbers in numbers_of.items():
                results += measured.chains(name, numbers)
            results += _merged(trained, material, head, [*ranges[1], *ranges[0]], numbers_of)
            yield Progress(stage="calibrate", done=len(sets), total=len(sets))
        return {"packs": packs, "results": results}

    def _answers(self, name: str, prompts: Sequence[Sequence[int]]) -> Generator[Progress, None, list[Answer]]:
        """The model's answers to a set of prompts."""
        self.kept.mkdir(parents=True, exist_ok=True)
        file = AnswerFile(self.kept / f"{name}.answers.jsonl")
        model, rows = self.loaded, rows_for(self.loaded.kv_bytes)
        for done in generate(model.model, prompts, model.eos_ids, file, _ALL_TOKENS, rows):
            yield Progress(stage="answers", done=done, total=max(done, len(prompts) * LIMIT))  # at most
        asked = {tuple(each) for each in prompts}
        return [answer for batch in file.read() for answer in batch if answer.prompt_ids in asked]


def _trained_on(folder: Path) -> list[Answer]:
    """The answers of a pack's own training. Raises `UnusablePack`."""
    answers = [answer for batch in AnswerFile(Workplace(folder).answers).read() for answer in batch]
    if not answers:
        raise UnusablePack(
            f"The drafter pack {folder} has no answers that it was trained on, so nothing says which prompts it knows: "
            "train it here with train-drafter."
        )
    return answers


def _described(pack: Pack, trained: TrainedDrafter, known: Sequence[Answer], notes: Sequence[str]) -> dict[str, Any]:
    parts = {
        name: sum(value.numel() for each, value in pack.part(name).items() if each != HEAD)
        for name in pack.config.parts
    }
    return {
        "name": pack.name,
        "kind": pack.config.kind,
        "numbers": parts,  # learned ones
        "draft_vocab": pack.config.draft_vocab,
        "bytes": trained.num_bytes,
        "tokens": sum(len(each.answer_ids) for each in known),
        "notes": list(notes),
    }


def _digest(answers: Sequence[Answer], identity: ModelIdentity) -> str:
    said = [identity.weights, *([*each.prompt_ids, *each.answer_ids] for each in answers)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


class _OfPack:
    """The parts of a pack over recorded answers."""

    def __init__(self, pack: Pack, material: Material, known: Sequence[Answer], calibrating: range) -> None:
        self._pack, self._material = pack, material
        learned = [each.answer_ids for each in known if part_of(each.number) == "train"]
        self._ngrams = NGrams(as_numbers(learned, pack.draft_ids, material.vocab_size))
        self._heads = self._module("heads", BlockHeads)
        self._chimera = self._module("chimera", Chimera)
        rescorer = self._module("rescorer", Rescorer)
        self._neural = Neural(rescorer) if rescorer is not None else None
        self._weights: dict[int, dict[str, float]] = {}
        if self._heads is not None:
            lattices = self._lattices(self._chosen(calibrating, None))
            for length in self._lengths():
                self._weights[length] = weights_for(
                    self._heads, lattices, self._ngrams, self._neural, length, paths=True
                )

    def chains(self, name: str, numbers: range) -> Iterator[dict[str, Any]]:
        """Figures of chains on one set of answers, by temperature."""
        material = self._material
        for temperature in sorted({material.answers[number].temperature for number in numbers}):
            chosen = self._chosen(numbers, temperature)
            row = {"pack": self._pack.name, "set": name, "temperature": temperature, "positions": len(chosen)}
            if self._heads is not None:
                lattices = self._lattices(chosen)
                for length in self._lengths():
                    weights = self._weights[length]
                    ways = ways_of(self._heads, lattices, self._ngrams, self._neural, weights, length)
                    for way, draft in ways.items():
                        told_of = {"way": way, "length": length, "weight": weights.get(way)}
                        yield row | told_of | replayed(lattices, draft)
            if self._chimera is not None:
                for length in _LENGTHS:
                    drafts = drafts_of(
                        self._chimera,
                        material.states,
                        material.texts,
                        material.numbers,
                        material.examples,
                        chosen,
                        length,
                    )
                    yield row | {"way": "chimera", "length": length} | replayed(drafts, drafts.chain)

    def _lengths(self) -> list[int]:
        heads = self._pack.config.heads
        return [length for length in _LENGTHS if heads is not None and length <= heads.num_heads] or [
            heads.num_heads if heads is not None else MAX_HEADS
        ]

    def _module(self, name: str, kind: Any) -> Any:
        sizes = self._pack.config.parts.get(name)
        if sizes is None:
            return None
        module = kind(sizes)
        module.load_state_dict(self._pack.part(name))
        return module.float().eval().requires_grad_(False)

    def _chosen(self, numbers: range, temperature: float | None) -> Any:
        """The examples of these answers."""
        answers = self._material.answers
        wanted = np.array([temperature in (None, answers[number].temperature) for number in numbers], bool)
        mine = np.isin(self._material.examples.answers, np.array(numbers)[wanted])
        return np.flatnonzero(mine)

    def _lattices(self, chosen: Any) -> Lattices:
        material = self._material
        return lattices_of(self._heads, material.states, material.numbers, material.examples, chosen)


def _merged(
    trained: TrainedDrafter,
    material: Material,
    head: torch.Tensor,
    learning: Sequence[int],
    sets: Mapping[str, range],
) -> Iterator[dict[str, Any]]:
    """The adaptive drafter with and without the pack on each set; both learn from the same answers first."""
    starts = starts_of(material.answers)

    def of(numbers: Sequence[int]) -> list[Told]:
        return [
            told(
                material.answers[number],
                material.states[starts[number] : starts[number + 1]],
                len(prompt_end(material.answers[number])),
                head,
            )
            for number in numbers
            if len(material.answers[number].answer_ids) > 1
        ]

    first = of(learning)
    replays = {"adaptive": Replay(None, _MAX_NODES), "merged": Replay(trained, _MAX_NODES)}
    for replay in replays.values():
        replay.run(first)
    for name, numbers in sets.items():
        answers = of(numbers)
        for temperature in sorted({each.answer.temperature for each in answers}):
            some = [each for each in answers if each.answer.temperature == temperature]
            for way, replay in replays.items():
                row = {"pack": trained.name, "set": name, "temperature": temperature, "way": way, "length": _MAX_NODES}
                yield row | replay.run(some)
