"""Runs the benchmarks' commands: reads their inputs, writes their reports, figures and plots."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from app.commands.bench_flags import Bench, BenchLossless, BenchReplay, BenchSpeed, BenchTrained, BenchWidths
from app.commands.flags import UsageError
from app.commands.running import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, Interrupt, load, progress_printer
from app.commands.train import printer
from app.home import Home
from engine.api import EngineAPI
from engine.batch import PromptLine
from engine.bench.inputs.prompts import built_in_prompts, read_prompts
from engine.bench.plans import OWN_SIZE_ARMS, XLLAMACPP_ARMS

if TYPE_CHECKING:
    from engine.bench.harness import BenchEngine


def make_engine() -> EngineAPI:
    """The engine that benchmarks run, in this process."""
    from engine.bench.instrumented import InstrumentedEngine

    home = Home.find()
    return InstrumentedEngine(home.findings, home.packs)


def run(command: Bench, make_engine: Callable[[], EngineAPI], out: TextIO) -> int:
    """Run one benchmark; returns the exit code. Those over recorded answers and bare passes need no engine."""
    _require_writable(command)
    if isinstance(command, BenchReplay):
        return _replay(command, out)
    if isinstance(command, BenchWidths):
        return _widths(command, out)
    if isinstance(command, BenchTrained):
        return _trained(command, out)
    with closing(make_engine()) as engine:
        return _answers(command, cast("BenchEngine", engine), out)


def _require_writable(command: Bench) -> None:
    """Check before the work that its results can be written."""
    json_file = None if command.json in (None, "-") else Path(command.json).expanduser()
    for path in (json_file, None if isinstance(command, BenchLossless | BenchTrained) else command.plot):
        if path is None or path.is_fifo():  # whoever reads a pipe would take this for its end
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            path.open("ab").close()
            if is_new:
                path.unlink()
        except OSError as exc:
            raise UsageError(
                f"The results cannot be written to {path} ({exc.strerror}: {exc.filename}). Name another file."
            ) from exc


def _prompts(command: BenchLossless | BenchSpeed) -> tuple[PromptLine, ...]:
    return _read(command.prompts or built_in_prompts(), command)


def _read(files: Sequence[Path], command: BenchLossless | BenchSpeed | BenchTrained) -> tuple[PromptLine, ...]:
    try:
        return read_prompts(files, command.options, command.limit)
    except OSError as exc:
        raise UsageError(f"The prompts in {exc.filename} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise UsageError(str(exc)) from exc


def _answers(command: BenchLossless | BenchSpeed, engine: "BenchEngine", out: TextIO) -> int:
    from engine.bench.arms import control
    from engine.bench.arms.engine_arms import engine_arms
    from engine.bench.arms.llama_cpp_arms import llama_cpp_arms
    from engine.bench.arms.transformers_arms import transformers_arms
    from engine.bench.arms.xllamacpp_arms import why_not, xllamacpp_arms
    from engine.bench.reports import plot, report
    from engine.bench.runs import lossless, speed

    lines = _prompts(command)
    if isinstance(command, BenchSpeed) and {*command.plan.arms} & {*XLLAMACPP_ARMS} and (missing := why_not()):
        raise UsageError(missing)
    control_run = isinstance(command, BenchLossless) and command.plan.negative_control
    # Our own order of work may round alike at every width, and then nothing can differ.
    load(engine, replace(command.options.spec, stock_layers=control_run))
    if isinstance(command, BenchLossless):
        rounding = partial(control.telling_temperature, engine) if control_run else None
        data = lossless.run(engine, lines, command.plan, lossless.engine_margin(engine), rounding)
        text = report.lossless_text(data)
    else:
        own = engine_arms(engine, command.plan.max_nodes)
        stock = (*llama_cpp_arms(engine.loaded), *xllamacpp_arms(engine.loaded))
        arms = (*own, *transformers_arms(engine.loaded, engine.stock_model), *stock)
        absent = set(command.plan.arms) - {arm.name for arm in arms}
        if absent and command.plan.arms != OWN_SIZE_ARMS:
            raise UsageError(
                f"{', '.join(sorted(absent))}: torch computes {engine.loaded.name} here. Leave these arms out, or "
                "choose a GGUF file and --backend llama-cpp."
            )
        data = speed.run(engine, arms, lines, command.plan)
        text = report.speed_text(data)
    report.write(data, text, command.json, out)
    if isinstance(command, BenchSpeed) and command.plot is not None:
        plot.draw(f"Decoding with {data['model']['name']}", plot.speed_panels(data), command.plot)
    return _exit_code(data)


def _replay(command: BenchReplay, out: TextIO) -> int:
    from engine.bench.inputs.transcripts import Tokenizers, read_transcripts
    from engine.bench.reports import plot, report, report_replay
    from engine.bench.runs import replay

    plan = command.plan
    try:
        files = read_transcripts(plan.files, Tokenizers(plan.tokenizers), plan.limit)
    except OSError as exc:
        raise UsageError(f"The conversations in {exc.filename} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if plan.target is not None:
        from engine.bench.reports import report_target
        from engine.bench.runs import replay_target

        data = replay_target.run(files, plan, progress_printer())
        text, panels = report_target.target_text(data), report_target.target_panels(data)
    else:
        data = replay.run(files, plan)
        text, panels = report_replay.replay_text(data), plot.replay_panels(data)
    report.write(data, text, command.json, out)
    if command.plot is not None:
        plot.draw("Drafters over recorded greedy answers", panels, command.plot)
    return _exit_code(data)


def _widths(command: BenchWidths, out: TextIO) -> int:
    from engine.bench.reports import plot, report, report_widths
    from engine.bench.runs import widths

    data = widths.run(command.spec, command.plan, progress_printer())
    report.write(data, report_widths.widths_text(data), command.json, out)
    if command.plot is not None:
        name = f"Forward passes of {data['model']['name']}"
        plot.draw(name, report_widths.widths_panels(data), command.plot)
    return _exit_code(data)


def _trained(command: BenchTrained, out: TextIO) -> int:
    from engine.bench.reports import report, report_trained
    from engine.models.loader import load_model
    from engine.prompt.context import build_prompt
    from engine.training.measure import Measuring

    files = command.prompts or built_in_prompts()
    if len({path.stem for path in files}) < len(files):
        raise UsageError("Two files of prompts have one name, and each is a set of its own: rename one.")
    asked = {path.stem: _read([path], command) for path in files}
    spec = replace(command.options.spec, backend="torch", drafter_pack="none")
    loaded = load_model(spec, progress_printer())

    def encoded(line: PromptLine) -> Sequence[int]:
        return build_prompt(loaded.tokenizer, line.request(), loaded.context_length, loaded.vocab_size).token_ids

    sets = {name: [encoded(line) for line in lines] for name, lines in asked.items()}
    measuring = Measuring(loaded=loaded, packs=command.packs, sets=sets, kept=command.keep)
    interrupt, show = Interrupt(), printer()
    with interrupt.watched(), closing(measuring.steps()) as steps:
        while True:
            try:
                show(next(steps))
            except StopIteration as end:
                data = end.value
                break
            if interrupt.seen:
                return EXIT_INTERRUPTED
    data |= {
        "complete": True,
        "passed": True,
        "model": {
            "name": loaded.name,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "device": loaded.device_name,
            "threads": loaded.threads,
        },
    }
    report.write(data, report_trained.trained_text(data), command.json, out)
    return _exit_code(data)


def _exit_code(data: dict[str, Any]) -> int:
    if not data["complete"]:
        return EXIT_INTERRUPTED
    return EXIT_OK if data["passed"] else EXIT_FAILED
