"""How many of numba's threads share a piece of work: as many as torch has, or one where waking them takes longer.

Only for work whose result is the same with any number of threads. numba's threads are torch's where both run on OpenMP.
"""

import time
from functools import cache
from statistics import median

import numba
import numpy as np
import torch

_WAKINGS, _ASLEEP_S = 9, 2e-4


def threads_for(alone_s: float) -> int:
    """Threads for work that one would finish in so many seconds; more than one are numba's own from now on."""
    threads = most_threads()
    if threads == 1 or alone_s * (1 - 1 / threads) < _waking_s(threads):
        return 1
    numba.set_num_threads(threads)  # of the calling thread, as torch's
    return threads


def most_threads() -> int:
    """As many as torch has in the calling thread and numba at all."""
    return min(torch.get_num_threads(), int(numba.config.NUMBA_NUM_THREADS))


@cache
def start_threads() -> None:
    """Let numba start its threads: with OpenMP it also sets how many torch has, so that is set back."""
    before = torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(before)


@numba.njit(error_model="numpy", nogil=True, cache=True, parallel=True)
def _touch(parts):  # type: ignore[no-untyped-def]
    for part in numba.prange(parts.size):
        parts[part] += 1


@cache
def _waking_s(threads: int) -> float:
    """Seconds to share something among threads that have fallen asleep: microseconds, or a hundred on some virtual
    machines. Measured once; no bits follow from it."""
    start_threads()
    numba.set_num_threads(threads)
    parts = np.zeros(threads)
    _touch(parts)
    taken = []
    for _ in range(_WAKINGS):
        time.sleep(_ASLEEP_S)
        started = time.perf_counter()
        _touch(parts)
        taken.append(time.perf_counter() - started)
    return median(taken)
