"""The numbers of fields, calibration cells and names: rows of tables, handed out in blocks.

Each source of drafts takes what it needs when its file is imported. `engine.drafting.sources` imports its files in one
order, so the numbers are the same in every process, as compiled code in numba's cache needs them to be.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.generic)


class Layout:
    """A table whose rows are handed out until the first array is made of it.

    >>> layout = Layout()
    >>> length, counts = layout.take(), layout.take(2, 3, initial=[[1, 2, 3], [4, 5, 6]])
    >>> length, counts, layout.initial(np.int32).tolist()
    (0, 1, [0, 1, 2, 3, 4, 5, 6])
    """

    def __init__(self) -> None:
        self._values: list[float] = []
        self._closed = False

    def take(self, *shape: int, initial: npt.ArrayLike = 0.0) -> int:
        """The first row of a new block of this shape, a single row by default; `initial` is broadcast to it."""
        if self._closed:
            raise RuntimeError("Arrays of this layout exist already: take rows where the file is imported.")
        first = len(self._values)
        self._values += np.broadcast_to(np.asarray(initial, np.float64), shape).ravel().tolist()
        return first

    def initial(self, dtype: type[Number]) -> npt.NDArray[Number]:
        """An array with a number for every row, as they start."""
        self._closed = True
        return np.array(self._values, dtype)


class CellLayout(Layout):
    """Calibration cells: a weight each. Those of `answer_blocks` start from scratch with every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answer_blocks: list[slice] = []

    def take_for_answer(self, *shape: int) -> int:
        """A block of weights that learn within one answer only."""
        first = self.take(*shape)
        self.answer_blocks.append(slice(first, len(self._values)))
        return first


class NameLayout:
    """Names of sources, as drafts show them, by number; 0 is no name."""

    def __init__(self) -> None:
        self.names = [""]

    def take(self, *names: str) -> int:
        """The number of the first of these names."""
        first = len(self.names)
        self.names += names
        return first

    def of(self, numbers: Sequence[int]) -> tuple[str, ...]:
        return tuple([self.names[number] for number in numbers])


FIELDS = Layout()  # of a proposal: what each source has to say of it
NODE = Layout()  # of a node: what each source has to say of all its proposals
PATH = Layout()  # of a node: what a source carries from node to node along a path
CELLS = CellLayout()
NAMES = NameLayout()
