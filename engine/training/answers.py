"""The model's own answers to some prompts: what its drafter learns from.

Half of the batches are answered greedily, the others at a temperature of 0.8. Each is a line of a file, so that what
was answered is never asked again; the same prompts, seed and library give the same batches. Many rows at once round
differently from a round of the engine, so an answer may go on otherwise there: it is the model's own all the same.
"""

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from engine.errors import EngineError

FEWEST, MOST = 32, 64  # rows of a batch
_BATCH_BYTES = 2 * 2**30  # of keys and values, in a batch of more than the fewest rows
LIMIT = 320  # tokens of an answer
TEMPERATURE = 0.8
_SEED = 11
_DROPPED_AT = 0.75  # of a batch's rows still going: then those that have ended are dropped from it


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, end token included where it came; `number` is its prompt's."""

    number: int
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    temperature: float


class AnswerFile:
    """Answers on disk, a batch a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[list[Answer]]:
        """The batches so far; a last line that was cut off is not one of them. Raises `EngineError`."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise EngineError(f"{self._path} cannot be read ({exc.strerror}): choose another folder.") from exc
        try:
            return [[_answer(each) for each in json.loads(line)] for line in lines[:-1]]
        except (ValueError, TypeError, KeyError) as exc:
            raise EngineError(
                f"{self._path} is damaged: remove the folder {self._path.parent}, and the training begins anew."
            ) from exc

    def append(self, batch: Sequence[Answer]) -> None:
        """Add a batch, in place of what was cut off behind the last whole one."""
        with self._path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps([asdict(each) for each in batch]).encode() + b"\n")


def _answer(values: dict[str, Any]) -> Answer:
    return Answer(
        int(values["number"]),
        tuple(map(int, values["prompt_ids"])),
        tuple(map(int, values["answer_ids"])),
        float(values["temperature"]),
    )


def rows_for(kv_bytes: int) -> int:
    """How many answers are written at once, of a model whose keys and values take so many bytes a token.

    The weights are read once for all of them, so many rows cost little more than a few. It depends on nothing that
    changes between two starts, so that a training goes on with the same batches.

    >>> rows_for(23_040), rows_for(131_072)
    (64, 32)
    """
    return min(MOST, max(FEWEST, _BATCH_BYTES // (2 * LIMIT * kv_bytes)))


def batches_of(prompts: Sequence[Sequence[int]], rows: int) -> list[list[int]]:
    """The numbers of all prompts in batches, in an order that is always the same; alike long ones together."""
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(_SEED)).tolist()
    window = 4 * rows
    numbers = [
        number
        for start in range(0, len(order), window)
        for number in sorted(order[start : start + window], key=lambda number: len(prompts[number]))
    ]
    return [numbers[start : start + rows] for start in range(0, len(numbers), rows)]


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    eos_ids: frozenset[int],
    file: AnswerFile,
    num_tokens: int,
    rows: int,
) -> Iterator[int]:
    """Answer batches of so many rows until the file holds `num_tokens` tokens of answers, or all prompts are answered;
    yields the tokens so far, those of an unfinished batch included."""
    known = file.read()
    done = sum(len(answer.answer_ids) for batch in known for answer in batch)
    yield done
    for index, numbers in enumerate(batches_of(prompts, rows)):
        if index < len(known):
            continue
        if done >= num_tokens:
            return
        temperature = 0.0 if index % 2 == 0 else TEMPERATURE
        pick = _sampler(temperature, _SEED + index, model.device)
        writing = answer_batch(model, [prompts[number] for number in numbers], eos_ids, pick, LIMIT)
        try:
            while True:
                yield done + next(writing)
        except StopIteration as end:
            ids: list[list[int]] = end.value
        batch = [
            Answer(number, tuple(prompts[number]), tuple(answer), temperature)
            for number, answer in zip(numbers, ids, strict=True)
        ]
        file.append(batch)
        done += sum(map(len, ids))
        yield done


def _sampler(temperature: float, seed: int, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    if temperature == 0:
        return lambda logits: logits.argmax(-1)
    generator = torch.Generator(device).manual_seed(seed)

    def pick(logits: torch.Tensor) -> torch.Tensor:
        chances = torch.softmax(logits.float() / temperature, -1)
        return torch.multinomial(chances, 1, generator=generator)[:, 0]

    return pick


@torch.inference_mode()
def answer_batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    eos_ids: frozenset[int],
    pick: Callable[[torch.Tensor], torch.Tensor],
    limit: int,
) -> Generator[int, None, list[list[int]]]:
    """The answers to prompts of any lengths, with a transformers model that computes as its own code does; yields how
    many tokens they have so far."""
    from transformers import DynamicCache

    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    answers: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))  # which prompt each row of the batch belongs to
    cache: Any = DynamicCache(config=model.config)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    newest = torch.tensor([-1], device=model.device)  # of a slice, torch would copy the head for each row
    while True:
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=newest,
        ).logits[:, -1]
        picked = pick(logits)
        for row, token_id in zip(rows, picked.tolist(), strict=True):
            if not _ended(answers[row], eos_ids, limit):
                answers[row].append(token_id)
        going = [at for at, row in enumerate(rows) if not _ended(answers[row], eos_ids, limit)]
        if not going:
            return answers
        yield sum(map(len, answers))
        positions = positions[:, -1:] + 1
        mask = torch.cat((mask, mask.new_ones(len(rows), 1)), -1)
        if len(going) < _DROPPED_AT * len(rows):
            kept = torch.tensor(going, device=model.device)
            cache.batch_select_indices(kept)
            rows = [rows[at] for at in going]
            picked, positions, mask = picked[kept], positions[kept], mask[kept]
        ids = picked[:, None]


def _ended(answer: Sequence[int], eos_ids: frozenset[int], limit: int) -> bool:
    return len(answer) >= limit or (bool(answer) and answer[-1] in eos_ids)
