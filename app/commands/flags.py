"""Flags that several commands share, and the error for arguments that make no sense. Imports no torch.

The flags of a model and of an answer are made from the fields of `ModelSpec`, `Sampling` and `GenerationRequest` that
have an `engine.options.Option`: a new field there is a flag here at once.
"""

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import Field, fields
from functools import partial
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from engine.batch import ANSWER_OPTIONS, MODEL_OPTIONS, SAMPLING_OPTIONS, Options
from engine.config import DTYPE_ALIASES, GenerationRequest, ModelSpec, Sampling
from engine.options import options_of, shown

_SHOWN = {int: ",", float: "g"}  # how a default stands in the help
_ALIASES: dict[str, tuple[str, ...]] = {"dtype": tuple(DTYPE_ALIASES)}  # further words for a choice


class UsageError(ValueError):
    """Arguments that make no sense; `usage` is the line that says which do."""

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(message)
        self.usage = usage


def near(word: str, known: Sequence[str]) -> str:
    """The known word that was probably meant, as the end of a sentence; nothing where none is like it.

    >>> near("--max_tokens", ["--max-tokens", "--max-context"]), near("x", ["--max-tokens"])
    (' (did you mean --max-tokens?)', '')
    """
    like = difflib.get_close_matches(word.replace("_", "-"), known, 1)
    return f" (did you mean {like[0]}?)" if like else ""


def _read_number(kind: type[int] | type[float], text: str) -> Any:
    try:
        return kind(text)
    except ValueError as exc:
        wanted = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"must be {wanted}; got {shown(text)}") from exc


def whole(low: int, high: int) -> Any:
    def whole_number(text: str) -> int:
        value: int = _read_number(int, text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be between {low} and {high}; got {value}")
        return value

    return whole_number


def names(allowed: Sequence[str]) -> Any:
    """Type of a comma-separated list of these names, each once."""

    def some_names(text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(text.split(",")))
        unknown = [name for name in given if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(allowed)}")
        return given

    return some_names


def add_flag(parser: Any, cls: type, name: str, *, flag: str = "", text: str = "", default: Any = None) -> None:
    """Add the flag of a field that has an `Option`; without a default, so that one given before the command stays.

    `default` is what the help names, where that is not the field's own.
    """
    field: Field[Any] = next(each for each in fields(cls) if each.name == name)
    option, value = options_of(cls)[name], field.default if default is None else default
    kinds = [kind for kind in (get_args(field.type) or (field.type,)) if kind is not NoneType]
    parameters: dict[str, Any] = {"metavar": option.metavar}
    if field.type is bool:
        parameters = {"action": "store_true"}
    elif get_origin(field.type) is Literal:
        parameters = {"choices": (*get_args(field.type), *_ALIASES.get(name, ()))}
    elif get_origin(field.type) is tuple:
        parameters["action"] = "append"
    else:
        parameters["type"] = partial(_read_number, kinds[0]) if kinds[0] in (int, float) else kinds[0]
    unset = value is None or value is False or value in ((), "")
    shown = "" if unset or text else f" ({value:{_SHOWN.get(kinds[0], '')}})"
    parser.add_argument(
        flag or "--" + name.replace("_", "-"),
        default=argparse.SUPPRESS,
        help=(text or option.help) + shown,
        **parameters,
    )


def add_model_flags(
    parser: argparse.ArgumentParser,
    name: str = "--model",
    text: str = "",
    default: str | None = None,
    without: Sequence[str] = (),
) -> None:
    """Add the flags of the model but --max-context and those `without`; `default` is what the help names where no model
    is given."""
    group = parser.add_argument_group("model")
    for option in MODEL_OPTIONS:
        if option == "model":
            add_flag(group, ModelSpec, option, flag=name, text=text, default=default)
        elif option not in ("max_context", *without):
            add_flag(group, ModelSpec, option)
    group.add_argument("--home", default=argparse.SUPPRESS, metavar="FOLDER", help="keep data, logs and caches there")


def add_context_flag(parser: argparse.ArgumentParser) -> None:
    """Add --max-context, for commands that do not choose the context themselves."""
    add_flag(parser, ModelSpec, "max_context")


def add_answer_flags(parser: argparse.ArgumentParser, max_tokens: int, *, drafts: bool = True) -> None:
    """Add the flags of an answer; --mode and --drafter only with `drafts`."""
    group = parser.add_argument_group("answer")
    group.add_argument("--system", default=argparse.SUPPRESS, help="a system message", metavar="TEXT")
    for option in ANSWER_OPTIONS:
        if drafts or option not in ("mode", "drafter"):
            add_flag(group, GenerationRequest, option, default=max_tokens if option == "max_tokens" else None)
    for option in SAMPLING_OPTIONS:
        add_flag(group, Sampling, option)
    parser.set_defaults(default_max_tokens=max_tokens)


def read_options(given: argparse.Namespace) -> Options:
    """The options that the flags ask for; raises `ValueError` for a value out of range."""
    names = ("system", *MODEL_OPTIONS, *ANSWER_OPTIONS, *SAMPLING_OPTIONS)
    values = {name: getattr(given, name) for name in names if hasattr(given, name)}
    values.setdefault("max_tokens", given.default_max_tokens)
    return Options.of(**values)
