"""What `bench replay --target` found, as a page of text for people and as charts."""

from collections.abc import Iterator, Sequence
from typing import Any

from engine.bench.reports.plot import Panel
from engine.bench.reports.report import number, percent, table, where
from engine.bench.reports.report_replay import groups

Row = dict[str, Any]


def target_text(data: dict[str, Any]) -> str:
    rows: list[Row] = data["results"]
    model = data["model"]
    weights = "random weights" if model["random_weights"] else "its own weights"
    texts = [
        where(data),
        f"FORCED TOKENS: every round is a real forward pass of {model['name']} ({weights}), but the recorded answer "
        "decides\nwhat is accepted. Time and acceptance are real; the model itself would say something else.",
    ]
    if model["notes"]:
        texts.append("\n".join(model["notes"]))
    if data["left_out"]:
        names = ", ".join(data["left_out"])
        texts.append(f"Left out, as they are longer than the context of {model['context_length']:,} tokens: {names}")
    if not data["complete"]:
        texts.append("INTERRUPTED: only what was finished is shown.")
    texts += _tables(rows)
    texts.append(
        "tok/s: tokens after each answer's first over the seconds of their rounds, drafting included. over plain: "
        "median of the\nconversations' ratios with quartiles; total: all tokens over all time. drafting: the drafter's "
        "share of that time."
    )
    return "\n\n".join(texts)


def name_of(row: Row) -> str:
    """An arm's name; the memory where it is warm."""
    return f"{row['drafter']}, warm" if row["memory"] == "warm" else str(row["drafter"])


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    """A table for each suite and category, a line for each arm."""
    for suite, category in groups(rows):
        group = [row for row in rows if (row["suite"], row["category"]) == (suite, category)]
        lines = [_line(row) for row in group]
        name = f"{suite}, {category}, {group[0]['conversations']} conversations, {group[0]['tokens']:,} tokens"
        head = (
            "arm",
            "tok/s",
            "over plain",
            "q1",
            "q3",
            "total",
            "tok/round",
            "drafted",
            "acc.",
            "drafting",
            "us/round",
        )
        yield f"{name}\n{table(head, lines)}"


def _line(row: Row) -> tuple[str, ...]:
    speedup = row["speedup"]
    return (
        name_of(row),
        number(row["tokens_per_s"]),
        *(number(speedup[key], 3) for key in ("median", "q1", "q3", "total")),
        number(row["tokens_per_round"], 2),
        f"{row['drafted']:,}",
        percent(row["acceptance_rate"]),
        percent(row["drafter_share"]),
        number(row["draft_us"]["median"], 0),
    )


def target_panels(data: dict[str, Any]) -> list[Panel]:
    """Tokens per second and what drafting gains over plain decoding, by suite and category."""
    rows = data["results"]
    shown = groups(rows)
    names = tuple(f"{suite}\n{category}" for suite, category in shown)
    known = {(name_of(row), row["suite"], row["category"]): row for row in rows}
    arms = tuple(dict.fromkeys(map(name_of, rows)))
    speed = {arm: [known[arm, *group]["tokens_per_s"] for group in shown] for arm in arms}
    gain = {arm: [known[arm, *group]["speedup"]["total"] for group in shown] for arm in arms}
    return [
        Panel("wall clock, tokens forced", "tokens per second", names, speed, base=None),
        Panel("all tokens over all time", "over plain decoding", names, gain),
    ]
