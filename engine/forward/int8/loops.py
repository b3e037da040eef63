"""Products of 8-bit weights with 16-bit rows, compiled by numba: the only file that knows the weights' order.

A sum of integers is the same in any order, and here none can overflow: a row's bits depend on nothing but that row and
the weights. LLVM finds the processor's own instruction for `_add_products` (two products and their sum: vpdpwssd,
vpmaddwd), so that nothing here names one. Weights are kept as (blocks, pairs of inputs, lanes, 2), where a block is
`lanes` outputs: each pair of a row's numbers is multiplied with a pair of every output at once. The callers are in
`product`. All that is compiled stays in this file: numba's cache goes by the file of an entry point alone.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDE, NARROW = 32, 16  # lanes: with vectors of 512 bits, and of fewer
_ROWS = 4  # that share one reading of the weights; sums of more would not stay in registers
_NEAR = 64  # rows whose numbers stay in the caches while the weights pass by
_LEAST = 1e-30  # a row of smaller numbers counts as one of zeros

_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


@intrinsic
def _pointer(context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@intrinsic(prefer_literal=True)
def _add_products(context: Any, weights: Any, row: Any, pairs: Any, sums: Any, lanes: Any, rows: Any) -> Any:
    """sums[r, lane] = the sum of row r times the weights of `lane`; literal `lanes` and `rows`, the rest addresses.

    `weights`: int8 (pairs, lanes, 2); `row`: int16 (rows, 2 * pairs); `sums`: int32 (rows, lanes).
    """
    size, count = lanes.literal_value, rows.literal_value
    unrolled = max(1, 4 // count)  # sums of their own, so that one addition need not wait for another

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        first_weight, first_number, num_pairs, first_sum = arguments[:4]
        sum_type, wide = ir.VectorType(_I32, size), ir.VectorType(_I32, 2 * size)
        bytes_type, words_type = ir.VectorType(_I8, 2 * size), ir.VectorType(_I16, 2 * size)
        even, odd = (ir.Constant(sum_type, list(range(start, 2 * size, 2))) for start in (0, 1))
        zeros = ir.Constant(sum_type, [0] * size)
        weights_at = builder.inttoptr(first_weight, bytes_type.as_pointer())
        stride = builder.mul(num_pairs, ir.Constant(_I64, 4))
        rows_at = [
            builder.inttoptr(builder.add(first_number, builder.mul(stride, ir.Constant(_I64, r))), _I32.as_pointer())
            for r in range(count)
        ]
        totals = [[cgutils.alloca_once_value(builder, zeros) for _ in range(count)] for _ in range(unrolled)]

        def add(pair: Any, totals: Any) -> None:
            weight = builder.sext(builder.load(builder.gep(weights_at, [pair]), align=1), words_type)
            weight = builder.sext(weight, wide)
            weight_parts = [builder.shuffle_vector(weight, weight, part) for part in (even, odd)]
            for row_at, total in zip(rows_at, totals, strict=True):
                number = builder.load(builder.gep(row_at, [pair]), align=4)
                lane = builder.insert_element(ir.Constant(sum_type, ir.Undefined), number, ir.Constant(_I32, 0))
                everywhere = builder.bitcast(builder.shuffle_vector(lane, lane, zeros), words_type)
                numbers = builder.sext(everywhere, wide)
                first, second = (
                    builder.mul(weight_part, builder.shuffle_vector(numbers, numbers, part))
                    for weight_part, part in zip(weight_parts, (even, odd), strict=True)
                )
                builder.store(builder.add(builder.load(total), builder.add(first, second)), total)

        step = ir.Constant(_I64, unrolled)
        whole = builder.sdiv(num_pairs, step)
        with cgutils.for_range(builder, whole) as loop:
            for i in range(unrolled):
                add(builder.add(builder.mul(loop.index, step), ir.Constant(_I64, i)), totals[i])
        with cgutils.for_range(builder, builder.srem(num_pairs, step)) as loop:
            add(builder.add(builder.mul(whole, step), loop.index), totals[0])
        sums_at = builder.inttoptr(first_sum, sum_type.as_pointer())
        for r in range(count):
            total = builder.load(totals[0][r])
            for others in totals[1:]:
                total = builder.add(total, builder.load(others[r]))
            builder.store(total, builder.gep(sums_at, [ir.Constant(_I64, r)]), align=4)

    return types.void(*[types.intp] * 4, lanes, rows), generate


@numba.njit(fastmath={"nnan", "nsz"}, error_model="numpy")
def _greatest(row: Any) -> Any:
    top = np.float32(0.0)
    for i in range(row.size):
        x = abs(row[i])
        top = x if x > top else top
    return top


@numba.njit(fastmath={"reassoc"}, error_model="numpy")
def _zero_or_nan(row: Any) -> Any:
    """0 where every number is finite."""
    total = np.float32(0.0)
    for i in range(row.size):
        total += row[i] - row[i]
    return total


@numba.njit(error_model="numpy")
def _quantise(x: Any, numbers: Any, scales: Any, limit: Any) -> Any:
    """Rows of float32 as integers up to `limit` and a scale each, which is NaN where a number is not finite."""
    size = x.shape[1]
    for row in range(x.shape[0]):
        source, target = x[row], numbers[row]
        top = max(_greatest(source), np.float32(_LEAST))
        factor = np.float32(limit) / top
        scales[row] = top / np.float32(limit) + _zero_or_nan(source)
        for i in range(size):
            target[i] = np.int16(np.int32(np.rint(source[i] * factor)))
        for i in range(size, target.size):
            target[i] = 0


@numba.njit(error_model="numpy")
def _sums(weights: Any, row: Any, pairs: Any, sums: Any, lanes: Any, rows: Any) -> Any:
    if lanes == WIDE:
        if rows == 1:
            _add_products(weights, row, pairs, sums, WIDE, 1)
        elif rows == 2:
            _add_products(weights, row, pairs, sums, WIDE, 2)
        elif rows == 3:
            _add_products(weights, row, pairs, sums, WIDE, 3)
        else:
            _add_products(weights, row, pairs, sums, WIDE, 4)
    elif rows == 1:
        _add_products(weights, row, pairs, sums, NARROW, 1)
    elif rows == 2:
        _add_products(weights, row, pairs, sums, NARROW, 2)
    elif rows == 3:
        _add_products(weights, row, pairs, sums, NARROW, 3)
    else:
        _add_products(weights, row, pairs, sums, NARROW, 4)


@numba.njit(error_model="numpy")
def _blocks(weights: Any, numbers: Any, row_scales: Any, scales: Any, bias: Any, out: Any, begin: Any, end: Any) -> Any:
    """Outputs of the blocks from `begin` to `end`."""
    rows, pairs, lanes = numbers.shape[0], weights.shape[1], weights.shape[2]
    sums = np.empty((_ROWS, lanes), np.int32)
    for near in range(0, rows, _NEAR):
        for block in range(begin, end):
            first = block * lanes
            count = min(lanes, out.shape[1] - first)
            for row in range(near, min(near + _NEAR, rows), _ROWS):
                together = min(_ROWS, rows - row)
                _sums(weights[block].ctypes.data, numbers[row].ctypes.data, pairs, sums.ctypes.data, lanes, together)
                for r in range(together):
                    y, scale = out[row + r], row_scales[row + r]
                    for i in range(count):
                        y[first + i] = np.float32(sums[r, i]) * (scale * scales[first + i]) + bias[first + i]


# The entry points: addresses of contiguous tensors. `shape`: (blocks, pairs, lanes) of the weights.


@numba.njit(error_model="numpy")
def _arrays(shape, weights, scales, bias, x, rows, inputs, out, outputs):
    blocks, pairs, lanes = shape
    return (
        numba.carray(_pointer(weights), (blocks, pairs, lanes, 2), np.int8),
        numba.carray(_pointer(scales), blocks * lanes, np.float32),
        numba.carray(_pointer(bias), blocks * lanes, np.float32),
        numba.carray(_pointer(x), (rows, inputs), np.float32),
        numba.carray(_pointer(out), (rows, outputs), np.float32),
        np.empty((rows, 2 * pairs), np.int16),
        np.empty(rows, np.float32),
    )


@numba.njit(error_model="numpy", nogil=True, cache=True)
def multiply(shape, weights, scales, bias, x, rows, inputs, limit, out, outputs):
    w, own, b, given, y, numbers, row_scales = _arrays(shape, weights, scales, bias, x, rows, inputs, out, outputs)
    _quantise(given, numbers, row_scales, limit)
    _blocks(w, numbers, row_scales, own, b, y, 0, shape[0])


@numba.njit(error_model="numpy", nogil=True, cache=True, parallel=True)
def multiply_together(shape, weights, scales, bias, x, rows, inputs, limit, out, outputs, threads):
    w, own, b, given, y, numbers, row_scales = _arrays(shape, weights, scales, bias, x, rows, inputs, out, outputs)
    if rows > 2 * threads:
        for part in numba.prange(threads):
            begin, end = rows * part // threads, rows * (part + 1) // threads
            _quantise(given[begin:end], numbers[begin:end], row_scales[begin:end], limit)
    else:
        _quantise(given, numbers, row_scales, limit)
    for part in numba.prange(threads):
        _blocks(w, numbers, row_scales, own, b, y, shape[0] * part // threads, shape[0] * (part + 1) // threads)
