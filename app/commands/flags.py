"""Flags that several commands share, and the error for arguments that cannot be meant. Imports no torch."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args

from engine.batch import Options
from engine.config import DTYPE_ALIASES, Dtype, Exactness, Quant


class UsageError(ValueError):
    """Arguments that cannot be meant; `usage` is the line that says what can."""

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(message)
        self.usage = usage


def whole(low: int, high: int) -> Any:
    def whole_number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be between {low} and {high}; got {value}")
        return value

    return whole_number


def names(allowed: Sequence[str]) -> Any:
    """A comma-separated list of some of these names, each once."""

    def some_names(text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(text.split(",")))
        unknown = [name for name in given if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(allowed)}")
        return given

    return some_names


def add_model_flags(
    parser: argparse.ArgumentParser,
    name: str = "--model",
    text: str = "starter, a folder, or a Hub id such as Qwen/Qwen3-0.6B",
) -> None:
    """Flags of the model; without a default of their own, so that one given before the command stays."""
    group = parser.add_argument_group("model")
    add = group.add_argument
    dtypes = (*get_args(Dtype), *DTYPE_ALIASES)
    add(name, default=argparse.SUPPRESS, help=text)
    add("--offline", action="store_true", default=argparse.SUPPRESS, help="ask nothing of the network")
    add("--home", default=argparse.SUPPRESS, metavar="FOLDER", help="keep data, logs and caches there")
    add("--dtype", choices=dtypes, default=argparse.SUPPRESS, help="number format of the weights (auto)")
    add("--device", default=argparse.SUPPRESS, help="auto, cpu, cuda, cuda:N or mps (auto)")
    add("--threads", type=int, default=argparse.SUPPRESS, help="processor threads (all cores)")
    add("--quant", choices=get_args(Quant), default=argparse.SUPPRESS, help="quantise the weights (none)")


def add_context_flag(parser: argparse.ArgumentParser) -> None:
    """How long the conversations may be; for commands that do not choose it themselves."""
    parser.add_argument(
        "--max-context", type=int, default=argparse.SUPPRESS, metavar="N",
        help="tokens of a conversation at most (what the model knows and memory holds)",
    )  # fmt: skip


def add_sampling_flags(parser: argparse.ArgumentParser, max_tokens: int) -> None:
    group = parser.add_argument_group("answer")

    def add(flag: str, text: str, **parameters: Any) -> None:
        group.add_argument(flag, default=argparse.SUPPRESS, help=text, **parameters)

    add("--exactness", "exact: certified widths; fast: fastest kernels (exact)", choices=get_args(Exactness))
    add("--system", "a system message", metavar="TEXT")
    add("--temperature", "0 is greedy (0)", type=float)
    add("--top-k", "keep the K likeliest tokens; 0 is off (0)", type=int, metavar="K")
    add("--top-p", "keep the likeliest tokens up to this probability; 1 is off (1)", type=float, metavar="P")
    add("--min-p", "drop tokens below this share of the likeliest one; 0 is off (0)", type=float, metavar="P")
    add("--repetition-penalty", "over prompt and answer; 1 is off (1)", type=float, metavar="F")
    add("--seed", "of the random choices (0)", type=int)
    add("--max-tokens", f"end after N tokens ({max_tokens})", type=int, metavar="N")
    add("--stop", "end at this text; may be given several times", action="append", metavar="TEXT")
    add("--ignore-eos", "go on after the model's end token", action="store_true")
    parser.set_defaults(default_max_tokens=max_tokens)


def read_options(given: argparse.Namespace) -> Options:
    """The flags of a question, checked by what they are for: `ValueError` where a value is out of range."""
    names = [field.name for field in fields(Options)]
    values = {name: getattr(given, name) for name in names if hasattr(given, name)}
    values.setdefault("max_tokens", given.default_max_tokens)
    if "stop" in values:
        values["stop"] = tuple(values["stop"])
    options = Options(**values)
    options.check()
    return options
