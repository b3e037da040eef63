"""A benchmark's data as a page of text for people, and as a file for programs."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

NOTHING = "-"


def number(value: float | None, digits: int = 1) -> str:
    """A figure with its thousands set apart, or a dash where there is none.

    >>> number(1234.56), number(0.5, 2), number(None)
    ('1,234.6', '0.50', '-')
    """
    return NOTHING if value is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share in per cent.

    >>> percent(0.256)
    '25.6 %'
    """
    return NOTHING if value is None else f"{100 * value:.1f} %"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns: the first to the left, figures to the right.

    >>> print(table(("arm", "tok/s"), [("plain", "9.5"), ("adaptive", "21.0")]))
    arm       tok/s
    plain       9.5
    adaptive   21.0
    """
    lines = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    texts = []
    for line in lines:
        figures = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        texts.append("  ".join((line[0].ljust(widths[0]), *figures)).rstrip())
    return "\n".join(texts)


def where(data: dict[str, Any]) -> str:
    """The machine, the model and how busy it was."""
    machine, model = data["machine"], data["model"] or {}
    parts = [
        f"{machine['processor']}, {machine['cores']} cores; torch {machine['torch']} with {machine['threads']} "
        f"threads, transformers {machine['transformers']}",
    ]
    if model:
        exact = model["exact"]
        parts.append(
            f"{model['name']}: {model['num_parameters']:,} parameters, {model['dtype']}, quantisation "
            f"{model['quant']}, {model['device']} ({model['device_name']}); exact: tier {exact['tier']}, "
            f"widths {list(exact['widths'])}"
        )
    if machine["load_average"]:
        parts.append(f"load average at the start: {machine['load_average'][0]:.2f}")
    return "\n".join(parts)


def lossless_text(data: dict[str, Any]) -> str:
    """What `bench lossless` found."""
    total = data["summary"]
    head = ("arm", "answers", "differ", "tokens", "rounds", "drafted", "accepted", "rounds acc.", "rounds rej.")
    rows = [
        (
            f"{arm['sampling']}, {arm['drafter']}",
            f"{arm['answers']:,}",
            f"{arm['differing_answers']:,}",
            f"{arm['tokens_compared']:,}",
            f"{arm['rounds']:,}",
            f"{arm['drafted']:,}",
            f"{arm['accepted']:,}",
            percent(arm["share_with_accepted"]),
            percent(arm["share_with_rejected"]),
        )
        for arm in (*data["arms"], total | {"sampling": "all", "drafter": "all"})
    ]
    texts = [where(data), table(head, rows), *_divergences(data["runs"]), *_errors(data["runs"]), _verdict(data)]
    return "\n\n".join(texts)


def _divergences(runs: Sequence[dict[str, Any]], limit: int = 20) -> list[str]:
    rows = [
        (
            run["id"],
            f"{run['sampling']}, {run['drafter']}",
            f"{turn['turn'] + 1}",
            f"{turn['divergence']['position']}",
            f"{turn['divergence']['plain_id']}",
            f"{turn['divergence']['adaptive_id']}",
            number(turn["divergence"]["margin"], 6),
        )
        for run in runs
        for turn in run["turns"]
        if turn["divergence"] and turn["same_prompt"]
    ]
    if not rows:
        return []
    more = [f"and {len(rows) - limit} more"] if len(rows) > limit else []
    head = ("first divergences", "arm", "turn", "position", "plain id", "adaptive id", "top-two margin")
    return ["\n".join((table(head, rows[:limit]), *more))]


def _errors(runs: Sequence[dict[str, Any]]) -> list[str]:
    failed = {f"{run['id']}: {run['error']}" for run in runs if run["error"]}
    return ["Not run:\n" + "\n".join(sorted(failed))] if failed else []


def _verdict(data: dict[str, Any]) -> str:
    total = data["summary"]
    differ, answers, tokens = total["differing_answers"], total["answers"], total["tokens_compared"]
    counts = f"{differ:,} of {answers:,} answers differ ({tokens:,} tokens compared)"
    if not data["complete"]:
        return f"INTERRUPTED: {counts}, and not all prompts were asked."
    if total["errors"]:
        return f"FAILED: {total['errors']:,} conversations could not be run; {counts}."
    if data["negative_control"]:
        if differ:
            return f"Negative control seen to fail, as it must: {counts}."
        return f"FAILED: the negative control shows no difference, so equality proves nothing here; {counts}."
    return f"FAILED: {counts}." if differ else f"All ids are equal: {counts}."


def speed_text(data: dict[str, Any]) -> str:
    """What `bench speed` found."""
    texts = [where(data)]
    if data["plan"]["max_nodes"] is not None:
        texts.append(f"Drafts verified whole, up to {data['plan']['max_nodes']} tokens or what the widest round holds.")
    if not data["complete"]:
        texts.append(f"INTERRUPTED: after {len(data['prompts'])} prompts.")
    for name, group in data["groups"].items():
        texts.append(_group(name, group))
    if len(data["groups"]) > 1:
        texts.append(_group("all of these", data["overall"]))
    if data["looping"]["prompts"]:
        title = "answers that loop (over 30 % of their own 4-grams repeated), counted apart"
        texts.append(_group(title, data["looping"]))
    if data["errors"]:
        texts.append("Not run:\n" + "\n".join(f"{error['id']}: {error['message']}" for error in data["errors"]))
    texts.append(
        "Tokens per second count the tokens after the first over the seconds after the first, in every arm; for "
        "transformers' arms a\nstreamer marks both ends. Ratios: median of the prompts' ratios with quartiles; "
        "total is all tokens over all time."
    )
    return "\n\n".join(texts)


def _group(name: str, group: dict[str, Any]) -> str:
    arms = [
        (
            arm,
            f"{figures['prompts']}",
            number(figures["tokens_per_s"]["median"]),
            number(figures["tokens_per_s"]["q1"]),
            number(figures["tokens_per_s"]["q3"]),
            number(figures["tokens_per_round"], 2),
            NOTHING if figures["drafted"] is None else f"{figures['drafted']:,}",
            f"{figures['accepted']:,}",
            number(None if figures["ttft_s"]["median"] is None else 1000 * figures["ttft_s"]["median"], 0),
        )
        for arm, figures in group["arms"].items()
    ]
    ratios = [
        (
            pair,
            f"{figures['n']}",
            number(figures["median"], 3),
            number(figures["q1"], 3),
            number(figures["q3"], 3),
            number(figures["total"], 3),
            _same(group["same_tokens"].get(pair)),
        )
        for pair, figures in group["ratios"].items()
    ]
    head = ("arm", "prompts", "tok/s", "q1", "q3", "tok/round", "drafted", "accepted", "ttft ms")
    ratio_head = ("ratio of tok/s", "prompts", "median", "q1", "q3", "total", "same ids")
    return f"{name}: {group['prompts']} prompts\n{table(head, arms)}\n{table(ratio_head, ratios)}"


def _same(counts: dict[str, int] | None) -> str:
    return NOTHING if counts is None else f"{counts['same']} of {counts['of']}"


def write(data: dict[str, Any], text: str, target: str | None, out: TextIO) -> None:
    """Text to `out`; everything as JSON to the file `target`, or to `out` alone where it is "-"."""
    if target == "-":
        out.write(json.dumps(data) + "\n")
        out.flush()
        return
    out.write(text + "\n")
    out.flush()
    if target is not None:
        path = Path(target).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
