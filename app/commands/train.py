"""`train-drafter`: heads or Chimera that draft for one model, trained on its own answers to some prompts.

What it takes is said before it begins. Ctrl-C ends it after the present step; the same command goes on from there.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from app.assets import ASSETS
from app.commands.cli import Train
from app.commands.flags import UsageError
from app.commands.running import EXIT_INTERRUPTED, EXIT_OK, Interrupt, progress_printer
from app.home import folder_name
from app.view.figures import about
from engine.batch import Options, parse_line, read_lines
from engine.config import GenerationRequest
from engine.process.orphan import die_with_parent

if TYPE_CHECKING:  # it imports torch
    from engine.training.plan import Progress

PROMPTS = ASSETS / "prompts" / "openings.jsonl"
_EVERY_S = 5.0  # between two lines of progress
_STAGES = {
    "answers": "tokens of the model's own answers",
    "states": "answers read again",
    "heads": "steps of training heads",
    "rescorer": "steps of training the rescoring model",
    "chimera": "steps of training Chimera",
    "calibrate": "calibrated and measured",
}


def run(command: Train, packs: Path, out: TextIO) -> int:
    """Train, or go on training; returns the exit code. Failures of the engine raise."""
    if command.json:
        die_with_parent()
    requests = list(_requests(Path(command.prompts) if command.prompts is not None else PROMPTS, command.options))
    from engine.models.hardware import choose_device, has_bfloat16
    from engine.models.loader import load_model
    from engine.models.out_of_memory import out_of_memory_in_words
    from engine.prompt.context import build_prompt
    from engine.training.run import Training

    spec = replace(command.options.spec, backend="torch", drafter_pack="none")
    if (
        spec.dtype == "auto"
        and spec.quant in ("auto", "none")
        and choose_device(spec.device).kind == "cpu"
        and has_bfloat16()
    ):
        spec = replace(spec, dtype="bfloat16")  # many rows at once are several times as fast; states are kept so anyway
    loaded = load_model(spec, progress_printer())
    try:
        training = Training(
            loaded=loaded,
            prompts=[
                build_prompt(loaded.tokenizer, request, loaded.context_length, loaded.vocab_size).token_ids
                for request in requests
            ],
            prompts_of=Path(command.prompts).name if command.prompts is not None else "the file that comes along",
            num_tokens=command.tokens,
            num_heads=command.heads,
            epochs=command.epochs,
            kind=command.kind,
            rescorer=command.rescorer,
            without=command.without,
            pack=Path(command.out).expanduser() if command.out is not None else packs / folder_name(loaded.name),
        )
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    print(f"{loaded.name}: {len(requests)} prompts. {training.needs.sentence}", file=sys.stderr)
    training.needs.check(training.pack, in_ram=loaded.device.type == "cpu")
    if not command.json:
        print(
            f"From its beginning it takes {about(training.seconds())} here. Ctrl-C ends it and keeps what it has: the "
            "same command goes on from there.",
            file=sys.stderr,
        )
    interrupt, show = Interrupt(), teller(training.work, out) if command.json else printer()
    figures: dict[str, Any] = {}
    steps = training.steps()
    with interrupt.watched(), closing(steps), out_of_memory_in_words(loaded.footprint):
        while True:
            try:
                show(next(steps))
            except StopIteration as end:
                figures = end.value
                break
            if interrupt.seen:
                steps.close()
                print("Interrupted: the same command goes on from here.", file=sys.stderr)
                return EXIT_INTERRUPTED
    if command.json:
        _tell(out, pack=str(training.pack), figures=figures)
        return EXIT_OK
    print(f"The pack is in {training.pack}. On {figures['evaluated_on']}:", file=out)
    for name in ("alone", "local", "neural", "markov", "oracle", "chimera"):
        if name in figures:
            print(f"  {name:7} {_number(figures[name]['tokens_per_round'])} tokens per round as a chain", file=out)
    return EXIT_OK


def _requests(file: Path, options: Options) -> Iterator[GenerationRequest]:
    """The first answers that a file's lines ask for. Raises `UsageError`."""
    try:
        with file.open("rb") as lines:
            for number, raw in read_lines(lines):
                yield parse_line(raw, number, options, with_turns=True).request()
    except OSError as exc:
        raise UsageError(f"The prompts {file} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise UsageError(f"{file}: {exc}") from exc


def teller(work: dict[str, float], out: TextIO) -> Callable[["Progress"], None]:
    """A function that prints progress as lines of JSON, for a program that follows; first the `work` of the stages."""
    _tell(out, work=work)
    return lambda progress: _tell(out, stage=progress.stage, done=progress.done, total=progress.total)


def _tell(out: TextIO, **values: Any) -> None:
    print(json.dumps(values), file=out, flush=True)


def printer() -> Callable[["Progress"], None]:
    """A function that prints progress on standard error, each stage's beginning and end and a line now and then."""
    last_stage, last_time = "", 0.0

    def show(progress: "Progress") -> None:
        nonlocal last_stage, last_time
        now = time.monotonic()
        if progress.stage == last_stage and progress.done < progress.total and now - last_time < _EVERY_S:
            return
        last_stage, last_time = progress.stage, now
        left = "" if not progress.seconds_left else f", {duration(progress.seconds_left)} left"
        print(
            f"[{progress.stage}] {progress.done:,} of {progress.total:,} {_STAGES[progress.stage]}{left}",
            file=sys.stderr,
        )

    return show


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
