"""The benchmarks' commands: what their flags mean, as frozen values. Runs nothing and imports no torch.

bench lossless    plain and adaptive give the same tokens
bench speed       adaptive decoding takes less time
bench replay      drafters on recorded answers, without a model or with the forward passes of one
bench widths      the cost of a forward pass of each width
bench trained     packs of train-drafter on prompts that they were not trained on
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.commands.flags import (
    UsageError,
    add_answer_flags,
    add_context_flag,
    add_model_flags,
    names,
    read_options,
    whole,
)
from engine.batch import Options
from engine.bench.inputs.curves import YARDSTICKS, find_curves
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
    XLLAMACPP_ARMS,
    Drafters,
    LosslessPlan,
    ReplayPlan,
    SpeedPlan,
    WidthsPlan,
)
from engine.config import ModelSpec
from engine.drafting.registry import DRAFTER_NAMES, NEED_LOGITS
from engine.models.shapes import PREFIX, SHAPES


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchWidths:
    spec: ModelSpec
    plan: WidthsPlan
    json: str | None
    plot: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTrained:
    """`keep`: a folder for the model's answers, which a later run uses again."""

    options: Options
    packs: tuple[Path, ...]
    prompts: tuple[Path, ...]  # each file is a set of its own; empty: the built-in ones
    limit: int | None
    keep: Path
    json: str | None


COMMANDS = ("lossless", "speed", "replay", "widths", "trained")
_RANDOM = ", ".join(PREFIX + name for name in SHAPES)
Bench = BenchLossless | BenchSpeed | BenchReplay | BenchWidths | BenchTrained


def _add_bench_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompts", action="append", type=Path, metavar="FILE", default=[],
        help="prompts in the batch format; may be given several times (the built-in ones)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="OUT", help="write all figures to this file; - prints them")
    parser.add_argument("--limit", type=whole(1, 10**6), metavar="N", help="only the first N prompts of each file")


def _lossless_parser(commands: Any) -> None:
    parser = commands.add_parser("lossless", help="compare plain and adaptive answers token by token")
    parser.set_defaults(command="lossless")
    add_model_flags(parser)
    add_context_flag(parser)
    add_answer_flags(parser, max_tokens=128, drafts=False)
    _add_bench_flags(parser)
    parser.add_argument(
        "--drafter", dest="drafts_by", action="append", choices=DRAFTERS, default=[],
        help="the drafter; may be given several times (adaptive; oracle with --negative-control)",
    )  # fmt: skip
    parser.add_argument(
        "--negative-control", action="store_true",
        help="run transformers' layers at mixed widths, where rounding decides: exit 1 unless answers differ",
    )  # fmt: skip


def _speed_parser(commands: Any) -> None:
    parser = commands.add_parser("speed", help="compare the speed of drafting, of plain decoding and of transformers")
    parser.set_defaults(command="speed")
    add_model_flags(parser)
    add_context_flag(parser)
    add_answer_flags(parser, max_tokens=256, drafts=False)
    _add_bench_flags(parser)
    parser.add_argument("--repeats", type=whole(1, 1000), default=3, metavar="N", help="runs of each arm (3)")
    parser.add_argument(
        "--arms", type=names(ARMS), metavar="LIST",
        help=f"arms to compare, separated by commas ({','.join(OWN_SIZE_ARMS)}); our engine with other drafters: "
        f"{', '.join(BASELINES)}; llama.cpp's server, if its package is installed: {', '.join(XLLAMACPP_ARMS)}; "
        f"with the adaptive drafter less a part: {', '.join(ABLATIONS)}",
    )  # fmt: skip
    parser.add_argument(
        "--max-nodes", type=whole(1, 1024), metavar="N",
        help="compare drafters at one size: every draft is verified whole, up to N tokens or what the widest round "
        f"holds, whatever it costs (each drafter chooses); the arms then are {','.join(EQUAL_SIZE_ARMS)}",
    )  # fmt: skip
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw tokens per second and per round")


def _replay_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "replay", help="compare drafters on recorded greedy answers, without a model or with the forward passes of one",
        description="Plays recorded conversations to drafters and predicts what each would gain, from what a round of "
        "each width costs; or, with --target, runs every round through a model that is made to answer with the "
        "recorded tokens, and measures it. A line of a file holds id, suite, category, tokenizer and messages.",
    )  # fmt: skip
    parser.set_defaults(command="replay")
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="recorded conversations, one a line, as JSON")
    add(
        "--tokenizers",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder that holds NAME/tokenizer.json for each tokenizer that is named",
    )
    add(
        "--drafters", type=names((*DRAFTER_NAMES, *ABLATIONS)), default=USUAL_REPLAY, metavar="LIST",
        help=f"drafters to compare, separated by commas ({','.join(USUAL_REPLAY)}); the adaptive one less a part: "
        f"{', '.join(name for name in REPLAYABLE if name in ABLATIONS)}; {' and '.join(NEED_LOGITS)} need a model: see "
        "bench speed",
    )  # fmt: skip
    add(
        "--curve", metavar="LIST",
        help="what a round of each width costs, separated by commas: flat (nothing: every draft is verified whole), "
        f"{', '.join(YARDSTICKS)}, or a JSON file of [[width, cost], ...] or of several such lists by name "
        f"({','.join(YARDSTICKS)})",
    )  # fmt: skip
    add("--max-nodes", type=whole(1, 1024), default=64, metavar="N", help="tokens of a draft at most (64)")
    add(
        "--memory", type=names(MEMORIES), default=MEMORIES[:1], metavar="LIST",
        help="cold: a conversation knows nothing of those before it; warm: the adaptive drafter remembers the earlier "
        "ones of the file (the other drafters have no memory); cold,warm: both (cold)",
    )  # fmt: skip
    add("--limit", type=whole(1, 10**6), metavar="N", help="only the first N conversations of each file")
    add("--json", metavar="OUT", help="write all figures to this file; - prints them")
    add("--plot", type=Path, metavar="PNG", help="draw the speedups")
    add_model_flags(
        parser, "--target",
        "run every round through this model, named as for --model, or one of "
        f"{_RANDOM}: the true shape with random weights, without a download",
    )  # fmt: skip


def _contexts(text: str) -> tuple[int, ...]:
    number = whole(1, 10**7)
    try:
        return tuple(sorted({number(each) for each in text.split(",")}))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"must be whole numbers separated by commas; got {text!r}") from exc


def _widths_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "widths", help="time forward passes of each width",
        description="Times forward passes of every width, together with transformers' own and with the bandwidth of "
        f"this machine's memory. --model also takes {_RANDOM}: the true shape with random weights, without a download.",
    )  # fmt: skip
    parser.set_defaults(command="widths")
    add_model_flags(parser)
    add = parser.add_argument
    add(
        "--context", type=_contexts, default=WidthsPlan().contexts, metavar="N,...",
        help=f"tokens in the KV cache ({','.join(map(str, WidthsPlan().contexts))})",
    )  # fmt: skip
    add("--repeats", type=whole(1, 1000), default=WidthsPlan().repeats, metavar="N",
        help=f"passes of each width at each context ({WidthsPlan().repeats})")  # fmt: skip
    add("--json", metavar="OUT", help="write all figures to this file; - prints them")
    add("--plot", type=Path, metavar="PNG", help="draw times, ratios and shares of the bandwidth")


def _trained_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "trained", help="measure packs of train-drafter: heads and their refinements, Chimera, and all sources merged",
        description="Lets the model answer prompts that no pack was trained on, half of the batches greedily, and "
        "replays each pack's drafts over its answers.",
    )  # fmt: skip
    parser.set_defaults(command="trained", default_max_tokens=512)
    add_model_flags(parser, without=("drafter_pack", "backend"))
    add_context_flag(parser)
    parser.add_argument("packs", nargs="+", type=Path, metavar="PACK", help="a folder that train-drafter made")
    parser.add_argument(
        "--keep", type=Path, required=True, metavar="FOLDER", help="keep the model's answers here, to use them again"
    )
    _add_bench_flags(parser)


def add_commands(bench: argparse.ArgumentParser) -> None:
    """Add the benchmarks below `bench`."""
    kinds = bench.add_subparsers(metavar=" | ".join(COMMANDS), required=True)
    _lossless_parser(kinds)
    _speed_parser(kinds)
    _replay_parser(kinds)
    _widths_parser(kinds)
    _trained_parser(kinds)


def _replay_plan(given: argparse.Namespace) -> ReplayPlan:
    """Raises `ValueError` for a drafter or a curve that a replay cannot use."""
    unplayable = [name for name in given.drafters if name not in REPLAYABLE]
    if unplayable:
        raise UsageError(
            f"A replay has no model that answers, and {' and '.join(unplayable)} cannot draft without a model's "
            "logits: leave it out here and measure it with bench speed --arms."
        )
    if hasattr(given, "target"):
        if given.curve is not None:
            raise UsageError("A curve predicts what --target measures: give --curve or --target, not both.")
        return replace(_conversations(given), target=replace(read_options(given).spec, model=given.target))
    useless = [name for name in ("dtype", "device", "threads", "quant") if hasattr(given, name)]
    if useless:
        raise UsageError(f"--{useless[0]} says how a model is loaded, and a replay has none without --target.")
    try:
        curves = find_curves(given.curve or ",".join(YARDSTICKS))
    except OSError as exc:
        raise UsageError(f"The curve in {exc.filename} cannot be read: {exc.strerror}.") from exc
    return replace(_conversations(given), curves=curves)


def _conversations(given: argparse.Namespace) -> ReplayPlan:
    """Which conversations are played to which drafters."""
    return ReplayPlan(
        files=tuple(given.files),
        tokenizers=given.tokenizers,
        drafters=given.drafters,
        curves=(),
        memories=given.memory,
        max_nodes=given.max_nodes,
        limit=given.limit,
    )


def read(given: argparse.Namespace) -> Bench:
    """The flags of one of `COMMANDS`; raises `ValueError` for a value out of range."""
    if given.command in ("replay", "widths") and hasattr(given, "max_context"):
        raise UsageError(f"bench {given.command} chooses the context itself: leave --max-context out.")
    if given.command == "replay":
        return BenchReplay(plan=_replay_plan(given), json=given.json, plot=given.plot)
    options = read_options(given)
    if given.command == "widths":
        plan = WidthsPlan(contexts=given.context, repeats=given.repeats)
        return BenchWidths(spec=options.spec, plan=plan, json=given.json, plot=given.plot)
    prompts = tuple(given.prompts)
    if given.command == "trained":
        return BenchTrained(
            options=options,
            packs=tuple(given.packs),
            prompts=prompts,
            limit=given.limit,
            keep=given.keep.expanduser(),
            json=given.json,
        )
    if given.command == "lossless":
        return BenchLossless(
            options=options, prompts=prompts, limit=given.limit, plan=_lossless_plan(given, options), json=given.json
        )
    return BenchSpeed(
        options=options, prompts=prompts, limit=given.limit, plan=_speed_plan(given), json=given.json, plot=given.plot
    )


def _lossless_plan(given: argparse.Namespace, options: Options) -> LosslessPlan:
    usual: tuple[Drafters, ...] = ("oracle",) if given.negative_control else ("adaptive",)
    return LosslessPlan(
        temperature=options.template.sampling.temperature or 0.8,
        drafters=tuple(dict.fromkeys(given.drafts_by)) or usual,
        negative_control=given.negative_control,
    )


def _speed_plan(given: argparse.Namespace) -> SpeedPlan:
    usual = OWN_SIZE_ARMS if given.max_nodes is None else EQUAL_SIZE_ARMS
    arms = tuple(arm for arm in ARMS if arm in (given.arms or usual))
    return SpeedPlan(repeats=given.repeats, arms=arms, max_nodes=given.max_nodes)
