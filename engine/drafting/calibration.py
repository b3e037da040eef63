"""How likely a proposal is right, learnt from what became of the earlier ones.

A Beta counter per feature cell, with the cell's level alone as its prior (two-stage shrinkage). Every proposal made
at a visited position is labelled, whether it was verified or not, so that a drafter that has fallen silent still
learns when to speak again.
"""

from collections.abc import Hashable

_PRIOR_WEIGHT = 4.0  # trials that a coarse estimate counts for in a fine cell
_MEMORY = 400.0  # trials after which a cell's past is halved, so that it follows the text


class Calibration:
    """Acceptance probability per (coarse, fine) feature cell.

    >>> calibration = Calibration({1: 0.2, 4: 0.6})
    >>> calibration.probability(4, ("new", 1))
    0.6
    >>> for _ in range(10): calibration.label(4, ("new", 1), True)
    >>> round(calibration.probability(4, ("new", 1)), 2)
    0.97
    """

    def __init__(self, priors: dict[int, float]) -> None:
        self._priors = priors
        self._coarse: dict[int, list[float]] = {}
        self._fine: dict[Hashable, list[float]] = {}

    def probability(self, coarse: int, fine: Hashable) -> float:
        """The estimated chance that a proposal with these features is right."""
        counts = self._coarse.get(coarse)
        prior = self._priors[coarse]
        if counts is not None:
            prior = (counts[0] + _PRIOR_WEIGHT * prior) / (counts[1] + _PRIOR_WEIGHT)
        counts = self._fine.get((coarse, fine))
        if counts is None:
            return prior
        return (counts[0] + _PRIOR_WEIGHT * prior) / (counts[1] + _PRIOR_WEIGHT)

    def label(self, coarse: int, fine: Hashable, right: bool) -> None:
        """Record what became of one proposal."""
        for counts in (
            self._coarse.setdefault(coarse, [0.0, 0.0]),
            self._fine.setdefault((coarse, fine), [0.0, 0.0]),
        ):
            counts[0] += right
            counts[1] += 1.0
            if counts[1] > _MEMORY:
                counts[0] /= 2
                counts[1] /= 2
