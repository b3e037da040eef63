"""Cost curves: what a round of a given width costs, in plain rounds, so that a replay can predict a speedup.

The named ones are yardsticks of a kind of machine, not claims about a card: the 4090's to width 8, the 3090's in
16 bits throughout and in 4 bits to width 8 follow published llama.cpp tables; the rest is estimated.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Points = tuple[tuple[int, float], ...]

YARDSTICKS: dict[str, Points] = {
    "bf16-4090": ((1, 1.0), (2, 1.05), (4, 1.06), (8, 1.08), (16, 1.15), (32, 1.3), (64, 1.6)),
    "f16-1b-3090": ((1, 1.0), (2, 1.11), (4, 1.12), (8, 1.17), (16, 1.32), (32, 1.58), (64, 1.97)),
    "q4-3090": ((1, 1.0), (2, 1.12), (4, 1.33), (8, 2.15), (16, 2.3), (32, 2.6), (64, 3.5)),
    "cpu": ((1, 1.0), (4, 1.1), (8, 1.25), (16, 1.5), (32, 2.1), (64, 3.5)),
}
FLAT = "flat"


@dataclass(frozen=True, slots=True)
class Curve:
    """T(width) / T(1). `points` (width, cost) are ascending from width 1; none: width costs nothing.

    Linear in between; behind the last point cost grows in proportion to width.

    >>> curve = Curve("some", ((1, 1.0), (2, 1.1), (4, 1.5)))
    >>> [round(curve(width), 3) for width in (1, 2, 3, 4, 8)]
    [1.0, 1.1, 1.3, 1.5, 3.0]
    >>> Curve("flat")(64)
    1.0
    """

    name: str
    points: Points = ()

    @property
    def flat(self) -> bool:
        """Whether everything that is drafted is verified, its cost ignored."""
        return not self.points

    def __call__(self, width: int) -> float:
        if self.flat:
            return 1.0
        widths = [each for each, _ in self.points]
        right = bisect_left(widths, width)
        if right == len(widths):
            last, cost = self.points[-1]
            return cost * width / last
        wide, dear = self.points[right]
        if right == 0:
            return dear
        narrow, cheap = self.points[right - 1]
        return cheap + (dear - cheap) * (width - narrow) / (wide - narrow)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "points": [list(point) for point in self.points]}


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"a cost must be a number above 0; got {value!r}.")
    return float(value)


def _curve(name: str, value: object) -> Curve:
    """A curve from JSON's [[width, cost], ...]; costs are divided by that of width 1, so seconds will do as well."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"a curve must be a list of [width, cost] pairs; got {value!r}.")
    points: list[tuple[int, float]] = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"a curve must be a list of [width, cost] pairs; got {pair!r} among them.")
        width, cost = pair
        if isinstance(width, bool) or not isinstance(width, int):
            raise ValueError(f"a width must be a whole number; got {width!r}.")
        points.append((width, _number(cost)))
    widths = [width for width, _ in points]
    if widths[0] != 1 or widths != sorted(set(widths)):
        raise ValueError(f"the widths must begin with 1 and rise; got {', '.join(map(str, widths))}.")
    return Curve(name, tuple((width, cost / points[0][1]) for width, cost in points))


def _read(path: Path) -> tuple[Curve, ...]:
    """The curve of a JSON file, called by the file's name, or the several that an object in it names."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(data, Mapping):
            return tuple(_curve(str(name), value) for name, value in data.items())
        return (_curve(path.stem, data),)
    except json.JSONDecodeError as exc:
        raise ValueError(f"{path}: is not JSON: {exc.msg} at line {exc.lineno}.") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"{path}: is not UTF-8 text (byte {exc.start}).") from exc
    except ValueError as exc:
        raise ValueError(f"{path}: {exc}") from exc


def find_curves(names: str) -> tuple[Curve, ...]:
    """The curves that a comma-separated list of names and files asks for, in its order, each once.

    `ValueError` for what is neither; `OSError` where a file cannot be read.

    >>> [curve.name for curve in find_curves("flat,cpu,flat")]
    ['flat', 'cpu']
    """
    found: dict[str, Curve] = {}
    for name in names.split(","):
        if name in YARDSTICKS:
            curves: tuple[Curve, ...] = (Curve(name, YARDSTICKS[name]),)
        elif name == FLAT:
            curves = (Curve(FLAT),)
        elif Path(name).is_file():
            curves = _read(Path(name))
        else:
            known = ", ".join((FLAT, *YARDSTICKS))
            raise ValueError(f"There is no curve {name!r}: known are {known}; otherwise give a JSON file.")
        for curve in curves:
            if found.setdefault(curve.name, curve) != curve:
                raise ValueError(f"There are two different curves by the name {curve.name!r}: rename one of them.")
    return tuple(found.values())
