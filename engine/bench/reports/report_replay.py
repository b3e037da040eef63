"""What `bench replay` found, as a page of text for people."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from engine.bench.plans import ALL
from engine.bench.reports.report import number, table

Row = dict[str, Any]


def replay_text(data: dict[str, Any]) -> str:
    rows: list[Row] = data["results"]
    texts = list(_tables(rows, data["plan"]["max_nodes"]))
    if rows:
        texts.append(_times(rows))
    if not data["complete"]:
        texts.append("INTERRUPTED: only what was finished is shown.")
    texts.append(
        "In each cell: tokens per round, and the predicted speedup: tokens over the sum of the rounds' costs on the "
        "curve, the\ndrafter's own time left out. The oracle copies, at each round, the stretch of earlier text that "
        "agrees longest."
    )
    return "\n\n".join(texts)


def groups(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The suites and categories of some rows; where a suite has but one category, the suite alone."""
    found = list(dict.fromkeys((row["suite"], row["category"]) for row in rows))
    sizes = Counter(suite for suite, _ in found)
    return [(suite, category) for suite, category in found if category == ALL or sizes[suite] > 2]


def _tables(rows: Sequence[Row], max_nodes: int) -> Iterator[str]:
    """A table for each curve and memory: a line for each suite and category, a column for each drafter."""
    for curve, memory in dict.fromkeys((row["curve"], row["memory"]) for row in rows):
        here = [row for row in rows if (row["curve"], row["memory"]) == (curve, memory)]
        drafters = tuple(dict.fromkeys(row["drafter"] for row in here))
        lines = []
        for suite, category in groups(here):
            group = [row for row in here if (row["suite"], row["category"]) == (suite, category)]
            cells = {row["drafter"]: f"{number(row['tokens_per_round'], 2)} {_speedup(row)}" for row in group}
            ceiling = number(group[0]["oracle_tokens_per_round"], 2)
            name = f"{suite}, {category}"
            lines.append((name, f"{group[0]['tokens']:,}", *(cells.get(each, "") for each in drafters), ceiling))
        head = (f"{curve}, {memory}, up to {max_nodes} nodes", "tokens", *drafters, "oracle")
        yield table(head, lines)


def _speedup(row: Row) -> str:
    return f"{number(row['speedup'], 2)}x"


def _where(row: Row) -> str:
    """What a drafter's rounds depend on: of the adaptive one's, curve and memory."""
    return f", {row['curve']}, {row['memory']}" if row["drafter"] == "adaptive" else ""


def _times(rows: Sequence[Row]) -> str:
    """The drafters' own time, of whole suites."""
    lines = {
        (
            f"{row['drafter']}: {row['suite']}{_where(row)}",
            f"{row['rounds']:,}",
            number(row["draft_us"]["median"], 0),
            number(row["draft_us"]["p99"], 0),
        )
        for row in rows
        if row["category"] == ALL
    }
    return table(("microseconds a round to draft and learn", "rounds", "median", "p99"), sorted(lines))
