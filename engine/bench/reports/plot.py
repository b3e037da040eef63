"""Grouped bars of a benchmark's figures as a PNG, drawn without a display."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from engine.bench.reports.report_replay import groups

# Okabe and Ito's colours, which people with a colour vision deficiency can tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999", "#000000")
_BAR = 0.8  # of the room between two groups
_DPI = 130


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: for each group a bar for each series that has a figure there. A line marks `base`."""

    title: str
    unit: str
    groups: tuple[str, ...]
    series: Mapping[str, Sequence[float | None]]
    base: float | None = 1.0


def replay_panels(data: dict[str, Any]) -> list[Panel]:
    """Predicted speedups, a panel for each curve and memory; tokens per round where the curve is flat."""
    rows = data["results"]
    panels = []
    for curve, memory in dict.fromkeys((row["curve"], row["memory"]) for row in rows):
        here = [row for row in rows if (row["curve"], row["memory"]) == (curve, memory)]
        shown = groups(here)
        flat = curve == "flat"
        series = {
            drafter: _figures(here, shown, drafter, "tokens_per_round" if flat else "speedup")
            for drafter in dict.fromkeys(row["drafter"] for row in here)
        }
        nodes = data["plan"]["max_nodes"]
        title = f"{memory} memory, cost ignored, up to {nodes} nodes" if flat else f"curve {curve}, {memory} memory"
        names = tuple(f"{suite}\n{category}" for suite, category in shown)
        panels.append(Panel(title, "tokens per round" if flat else "predicted speedup", names, series))
    return panels


def speed_panels(data: dict[str, Any]) -> list[Panel]:
    """Tokens per second and per round of all arms; per round alone where drafts are verified whatever they cost."""
    named = {"overall": data["overall"], **data["groups"], "looping answers": data["looping"]}
    shown = {name: group for name, group in named.items() if group["prompts"]}
    names = tuple(f"{name}\n{group['prompts']} prompts" for name, group in shown.items())
    arms = [name for name, figures in data["overall"]["arms"].items()]

    def series(figure: Callable[[dict[str, Any]], float | None]) -> dict[str, tuple[float | None, ...]]:
        return {arm: tuple(figure(group["arms"][arm]) for group in shown.values()) for arm in arms}

    nodes = data["plan"]["max_nodes"]
    size = "drafts at their own size" if nodes is None else f"drafts verified whole, up to {nodes} tokens"
    per_round = Panel(
        f"tokens per round, {size}", "tokens per round", names, series(lambda arm: arm["tokens_per_round"])
    )
    if nodes is not None:
        return [per_round]
    per_s = series(lambda arm: arm["tokens_per_s"]["median"])
    return [Panel("speed, median over prompts", "tokens per second", names, per_s, base=None), per_round]


def _figures(
    rows: Sequence[dict[str, Any]], shown: Sequence[tuple[str, str]], drafter: str, figure: str
) -> tuple[float | None, ...]:
    known = {(row["suite"], row["category"]): row[figure] for row in rows if row["drafter"] == drafter}
    return tuple(known.get(group) for group in shown)


def draw(title: str, panels: Sequence[Panel], path: Path) -> None:
    """Write the panels, one under the other; `OSError` where the file cannot be written."""
    widest = max((len(panel.groups) * (len(panel.series) + 1) for panel in panels), default=0)
    width = min(max(8.0, 0.22 * widest + 1.5), 40.0)
    figure = Figure(figsize=(width, 3.6 * max(1, len(panels)) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=12)
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(1, len(panels)), 1, squeeze=False)[:, 0]
    for panel, each in zip(panels, axes, strict=False):
        _draw_panel(panel, each)
    handles, labels = axes[0].get_legend_handles_labels()  # all panels have the same series
    figure.legend(handles, labels, ncols=max(1, int(width)), fontsize=8, frameon=False, loc="outside lower center")
    path = path.expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI, format="png")


def _draw_panel(panel: Panel, axes: Axes) -> None:
    step = _BAR / max(1, len(panel.series))
    for index, (name, values) in enumerate(panel.series.items()):
        offset = (index + 0.5) * step - _BAR / 2
        positions = [group + offset for group, value in enumerate(values) if value is not None]
        heights = [value for value in values if value is not None]
        axes.bar(positions, heights, step * 0.92, label=name, color=_COLOURS[index % len(_COLOURS)])
        for position, height in zip(positions, heights, strict=True):
            axes.annotate(
                f"{height:.2f}", (position, height), (0, 2), textcoords="offset points",
                ha="center", va="bottom", fontsize=6, rotation=90,
            )  # fmt: skip
    if panel.base is not None:
        axes.axhline(panel.base, color="0.4", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(panel.groups)), panel.groups, fontsize=8)
    axes.set_ylabel(panel.unit)
    axes.set_title(panel.title, fontsize=10)
    axes.margins(y=0.16)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
