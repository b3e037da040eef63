"""What heads learn from: the target's last hidden states within its own answers, and the tokens that came behind.

A state is that of the last token but one, as a drafter has it: behind it comes the token that is known already, and
behind that the tokens that are to be drafted. States are computed by the very target that rounds run through; those of
the end of a prompt are kept, too, for what reads a whole context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from engine.drafting.sources.heads import MAX_HEADS
from engine.forward.target import Target
from engine.training.answers import Answer
from engine.training.plan import MAX_PROMPT

Part = Literal["train", "calibrate", "evaluate"]
NO_TOKEN = -1


def part_of(number: int) -> Part:
    """What the answers to a prompt are for: of twenty, one to calibrate with and one to evaluate with."""
    return "calibrate" if number % 20 == 9 else "evaluate" if number % 20 == 19 else "train"


@dataclass(frozen=True, slots=True)
class Examples:
    """`tokens` (examples, 1 + MAX_HEADS): the token that is known and those behind it, NO_TOKEN beyond an answer's end.
    `answers` (examples,): which answer each is of, in whose order they stand. `rows` (examples,): where its state
    stands. `parts`: of each answer."""

    tokens: npt.NDArray[np.int32]
    answers: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    parts: tuple[Part, ...]

    def of(self, part: Part) -> npt.NDArray[np.int64]:
        """The examples of a part."""
        wanted = np.array([each == part for each in self.parts], bool)
        return np.flatnonzero(wanted[self.answers])


def count_examples(answer: Answer) -> int:
    return max(0, len(answer.answer_ids) - 1)


def prompt_end(answer: Answer) -> tuple[int, ...]:
    """The tokens of its prompt whose states are kept."""
    return answer.prompt_ids[-MAX_PROMPT:]


def count_rows(answer: Answer) -> int:
    """How many states of it are kept: those behind its prompt's end and all its tokens but the last."""
    return len(prompt_end(answer)) + count_examples(answer) if count_examples(answer) else 0


def starts_of(answers: Sequence[Answer]) -> list[int]:
    """Where the states of each answer begin, and where the last ones end."""
    return [0, *accumulate(map(count_rows, answers))]


def examples_of(answers: Sequence[Answer]) -> Examples:
    """The examples of answers, in order.

    >>> examples = examples_of([Answer(0, (5,), (6, 7, 8), 0.0)])
    >>> examples.tokens[:, :3].tolist()  # behind the prompt 6 is known, and 7 and 8 are to be drafted
    [[6, 7, 8], [7, 8, -1]]
    """
    tokens: list[npt.NDArray[np.int32]] = []
    owners: list[int] = []
    rows: list[int] = []
    for index, (answer, start) in enumerate(zip(answers, starts_of(answers)[:-1], strict=True)):
        count = count_examples(answer)
        padded = np.array([*answer.answer_ids, *[NO_TOKEN] * MAX_HEADS], np.int32)
        tokens += [padded[at : at + 1 + MAX_HEADS] for at in range(count)]
        owners += [index] * count
        first = start + len(prompt_end(answer)) - 1
        rows += range(first, first + count)
    return Examples(
        np.array(tokens, np.int32).reshape(-1, 1 + MAX_HEADS),
        np.array(owners, np.int32),
        np.array(rows, np.int64),
        tuple(part_of(answer.number) for answer in answers),
    )


class StateFile:
    """States of all answers on disk, (rows, hidden) in bfloat16."""

    def __init__(self, path: Path, hidden_size: int) -> None:
        self._path = path
        self._note = path.with_suffix(".done")
        self._hidden_size = hidden_size

    def done(self, answers: Sequence[Answer]) -> int:
        """Of how many answers, from the first, the states are there; the note and the file may have been cut off."""
        said = self._note.read_text() if self._note.exists() and self._path.exists() else ""
        noted = min(int(said) if said.isdecimal() else 0, len(answers))
        size = self._path.stat().st_size if noted else 0
        return sum(end * self._hidden_size * 2 <= size for end in starts_of(answers[:noted])[1:])

    def compute(self, target: Target[Any], answers: Sequence[Answer]) -> Iterator[int]:
        """Compute what is not known yet, an answer at a time; yields how many answers are done."""
        done = self.done(answers)
        yield done
        target.prepare_thread()
        target.hand_states(True)
        try:
            cache = target.new_cache()
            start = starts_of(answers[:done])[-1]
            with self._path.open("r+b" if done else "w+b") as file:
                for answer in answers[done:]:
                    file.seek(start * self._hidden_size * 2)
                    states = _states(target, cache, answer)
                    file.write(states.view(torch.int16).numpy().tobytes())
                    file.flush()
                    start += len(states)
                    done += 1
                    self._note.write_text(str(done))
                    yield done
        finally:
            target.hand_states(False)

    def read(self, answers: Sequence[Answer]) -> torch.Tensor:
        """All states (rows, hidden), in memory."""
        count = starts_of(answers)[-1]
        stored = np.fromfile(self._path, np.int16, count * self._hidden_size)
        return torch.from_numpy(stored).view(torch.bfloat16).view(count, self._hidden_size)


def _states(target: Target[Any], cache: Any, answer: Answer) -> torch.Tensor:
    """The states (rows, hidden) of an answer that are kept, on the processor."""
    count = count_rows(answer)
    if not count:
        return torch.empty(0, target.hidden_size or 0, dtype=torch.bfloat16)
    token_ids = [*answer.prompt_ids, *answer.answer_ids][:-1]
    found: list[torch.Tensor] = []
    cache.crop(0)
    done = 0
    for _ in target.prefill(cache, token_ids, None if target.hands_every_state else lambda ids: range(len(ids))):
        states = target.states
        assert states is not None
        done += len(states)
        if len(token_ids) - done < count:
            found.append(states.to("cpu", torch.bfloat16))
    return torch.cat(found)[-count:]
