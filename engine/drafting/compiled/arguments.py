"""Arrays for compiled code without what numba does for their safety, which took about as long as the work on them.

Wherever an array is passed on, numba counts a reference, atomically: nobody counts those to `borrowed` arrays. And
numba unpacks every array of every call, in a tenth of a microsecond each. In an *argument block* a tuple of many arrays
lies unpacked and borrowed, as the words of one array, which alone is passed. The words say where the arrays stand in
memory, so they must be written again whenever one is replaced: `ArgumentBlock` sees to it.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

Words = npt.NDArray[np.int64]
P = TypeVar("P", bound=tuple[Any, ...])

_BYTES = 4096  # an unpacked array takes 56, and 16 more with each further dimension


class ArgumentBlock(Generic[P]):
    """The words for some arrays in nested tuples, which never change: other arrays come in another tuple.

    It keeps the arrays that it names, so that nothing else needs to. A copy of it names none yet.
    """

    def __init__(self, write: Callable[[Words, P], None]) -> None:
        self._write = write
        self._words: Words = np.zeros(_BYTES // 8, np.int64)
        self._written: P | None = None

    def words_for(self, parts: P) -> Words:
        """What a compiled call that works on these arrays is passed; written anew where these are others."""
        if parts is not self._written:
            self._write(self._words, parts)
            self._written = parts
        return self._words

    def __deepcopy__(self, memo: dict[int, Any]) -> "ArgumentBlock[P]":
        return ArgumentBlock(self._write)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArgumentBlock, (self._write,)


def _intrinsic(function: Callable[..., Any]) -> Any:
    """A function of types alone that tells numba what a compiled call of its name is: its signature and its code."""
    return intrinsic(function)


@_intrinsic
def borrowed(context: Any, value: Any) -> Any:
    """The same array, or tuple of tuples of arrays, without a share in its memory: somebody else must keep that."""

    def disown(context: Any, builder: Any, kind: Any, value: Any) -> Any:
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value)
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            return array._getvalue()
        parts = zip(kind.types, cgutils.unpack_tuple(builder, value), strict=True)
        return context.make_tuple(builder, kind, [disown(context, builder, *part) for part in parts])

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return disown(context, builder, signature.return_type, arguments[0])

    return value(value), generate


def layout_of(sample: Any) -> tuple[Callable[[Words, Any], None], Callable[[Words], Any]]:
    """Two functions for compiled code: one writes a borrowed tuple of the sample's type as words, one reads it back."""
    kind = numba.typeof(sample)

    def location(context: Any, builder: Any, words: Any, array: Any) -> Any:
        value_type = context.get_value_type(kind)
        assert context.get_abi_sizeof(value_type) <= _BYTES
        return builder.bitcast(context.make_array(words)(context, builder, array).data, value_type.as_pointer())

    @_intrinsic
    def write(context: Any, words: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.store(arguments[1], location(context, builder, words, arguments[0]))
            return context.get_dummy_value()

        return (types.none(words, value), generate) if value == kind else None  # None: numba refuses the call

    @_intrinsic
    def read(context: Any, words: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(location(context, builder, words, arguments[0]))

        return kind(words), generate

    return write, read
