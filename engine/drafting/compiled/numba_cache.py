"""How the drafter's number work is compiled: by numba, into a cache on disk that later processes start from."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function that other compiled ones call; it becomes part of theirs.

    Calls pass arrays word by word: inlined, and with an argument block (see `arguments`), drafting took half as long.
    A tuple of some twenty arrays is better not passed on by what runs at every node: that took 5 % of the time a call.
    """
    return cast(F, numba.njit(nogil=True, error_model="numpy", forceinline=True)(function))


def entry_point(function: F) -> F:
    """Compile a function that Python calls, at its first call, or load what an earlier process compiled.

    numba's cache looks at the function's own file and at its closure only. An entry point must therefore be a closure
    over `sources_digest()` of all files that it is made of, so that a change in any of them compiles it anew.
    """
    return cast(F, numba.njit(nogil=True, error_model="numpy", cache=True)(function))


def sources_digest(*others: str) -> str:
    """A name for the present text of every file of `engine.drafting`, and of other files by their paths."""
    digest = hashlib.sha256()
    for path in (*sorted(Path(__file__).parents[1].rglob("*.py")), *map(Path, others)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
