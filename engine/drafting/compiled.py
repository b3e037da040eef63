"""How the drafter's number work is compiled: by numba, ahead of use, into a cache on disk."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile at the first call for its argument types, or load what an earlier process compiled."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))
