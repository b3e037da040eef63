"""Arrays for compiled code without what numba does for their safety, which took about as long as the work on them.

Wherever an array is passed on, numba counts a reference, atomically: nobody counts those to `borrowed` arrays. And
numba unpacks every array of every call, in a tenth of a microsecond each: a *desk* is one array in which a tuple of
many lies unpacked, borrowed. Whoever keeps a desk keeps its arrays, and lays them out anew when one is replaced.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

Desk = npt.NDArray[np.int64]

_BYTES = 4096  # an unpacked array takes 56, and 16 more with each further dimension


def make_desk() -> Desk:
    return np.zeros(_BYTES // 8, np.int64)


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


def desk_for(sample: Any) -> tuple[Callable[[Desk, Any], None], Callable[[Desk], Any]]:
    """Two functions for compiled code: one lays a borrowed tuple of the sample's type on a desk, one reads it back."""
    kind = numba.typeof(sample)

    def place(context: Any, builder: Any, desk: Any, array: Any) -> Any:
        value_type = context.get_value_type(kind)
        assert context.get_abi_sizeof(value_type) <= _BYTES
        return builder.bitcast(context.make_array(desk)(context, builder, array).data, value_type.as_pointer())

    @_intrinsic
    def lay_out(context: Any, desk: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.store(arguments[1], place(context, builder, desk, arguments[0]))
            return context.get_dummy_value()

        return (types.none(desk, value), generate) if value == kind else None  # None: numba refuses the call

    @_intrinsic
    def laid_out(context: Any, desk: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(place(context, builder, desk, arguments[0]))

        return kind(desk), generate

    return lay_out, laid_out
