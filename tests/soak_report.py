"""What a soak has seen, as a plot, and whether it stays as it was: a verdict by slopes, after the warm-up."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np

WARM_UP_S = (
    1500.0  # of a process: its caches fill, its model is certified and timed, as many pages as are kept are open
)
APART_S = 300.0  # of two looks that say how fast something grows
FEWEST = 20  # pairs of looks; with fewer nothing is said


@dataclass(frozen=True)
class Series:
    """A figure over time; it may grow (`sign` 1) or fall (-1) by `share` of itself and by `more` in an hour."""

    name: str
    of: Callable[[dict[str, Any]], float | None]
    life: str  # whose life it belongs to: a process's, or the run's
    share: float
    more: float = 0.0
    sign: int = 1


def _of_process(process: str, key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda seen: seen.get(process, {}).get(key)


SERIES = (
    *(
        Series(f"{process}: {name}", _of_process(process, key), process, share, more)
        for process in ("server", "engine")
        for key, name, share, more in (
            ("rss_mb", "memory, MB", 0.02, 3.0),
            ("uss_mb", "memory of its own, MB", 0.02, 3.0),
            ("files", "open files", 0.0, 2.0),
            ("threads", "threads", 0.0, 1.0),
        )
    ),
    Series("database, MB", lambda seen: seen["database_mb"], "run", 0.05, 0.5),
    Series("drafting memory, tokens", lambda seen: seen["memory"]["tokens"], "run", 0.1, 5000),
    Series("tokens per second", lambda seen: seen["tokens_per_s"], "run", 0.3, 0.0, -1),  # other programs', too
    Series("tokens per second of the engine's processor time", lambda seen: seen.get("per_cpu_s"), "run", 0.1, 0.0, -1),
    Series("tokens per round", lambda seen: seen["tokens_per_round"], "run", 0.05, 0.0, -1),
    Series("acceptance rate", lambda seen: seen["acceptance"], "run", 0.1, 0.0, -1),
)


def read(log: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """What was seen, with the run it belongs to, and what went wrong. A last line that was cut short is passed over."""
    seen, troubles = [], []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "seen" in entry:
            seen.append({**entry["seen"], "run": entry["run"], "at": entry["at"]})
        else:
            troubles.append(str(entry["trouble"]))
    for before, look in pairwise(seen):
        if before["engine"]["pid"] == look["engine"]["pid"] and "cpu_s" in before["engine"]:
            used = look["engine"]["cpu_s"] - before["engine"]["cpu_s"]
            look["per_cpu_s"] = look["tokens"] / used if used > 0 and look["tokens"] else None
    return seen, troubles


def points(series: Series, seen: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """(hours, value) by life, without the warm-up of each."""
    lives: dict[str, list[tuple[float, float]]] = {}
    for look in seen:
        value = series.of(look)
        process = look.get(series.life, {}) if series.life != "run" else look
        if value is None or process.get("age_s", 0) < WARM_UP_S:
            continue
        life = look["run"] if series.life == "run" else f"{look['run']} {process['pid']}"
        lives.setdefault(life, []).append((look["at"] / 3600, float(value)))
    return lives


def slope(lives: dict[str, list[tuple[float, float]]]) -> float | None:
    """The median slope of all pairs of points of a life that lie apart (Theil and Sen), in an hour.

    >>> slope({"a": [(at / 60, 5 + at / 60) for at in range(20)]})
    1.0
    """
    found: list[float] = []
    for life in lives.values():
        at, value = (np.array(column) for column in zip(*life, strict=True))
        first, second = np.triu_indices(len(at), 1)
        apart = at[second] - at[first] >= APART_S / 3600
        first, second = first[apart], second[apart]
        found += ((value[second] - value[first]) / (at[second] - at[first])).tolist()
    return round(float(np.median(found)), 9) if len(found) >= FEWEST else None


def verdicts(seen: list[dict[str, Any]]) -> list[tuple[str, float, float | None, bool]]:
    """Of each figure: its median, its slope in an hour, and whether that is too much."""
    found = []
    for series in SERIES:
        lives = points(series, seen)
        values = [value for life in lives.values() for _, value in life]
        middle, grows = float(np.median(values)) if values else float("nan"), slope(lives)
        allowed = series.share * abs(middle) + series.more
        found.append((series.name, middle, grows, grows is not None and series.sign * grows > allowed))
    return found


def report(log: Path, plot: Path, out: TextIO) -> int:
    """Print the verdict, draw the plot; 1 where something grows or went wrong."""
    seen, troubles = read(log)
    judged = verdicts(seen)
    hours = sum(max(look["age_s"] for look in seen if look["run"] == run) for run in {look["run"] for look in seen})
    answers = sum(look["answers"] for look in seen)
    print(f"{hours / 3600:.2f} hours in {len({look['run'] for look in seen})} runs, {answers:,} answers", file=out)
    for name, middle, grows, too_much in judged:
        words = "not judged: too short" if grows is None else f"{grows:+.3f} an hour"
        print(f"{name:50} {middle:12.2f}  {words}{'  TOO MUCH' if too_much else ''}", file=out)
    faults = max((look["log_faults"] for look in seen), default=0)
    print(f"{len(troubles)} troubles, {faults} tracebacks or errors in the log", *troubles[:20], sep="\n  ", file=out)
    bad = bool(troubles) or faults > 0 or any(too_much for *_, too_much in judged)
    print("It does not stay as it was." if bad else "It stays as it was, as far as was looked.", file=out)
    draw(seen, plot)
    return 1 if bad else 0


def draw(seen: list[dict[str, Any]], plot: Path) -> None:
    """All figures over the hours of use, one under the other; the gaps between runs are left out."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    hours, before, last = [], 0.0, 0.0
    for number, look in enumerate(seen):
        if number and look["run"] != seen[number - 1]["run"]:
            before = last
        last = before + look["age_s"] / 3600
        hours.append(last)
    figure, axes = pyplot.subplots(len(SERIES), 1, figsize=(9, 1.5 * len(SERIES)), sharex=True)
    for axis, series in zip(axes, SERIES, strict=True):
        values = [series.of(look) for look in seen]
        axis.plot(hours, [np.nan if value is None else value for value in values], linewidth=1, color="#0f766e")
        axis.set_title(series.name, fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("hours of use", fontsize=8)
    figure.tight_layout()
    figure.savefig(plot)
    pyplot.close(figure)
