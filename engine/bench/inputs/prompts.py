"""The benchmarks' questions: files in the batch format (`engine.batch`), and those that come with the application."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from engine.batch import MODEL_OPTIONS, Options, PromptLine, parse_line, read_lines


def read_prompts(paths: Sequence[Path], defaults: Options, limit: int | None = None) -> tuple[PromptLine, ...]:
    """The lines of benchmark files, of each the first `limit`.

    `ValueError` at the first bad line, or where a line asks for another model.
    A file's name is the category of the lines that name none.
    """
    lines: list[PromptLine] = []
    for path in paths:
        for number, raw in islice(read_lines(path.read_bytes().splitlines()), limit):
            try:
                line = parse_line(raw, number, defaults, with_turns=True)
            except ValueError as exc:
                raise ValueError(f"{path}: {exc}") from exc
            theirs, ours = line.options.spec, defaults.spec
            changed = [key for key in MODEL_OPTIONS if getattr(theirs, key) != getattr(ours, key)]
            if changed:
                raise ValueError(
                    f"{path}: Line {number}: sets {changed[0]}, but a benchmark measures one model; "
                    f"use --{changed[0].replace('_', '-')} for all lines."
                )
            lines.append(replace(line, category=line.category or path.stem))
    if not lines:
        raise ValueError(f"{' and '.join(map(str, paths))}: no prompts in there.")
    return tuple(lines)


def built_in_prompts() -> tuple[Path, ...]:
    """The prompt files that come with the application: tasks that copy their input, and prose."""
    folder = Path(__file__).parents[3] / "assets" / "prompts"
    return folder / "copying.jsonl", folder / "prose.jsonl"
