"""The command line: its flags and what they mean, as frozen values. Runs nothing and imports no torch.

launcher.py [global flags]                     the page (the default)
launcher.py ask [PROMPT] | --batch FILE        one answer, or one for each line of a file
launcher.py bench lossless | speed | replay    the proofs: same tokens, less time; drafters over recorded answers
launcher.py --check                            environment, device, self-test
"""

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn, get_args

from engine.bench.curves import YARDSTICKS, find_curves
from engine.bench.plans import (
    ABLATIONS,
    ARMS,
    BASELINES,
    DRAFTERS,
    EQUAL_SIZE_ARMS,
    MEMORIES,
    OWN_SIZE_ARMS,
    REPLAYABLE,
    USUAL_REPLAY,
    Drafters,
    LosslessPlan,
    ReplayPlan,
    SpeedPlan,
)
from engine.bench.prompts import Options
from engine.config import DTYPE_ALIASES, MEMORY_TOKENS, Dtype, Exactness, Mode, ModelSpec, Quant
from engine.drafting.registry import DRAFTER_NAMES, NEED_LOGITS

DESCRIPTION = """Slipstream: chat with an open model on your own machine. It drafts ahead of the model with an adaptive
N-gram memory and never changes a word of what the model says."""
EPILOG = """`launcher.py --repair` builds the environment anew; `launcher.py test [pytest arguments]` runs the tests.
`launcher.py COMMAND --help` lists the flags of a command."""


class UsageError(ValueError):
    """Arguments that cannot be meant; `usage` is the line that says what can."""

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(message)
        self.usage = usage


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | {"allow_abbrev": False}))

    def error(self, message: str) -> NoReturn:
        raise UsageError(message[:1].upper() + message[1:].rstrip(".") + ".", self.format_usage())


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Open the page. `port` None: a free one. `named`: the model of `spec` was asked for, not the last one."""

    port: int | None
    browser: bool
    spec: ModelSpec
    named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """`prompt` None: standard input, unless `batch` names a file ("-": standard input)."""

    options: Options
    prompt: str | None
    batch: str | None
    json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchLossless:
    options: Options
    prompts: tuple[Path, ...]  # empty: the built-in ones
    limit: int | None  # of each file
    plan: LosslessPlan
    json: str | None  # a file, or "-" for standard output


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSpeed:
    options: Options
    prompts: tuple[Path, ...]
    limit: int | None
    plan: SpeedPlan
    json: str | None
    plot: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReplay:
    plan: ReplayPlan
    json: str | None
    plot: Path | None


Command = Serve | Check | Ask | BenchLossless | BenchSpeed | BenchReplay


def version() -> str:
    """The version in pyproject.toml, which is the only place that holds it."""
    path = Path(__file__).parents[1] / "pyproject.toml"
    return str(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"])


def _whole(low: int, high: int) -> Any:
    def whole_number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be between {low} and {high}; got {value}")
        return value

    return whole_number


def _names(allowed: Sequence[str]) -> Any:
    """A comma-separated list of some of these names, each once."""

    def names(text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(text.split(",")))
        unknown = [name for name in given if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(allowed)}")
        return given

    return names


def _add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the model; without a default of their own, so that one given before the command stays."""
    group = parser.add_argument_group("model")
    add = group.add_argument
    dtypes = (*get_args(Dtype), *DTYPE_ALIASES)
    add("--model", default=argparse.SUPPRESS, help="starter, a folder, or a Hub id such as Qwen/Qwen3-0.6B")
    add("--offline", action="store_true", default=argparse.SUPPRESS, help="ask nothing of the network")
    add("--home", default=argparse.SUPPRESS, metavar="FOLDER", help="keep data, logs and caches there")
    add("--dtype", choices=dtypes, default=argparse.SUPPRESS, help="number format of the weights (auto)")
    add("--device", default=argparse.SUPPRESS, help="auto, cpu, cuda, cuda:N or mps (auto)")
    add("--threads", type=int, default=argparse.SUPPRESS, help="processor threads (all cores)")
    add("--quant", choices=get_args(Quant), default=argparse.SUPPRESS, help="quantise the weights (none)")


def _add_sampling_flags(parser: argparse.ArgumentParser, max_tokens: int) -> None:
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


def _add_bench_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompts", action="append", type=Path, metavar="FILE", default=[],
        help="prompts in the batch format; may be given several times (the built-in ones)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="OUT", help="write every figure to this file; - prints it")
    parser.add_argument("--limit", type=_whole(1, 10**6), metavar="N", help="only the first N prompts of each file")


def _lossless_parser(commands: Any) -> None:
    parser = commands.add_parser("lossless", help="plain against adaptive, token by token")
    parser.set_defaults(command="lossless")
    _add_model_flags(parser)
    _add_sampling_flags(parser, max_tokens=128)
    _add_bench_flags(parser)
    parser.add_argument(
        "--drafter", dest="drafts_by", action="append", choices=DRAFTERS, default=[],
        help="whose drafts are verified; may be given several times (adaptive; oracle with --negative-control)",
    )  # fmt: skip
    parser.add_argument(
        "--negative-control", action="store_true",
        help="transformers' layers at mixed widths, where last bits decide: differences must show; exit 1 if none",
    )  # fmt: skip


def _speed_parser(commands: Any) -> None:
    parser = commands.add_parser("speed", help="drafting against plain decoding and against transformers")
    parser.set_defaults(command="speed")
    _add_model_flags(parser)
    _add_sampling_flags(parser, max_tokens=256)
    _add_bench_flags(parser)
    parser.add_argument("--repeats", type=_whole(1, 1000), default=3, metavar="N", help="runs of each arm (3)")
    parser.add_argument(
        "--arms", type=_names(ARMS), metavar="LIST",
        help=f"which, with commas ({','.join(OWN_SIZE_ARMS)}); our engine with other drafters: {', '.join(BASELINES)}; "
        f"with the adaptive one, a part of it taken out: {', '.join(ABLATIONS)}",
    )  # fmt: skip
    parser.add_argument(
        "--max-nodes", type=_whole(1, 1024), metavar="N",
        help="compare drafters at one size: every draft is verified whole, up to N tokens or what the widest round "
        f"holds, whatever it costs (drafts at their own size); the arms then are {','.join(EQUAL_SIZE_ARMS)}",
    )  # fmt: skip
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw tokens per second and per round")


def _replay_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "replay", help="drafters over recorded greedy answers, without a model",
        description="Plays recorded conversations to drafters and predicts what each would gain, from what a round of "
        "each width costs. A line of a file holds id, suite, category, tokenizer and messages.",
    )  # fmt: skip
    parser.set_defaults(command="replay")
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="recorded conversations, one a line, as JSON")
    add(
        "--tokenizers",
        type=Path,
        required=True,
        metavar="DIR",
        help="holds NAME/tokenizer.json for each tokenizer named",
    )
    add(
        "--drafters", type=_names((*DRAFTER_NAMES, *ABLATIONS)), default=USUAL_REPLAY, metavar="LIST",
        help=f"which, with commas ({','.join(USUAL_REPLAY)}); the adaptive one, a part of it taken out: "
        f"{', '.join(name for name in REPLAYABLE if name in ABLATIONS)}; {' and '.join(NEED_LOGITS)} need a model: see "
        "bench speed",
    )  # fmt: skip
    add(
        "--curve", metavar="LIST",
        help="what a round costs by its width, with commas: flat (nothing: every draft is verified whole), "
        f"{', '.join(YARDSTICKS)}, or JSON files of [[width, cost], ...] or of several such by name "
        f"({','.join(YARDSTICKS)})",
    )  # fmt: skip
    add("--max-nodes", type=_whole(1, 1024), default=64, metavar="N", help="tokens of a draft at most (64)")
    add(
        "--memory", type=_names(MEMORIES), default=MEMORIES[:1], metavar="LIST",
        help="cold: a conversation knows nothing of those before it; warm: the adaptive drafter remembers the file's "
        "earlier ones, the others have no memory; cold,warm: both (cold)",
    )  # fmt: skip
    add("--limit", type=_whole(1, 10**6), metavar="N", help="only the first N conversations of each file")
    add("--json", metavar="OUT", help="write every figure to this file; - prints it")
    add("--plot", type=Path, metavar="PNG", help="draw the predicted speedups")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(prog="launcher.py", description=DESCRIPTION, epilog=EPILOG)
    parser.set_defaults(command="serve", default_max_tokens=512)
    parser.add_argument("--version", action="version", version=f"slipstream {version()}")
    parser.add_argument("--check", action="store_true", help="environment, device and a self-test; 0 if all is well")
    parser.add_argument("--port", type=_whole(1, 65535), help="of the page (a free one)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in the browser")
    parser.add_argument(
        "--memory-tokens", type=_whole(0, 10**7), default=MEMORY_TOKENS, metavar="N",
        help=f"drafts may draw on so many tokens of your other conversations; 0: on none ({MEMORY_TOKENS:,})",
    )  # fmt: skip
    _add_model_flags(parser)
    commands = parser.add_subparsers(metavar="COMMAND")

    ask = commands.add_parser("ask", help="answer one prompt, or a file of them")
    ask.set_defaults(command="ask")
    ask.add_argument("prompt", nargs="?", metavar="PROMPT", help="(standard input)")
    ask.add_argument("--batch", metavar="FILE", help="one request a line, as JSON; - is standard input")
    ask.add_argument("--json", action="store_true", help="print one JSON object per answer instead of text")
    ask.add_argument("--mode", choices=get_args(Mode), default=argparse.SUPPRESS, help="drafting on or off (adaptive)")
    ask.add_argument("--drafter", choices=DRAFTER_NAMES, default=argparse.SUPPRESS, help="who drafts (adaptive)")
    _add_model_flags(ask)
    _add_sampling_flags(ask, max_tokens=512)

    bench = commands.add_parser("bench", help="the proofs: same tokens, less time")
    kinds = bench.add_subparsers(metavar="lossless | speed | replay", required=True)
    _lossless_parser(kinds)
    _speed_parser(kinds)
    _replay_parser(kinds)
    return parser


def _options(given: argparse.Namespace) -> Options:
    """The flags of a question, checked by what they are for: `ValueError` where a value is out of range."""
    names = [field.name for field in fields(Options)]
    values = {name: getattr(given, name) for name in names if hasattr(given, name)}
    values.setdefault("max_tokens", given.default_max_tokens)
    if "stop" in values:
        values["stop"] = tuple(values["stop"])
    options = Options(**values)
    options.check()
    return options


def parse(argv: list[str]) -> tuple[Command, str | None]:
    """(what to do, the home folder if one was named). `UsageError` for bad arguments, `SystemExit` for --help."""
    given = build_parser().parse_args(argv)
    home: str | None = getattr(given, "home", None)
    try:
        return _command(given), home
    except UsageError:
        raise
    except ValueError as exc:
        raise UsageError(str(exc)) from exc


def _replay_plan(given: argparse.Namespace) -> ReplayPlan:
    """`ValueError` where a drafter or a curve cannot be had."""
    unplayable = [name for name in given.drafters if name not in REPLAYABLE]
    if unplayable:
        raise UsageError(
            f"A replay has no model, and {' and '.join(unplayable)} cannot draft without a model's own logits: "
            "leave it out here and measure it with bench speed --arms."
        )
    try:
        curves = find_curves(given.curve or ",".join(YARDSTICKS))
    except OSError as exc:
        raise UsageError(f"The curve in {exc.filename} cannot be read: {exc.strerror}.") from exc
    return ReplayPlan(
        files=tuple(given.files),
        tokenizers=given.tokenizers,
        drafters=given.drafters,
        curves=curves,
        memories=given.memory,
        max_nodes=given.max_nodes,
        limit=given.limit,
    )


def _command(given: argparse.Namespace) -> Command:
    if given.command == "replay":
        return BenchReplay(plan=_replay_plan(given), json=given.json, plot=given.plot)
    options = _options(given)
    if given.check:
        return Check(options=options)
    match given.command:
        case "ask":
            if given.prompt is not None and given.batch is not None:
                raise UsageError("Give a prompt or --batch, not both.")
            return Ask(options=options, prompt=given.prompt, batch=given.batch, json=given.json)
        case "lossless":
            drafters: tuple[Drafters, ...] = ("oracle",) if given.negative_control else ("adaptive",)
            plan = LosslessPlan(
                temperature=options.temperature or 0.8,
                drafters=tuple(dict.fromkeys(given.drafts_by)) or drafters,
                negative_control=given.negative_control,
            )
            return BenchLossless(
                options=options, prompts=tuple(given.prompts), limit=given.limit, plan=plan, json=given.json
            )
        case "speed":
            usual = OWN_SIZE_ARMS if given.max_nodes is None else EQUAL_SIZE_ARMS
            arms = tuple(arm for arm in ARMS if arm in (given.arms or usual))
            return BenchSpeed(
                options=options,
                prompts=tuple(given.prompts),
                limit=given.limit,
                plan=SpeedPlan(repeats=given.repeats, arms=arms, max_nodes=given.max_nodes),
                json=given.json,
                plot=given.plot,
            )
        case _:
            named = hasattr(given, "model")
            spec = replace(options.spec(), memory_tokens=given.memory_tokens)
            return Serve(port=given.port, browser=not given.no_browser, spec=spec, named=named)
