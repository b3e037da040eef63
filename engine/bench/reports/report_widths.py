"""What `bench widths` found, as a page of text for people and as charts."""

from collections.abc import Iterator, Sequence
from typing import Any

from engine.bench.reports.plot import Panel
from engine.bench.reports.report import NOTHING, number, percent, table, where

Row = dict[str, Any]


def widths_text(data: dict[str, Any]) -> str:
    texts = [where(data)]
    if data["notes"]:
        texts.append("\n".join(data["notes"]))
    if not data["complete"]:
        texts.append("INTERRUPTED: only what was finished is shown.")
    texts += [_limit(data), *_tables(data["results"])]
    texts.append(
        "ms: median of the turns with quartiles, greedy picks included; of bandwidth: the bytes that a pass must read "
        "(weights, a tied\nhead once, embedding rows not; keys and values of the context) over its time, as a share of "
        "the bandwidth measured in the same\nturns. exact: rows are bit-equal to those of the other exact widths."
    )
    return "\n\n".join(texts)


def _limit(data: dict[str, Any]) -> str:
    kind, speed = data["bandwidth"]["kind"], data["bandwidth"]["bytes_per_s"]
    read_gb = data["model"]["read_bytes"] / 1e9
    low, middle, high = (number(None if speed[key] is None else speed[key] / 1e9) for key in ("q1", "median", "q3"))
    return (
        f"{kind} bandwidth: {middle} GB/s ({low} to {high}); a pass reads {read_gb:,.3f} GB of weights, "
        f"so plain decoding is limited to {number(data['limit_tokens_per_s'])} tokens/s."
    )


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    for context in dict.fromkeys(row["context"] for row in rows):
        lines = [_line(row) for row in rows if row["context"] == context]
        head = (f"{context:,} tokens cached", "ms", "q1", "q3", "T/T(1)", "GB/s", "of bandwidth", "tok/s", "exact")
        yield table(head, lines)


def _line(row: Row) -> tuple[str, ...]:
    milliseconds = row["ms"]
    return (
        name_of(row),
        number(milliseconds["median"], 2),
        number(milliseconds["q1"], 2),
        number(milliseconds["q3"], 2),
        number(row["ratio"], 2),
        number(row["bytes_per_s"] / 1e9),
        percent(row["bandwidth_share"]),
        number(1000 / milliseconds["median"]) if row["width"] == 1 else "",
        NOTHING if row["exact"] is None else "yes" if row["exact"] else "no",
    )


def name_of(row: Row) -> str:
    """What a row is about."""
    return f"{row['width']}" if row["arm"] == "slipstream" else f"{row['arm']}, {row['width']}"


def widths_panels(data: dict[str, Any]) -> list[Panel]:
    """Milliseconds, ratios and shares by width, a bar for each context."""
    rows = data["results"]
    names = tuple(dict.fromkeys(name_of(row) for row in rows))
    contexts = tuple(dict.fromkeys(row["context"] for row in rows))
    known = {(name_of(row), row["context"]): row for row in rows}

    def panel(title: str, unit: str, figure: Any, base: float | None) -> Panel:
        series = {
            f"{context:,} tokens cached": [
                None if (row := known.get((name, context))) is None else figure(row) for name in names
            ]
            for context in contexts
        }
        return Panel(title, unit, names, series, base)

    kind = data["bandwidth"]["kind"]
    return [
        panel("time of a forward pass by width", "milliseconds", lambda row: row["ms"]["median"], None),
        panel("over width 1", "T(width) / T(1)", lambda row: row["ratio"], 1.0),
        panel("bytes read over time", f"share of {kind} bandwidth", lambda row: row["bandwidth_share"], 1.0),
    ]
