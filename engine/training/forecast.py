"""How long a training takes and how much disk: before it begins, from a model's size and its measured rounds, and while
it goes on, from how fast it is. No torch: the page's process asks.

Time is told by multiplications: an answer's token takes each of the model's numbers once, and once again when its state
is read; a token that is learned from takes each of a part's numbers three times, forwards and back.
"""

import time
from collections.abc import Callable, Mapping, Sequence

TOKENS, HEADS, EPOCHS = 200_000, 4, 3  # what `train-drafter` takes unless it is told otherwise
MAX_DRAFT_VOCAB = 16384
MAX_INNER = 1024
RANK = 64  # of what heads know of the token before
_DRAFTED = MAX_DRAFT_VOCAB // 2  # tokens of a draft vocabulary, about
_PROMPT = 100  # tokens of a prompt, about
_ANSWER = 130  # tokens of an answer, about
WARM_UP_S, MEASURED_S = 10.0, 20.0  # of a stage: what does not count, and what a rate is measured over at least
_PASSES = 3  # over a part's numbers for each token: forwards, back to its input, back to its weights


def work_of(
    learned: Mapping[str, int],
    *,
    num_parameters: int,
    num_tokens: int = TOKENS,
    epochs: int = EPOCHS,
    num_prompt_tokens: int | None = None,
) -> dict[str, float]:
    """The multiplications of each stage, in its order. `learned`: of each part, those that drafting one token takes."""
    asked = num_tokens * _PROMPT // _ANSWER if num_prompt_tokens is None else num_prompt_tokens
    return {
        "answers": float(num_parameters) * (num_tokens + asked),
        "states": float(num_parameters) * (num_tokens + asked),
        **{part: float(_PASSES) * epochs * num_tokens * numbers for part, numbers in learned.items()},
    }


def seconds_of_heads(
    num_parameters: int, hidden_size: int, vocab_size: int, curve: Sequence[tuple[int, float]]
) -> float:
    """How long `train-drafter` takes for a model, by the widest round that was measured, as (width, seconds).

    >>> round(seconds_of_heads(135_000_000, 576, 49_152, ((1, 0.02), (32, 0.2))) / 60)
    104
    """
    width, seconds = max(curve)
    inner, drafted = min(hidden_size, MAX_INNER), min(vocab_size, _DRAFTED)
    learned = HEADS * hidden_size * (2 * inner + drafted)
    work = work_of({"heads": learned}, num_parameters=num_parameters)
    return sum(work.values()) * seconds / (num_parameters * width)


def disk_of_heads(hidden_size: int, vocab_size: int) -> int:
    """About what `train-drafter` takes of the disk for a while: a state, two bytes a number, of each token; what is
    learned, with the optimiser's two averages, in four; and the pack."""
    inner, drafted = HEADS * min(hidden_size, MAX_INNER), min(vocab_size, _DRAFTED)
    learned = inner * (2 * hidden_size + RANK + 1) + (2 * drafted + 1) * RANK
    states = 2 * hidden_size * TOKENS * (_PROMPT + _ANSWER) // _ANSWER
    return disk_of(states, learned, drafted * hidden_size, TOKENS)


def disk_of(states_bytes: int, num_learned: int, num_frozen: int, num_tokens: int) -> int:
    """States, answers, a checkpoint, and the pack."""
    return states_bytes + 16 * num_tokens + 3 * 4 * num_learned + 2 * (num_learned + num_frozen)


class Rate:
    """How much is done in a second. What the first moments bring is slow and does not count, and nothing is said before
    it was measured for a while.

    >>> rate = Rate()
    >>> [rate.at(done, now) for done, now in ((0, 0.0), (1, 9.0), (2, 12.0), (30, 20.0), (102, 37.0))]
    [None, None, None, None, 4.0]
    """

    def __init__(self) -> None:
        self._since: tuple[float, float] | None = None
        self._warm = False

    def at(self, done: float, now: float) -> float | None:
        if self._since is None or not (self._warm or now - self._since[1] < WARM_UP_S):
            self._warm = self._since is not None
            self._since = done, now
        first, began_s = self._since
        if not self._warm or now - began_s < MEASURED_S or done <= first:
            return None
        return (done - first) / (now - began_s)


class Forecast:
    """Tells from how far a stage is how far the whole is, and how long it will take yet: stages to come are as fast as
    the present one, and so is one whose rate is not known yet.

    >>> forecast = Forecast({"answers": 100.0, "states": 50.0}, iter((0.0, 10.0, 60.0, 65.0)).__next__)
    >>> for at in (("answers", 0, 20), ("answers", 2, 20), ("answers", 12, 20), ("states", 1, 5)):
    ...     share, seconds_left = forecast.at(*at)
    ...     print(round(share, 2), seconds_left)
    0.0 None
    0.07 None
    0.4 90.0
    0.73 40.0
    """

    def __init__(self, work: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._clock = clock
        self._stage = ""
        self._measured = Rate()
        self._rate: float | None = None  # multiplications a second

    def at(self, stage: str, done: int, total: int) -> tuple[float, float | None]:
        """The share that is done, and the seconds left: None until something says how fast it goes."""
        stages, now = list(self._work), self._clock()
        if stage not in stages:  # what comes behind them takes a moment
            return 1.0, 0.0
        share, work = done / total if total else 1.0, self._work[stage]
        if stage != self._stage:
            self._stage, self._measured = stage, Rate()
        self._rate = self._measured.at(work * share, now) or self._rate
        before = sum(self._work[each] for each in stages[: stages.index(stage)])
        whole = sum(self._work.values())
        finished = before + work * share
        return finished / whole, None if self._rate is None else (whole - finished) / self._rate
