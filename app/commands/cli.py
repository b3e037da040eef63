"""The command line: what its flags mean, as frozen values. Runs nothing and imports no torch.

launcher.py [global flags]                     the page (the default)
launcher.py serve                              the API for other programs, without a page
launcher.py url                                the address of the page that runs
launcher.py ask [PROMPT] | --batch FILE        one answer, or one for each line of a file
launcher.py bench lossless | speed | ...       benchmarks: same tokens, less time (app.commands.bench_flags)
launcher.py train-drafter                      heads that draft for one model, trained on its own answers
launcher.py --check                            environment, device, self-test
"""

import argparse
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from app.commands import bench_flags
from app.commands.bench_flags import Bench
from app.commands.flags import (
    UsageError,
    add_answer_flags,
    add_context_flag,
    add_flag,
    add_model_flags,
    near,
    read_options,
    whole,
)
from app.commands.server_flags import (
    NOTHING_SAID,
    PAGE_ALONE,
    Exposure,
    Permission,
    add_engine_flags,
    add_server_flags,
    read_exposure,
    refuse_engine,
    with_engine,
)
from app.texts import LanguageError, find
from engine.batch import Options
from engine.config import SMOLLM2, ModelSpec

DESCRIPTION = """Slipstream: chat with an open model on your own machine. It drafts ahead of the model with an adaptive
N-gram memory and never changes a word of what the model says."""
EPILOG = """`launcher.py --repair` builds the environment again; `launcher.py test [pytest arguments]` runs the tests.
`launcher.py COMMAND --help` lists the flags of a command."""


_CHOICE = re.compile(r"argument (.+?): invalid choice: (.+) \(choose from (.+)\)", re.DOTALL)
_CHOSEN = {"COMMAND": "command", " | ".join(bench_flags.COMMANDS): "benchmark"}


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | {"allow_abbrev": False}))
        self.commands: dict[str, _Parser] = {}

    def add_subparsers(self, **kwargs: Any) -> Any:
        commands = super().add_subparsers(**kwargs)
        self.commands = commands.choices  # which grows with them
        return commands

    def error(self, message: str) -> NoReturn:
        if chosen := _CHOICE.fullmatch(message):
            argument, given, among = chosen.groups()
            known = [word.strip(" '") for word in among.split(",")]
            hint = near(given.strip("'"), known)
            what = f"{given} for {argument}" if argument.startswith("-") else f"{_CHOSEN.get(argument, 'such')} {given}"
            raise UsageError(f"There is no {what}{hint}; there are {', '.join(known)}.")
        raise UsageError(message[:1].upper() + message[1:].rstrip(".") + ".", self.format_usage())


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Serve the page, the API, or both. `port` None: 7860 or the next free one. `named`: the command line names the
    model of `spec`, or a server's address in its place, of which `permission` says what a person allows."""

    port: int | None
    browser: bool
    spec: ModelSpec
    named: bool
    exposure: Exposure = PAGE_ALONE
    permission: Permission = NOTHING_SAID
    restore_backup: bool = False
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Url:
    """Print the address of the page that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`named`: the command line names the model of `options`."""

    options: Options
    named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """`prompt` None: standard input, unless `batch` names a file ("-": standard input). `named` and `permission`: as
    for `Serve`."""

    options: Options
    named: bool
    prompt: str | None
    batch: str | None
    json: bool
    permission: Permission = NOTHING_SAID


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """`prompts` None: those that come along; `out` None: a folder among the user's data, named as the model. `named`:
    as for `Check`."""

    options: Options
    named: bool
    prompts: str | None
    tokens: int
    heads: int
    epochs: int
    out: str | None
    kind: Literal["heads", "chimera", "both"] = "heads"
    rescorer: bool = False
    without: Literal["", "trigram", "context"] = ""
    json: bool = False


Command = Serve | Url | Check | Ask | Bench | Train


def version() -> str:
    """The version in pyproject.toml, which is the only place that holds it."""
    path = Path(__file__).parents[2] / "pyproject.toml"
    return str(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"])


def build_parser() -> _Parser:
    """The whole command line."""
    parser = _Parser(prog="launcher.py", description=DESCRIPTION, epilog=EPILOG)
    parser.set_defaults(command="serve", default_max_tokens=512)
    parser.add_argument("--version", action="version", version=f"slipstream {version()}")
    parser.add_argument(
        "--check", action="store_true", help="show environment and device, run a self-test; exit 0 if it passes"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in the browser")
    parser.add_argument("--api", action="store_true", help="let other programs use the model, by OpenAI's API")
    parser.add_argument(
        "--open-to-all-accounts",
        action="store_true",
        help="ask for no token: whoever has an account on this machine can read and change everything on the page",
    )
    parser.add_argument(
        "--new-token",
        action="store_true",
        help="make a new token for the page; the one before is void",
    )
    parser.add_argument(
        "--language",
        default="en",
        metavar="NAME",
        help="the language of the page: en, de, or a file of texts like assets/texts/de.toml",
    )
    parser.add_argument(
        "--restore-backup",
        action="store_true",
        help="put the newest daily copy of the conversations in the place of what is there, which is kept",
    )
    add_server_flags(parser)
    add_flag(parser, ModelSpec, "memory_tokens")
    add_model_flags(parser, default=SMOLLM2)
    add_context_flag(parser)
    commands = parser.add_subparsers(metavar="COMMAND")

    serve = commands.add_parser("serve", help="the API for other programs, without a page")
    serve.set_defaults(command="serve", page=False)
    add_server_flags(serve)
    add_flag(serve, ModelSpec, "memory_tokens")
    add_model_flags(serve, default=SMOLLM2)
    add_context_flag(serve)

    url = commands.add_parser("url", help="print the address of the page that runs, with its token")
    url.set_defaults(command="url")
    url.add_argument("--home", default=argparse.SUPPRESS, metavar="FOLDER", help="the folder that it was started with")

    ask = commands.add_parser("ask", help="answer one prompt, or a file of them")
    ask.set_defaults(command="ask")
    ask.add_argument("prompt", nargs="?", metavar="PROMPT", help="the message to answer (standard input)")
    ask.add_argument(
        "--batch", metavar="FILE", help="answer each line of a file, a request as JSON; - is standard input"
    )
    ask.add_argument("--json", action="store_true", help="print one JSON object per answer instead of text")
    add_engine_flags(ask)
    add_model_flags(ask, default=SMOLLM2)
    add_context_flag(ask)
    add_answer_flags(ask, max_tokens=512)

    bench = commands.add_parser("bench", help="benchmarks: same tokens, less time")
    bench_flags.add_commands(bench)
    _add_train(commands)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train-drafter",
        help="train what drafts for one model, on its own answers; goes on where it was interrupted",
    )
    train.set_defaults(command="train-drafter")
    train.add_argument(
        "--kind",
        choices=("heads", "chimera", "both"),
        default="heads",
        help="what to train: heads, chimera, both (heads)",
    )
    train.add_argument(
        "--rescorer", action="store_true", help="train a small language model too, with which benchmarks rescore heads"
    )
    train.add_argument(
        "--without",
        choices=("trigram", "context"),
        default="",
        help="leave out one of Chimera's encoders, to measure it",
    )
    train.add_argument(
        "--prompts", metavar="FILE", help="prompts to answer, a line each as for ask --batch (those that come along)"
    )
    train.add_argument(
        "--tokens",
        type=whole(1000, 10**9),
        default=200_000,
        metavar="N",
        help="tokens of answers to learn from (200,000)",
    )
    train.add_argument("--heads", type=whole(1, 8), default=4, metavar="K", help="positions drafted ahead (4)")
    train.add_argument(
        "--epochs", type=whole(1, 1000), default=3, metavar="N", help="times that each token is seen (3)"
    )
    train.add_argument(
        "--json", action="store_true", help="print progress and figures as JSON lines, and end with the calling program"
    )
    train.add_argument("--out", metavar="FOLDER", help="the pack, and what its training keeps (among your data)")
    add_model_flags(train, default=SMOLLM2, without=("drafter_pack", "backend"))
    add_context_flag(train)


def parse(argv: list[str]) -> tuple[Command, str | None]:
    """(what to do, the home folder if one was named). `UsageError` for bad arguments, `SystemExit` for --help."""
    parser = build_parser()
    try:
        given = parser.parse_args(argv)
    except UsageError as exc:
        raise _unknown_flag(parser, argv) or exc from None
    home: str | None = getattr(given, "home", None)
    try:
        return _command(given), home
    except UsageError:
        raise
    except ValueError as exc:
        raise UsageError(str(exc)) from exc


def _unknown_flag(parser: _Parser, argv: list[str]) -> UsageError | None:
    """Why arguments are wrong, where one of them is a flag that the command does not have."""
    for word in argv:
        if word == "--":
            return None
        known = re.findall(r"--[a-z][a-z-]*", parser.format_usage())
        if word.startswith("--") and word.partition("=")[0] not in known:
            flag = word.partition("=")[0]
            behind = [name for name, command in parser.commands.items() if f"[{flag}" in command.format_usage()]
            if behind:
                return UsageError(f"{flag} goes behind its command: {' or '.join(behind)}.")
            return UsageError(
                f"There is no flag {flag}{near(flag, known)}; `{parser.prog} --help` lists those that there are."
            )
        parser = parser.commands.get(word, parser)
    return None


def _command(given: argparse.Namespace) -> Command:
    if given.command in bench_flags.COMMANDS:
        refuse_engine(given, "bench")
        return bench_flags.read(given)
    if given.command == "url":
        refuse_engine(given, "url", asks_a_model=False)
        return Url()
    options, named = read_options(given), hasattr(given, "model")
    if not named:
        options = replace(options, spec=replace(options.spec, model=SMOLLM2))
    if given.check:
        refuse_engine(given, "--check")
        return Check(options=options, named=named)
    if given.command == "train-drafter":
        refuse_engine(given, "train-drafter")
        return Train(
            options=options,
            named=named,
            prompts=given.prompts,
            tokens=given.tokens,
            heads=given.heads,
            epochs=given.epochs,
            out=given.out,
            kind=given.kind,
            rescorer=given.rescorer,
            without=given.without,
            json=given.json,
        )
    if given.command == "ask":
        if given.prompt is not None and given.batch is not None:
            raise UsageError("Give a prompt or --batch, not both.")
        spec, named, permission = with_engine(given, options.spec, named)
        return Ask(
            options=replace(options, spec=spec),
            named=named,
            prompt=given.prompt,
            batch=given.batch,
            json=given.json,
            permission=permission,
        )
    spec = replace(options.spec, memory_tokens=getattr(given, "memory_tokens", options.spec.memory_tokens))
    exposure = read_exposure(given)
    spec, named, permission = with_engine(given, spec, named)
    return Serve(
        port=getattr(given, "port", None),
        browser=not given.no_browser,
        spec=spec,
        named=named,
        exposure=exposure,
        permission=permission,
        restore_backup=given.restore_backup,
        language=_language(given.language),
    )


def _language(name: str) -> str:
    """The name, if there are texts in that language; raises `UsageError`."""
    try:
        find(name)
    except LanguageError as exc:
        raise UsageError(f"--language: {exc}") from exc
    return name
