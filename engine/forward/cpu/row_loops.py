"""Loops over the memory of tensors, compiled by numba: what happens to one row at a time on a processor.

A row's sums are taken in an order that its length alone fixes, so its bits depend neither on the number of rows nor on
its position among them. bfloat16 is widened to float32 on the way in and rounded once on the way out. The callers are
in `row_operations`. All that is compiled stays in this file: numba's cache goes by the file of an entry point alone.
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

_QUICK = {"reassoc", "contract", "nsz"}  # sums in parallel lanes, fused multiply-adds; NaN stays NaN
_BLOCK = 128  # of logits, in looking for the greatest
_LOG2E, _LN2 = 1.44269504, 0.69314718


# What numba lacks: memory by its address, and floats by their bits


@intrinsic
def _pointer(context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@intrinsic
def _as_float(context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.uint32), generate


@intrinsic
def _as_bits(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), generate


@intrinsic
def _larger(context: Any, one: Any, other: Any) -> Any:
    """The larger of two floats, by a select that LLVM may vectorise; numba's own carries no flags that allow it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_larger = builder.fcmp_ordered(">", *arguments, flags=("nnan", "nsz"))
        return builder.select(is_larger, *arguments, flags=("nnan", "nsz"))

    return types.float32(types.float32, types.float32), generate


def _read(array, i):
    """Read an element as float32. For compiled code alone: `_read_any` says what that is for an array's type."""


def _write(array, i, value):
    """Store a float32, rounded to what the array holds: to the nearest, ties to even. For compiled code alone."""


@overload(_read)
def _read_any(array, i):
    if array.dtype == types.uint16:
        return lambda array, i: _as_float(np.uint32(np.uint32(array[i]) << np.uint32(16)))
    return lambda array, i: array[i]


@overload(_write)
def _write_any(array, i, value):
    if array.dtype == types.uint16:

        def write(array, i, value):
            bits = _as_bits(np.float32(value))
            up = np.uint32(bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            array[i] = np.uint16(up) if value == value else np.uint16(0x7FC0)

    else:

        def write(array, i, value):
            array[i] = value

    return write


@numba.njit(fastmath=_QUICK, error_model="numpy")
def _exp(x: Any) -> Any:
    """e**x in float32, to some 1e-6 of it, in a form that fills vector lanes (Cephes' polynomial)."""
    x = x if x > np.float32(-87.0) else np.float32(-87.0)
    x = x if x < np.float32(88.0) else np.float32(88.0)
    whole = np.floor(x * np.float32(_LOG2E) + np.float32(0.5))
    r = x - whole * np.float32(_LN2)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    return p * _as_float(np.uint32(np.uint32(np.int32(whole)) + np.uint32(127)) << np.uint32(23))


@numba.njit(fastmath=_QUICK, error_model="numpy")
def _shrink(row: Any, size: Any, epsilon: Any) -> Any:
    total = np.float32(0.0)
    for i in range(size):
        x = _read(row, i)
        total += x * x
    return np.float32(1.0) / np.sqrt(total / np.float32(size) + np.float32(epsilon))


# The entry points: addresses of contiguous tensors. `sample` is an empty array of the numbers' type.


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def add_norm(sample, stream, added, branch, branch_epsilon, scale, epsilon, kept, normed, rows, size):
    x = numba.carray(_pointer(stream), (rows, size), sample.dtype)
    out = numba.carray(_pointer(normed), (rows, size), sample.dtype)
    weight = numba.carray(_pointer(scale), size, np.float32)
    for row in range(rows):
        here = x[row]
        if added:
            sums = numba.carray(_pointer(kept), (rows, size), sample.dtype)[row]
            y = numba.carray(_pointer(added), (rows, size), sample.dtype)[row]
            if branch:
                its_weight = numba.carray(_pointer(branch), size, np.float32)
                shrink = _shrink(y, size, branch_epsilon)
                for i in range(size):
                    _write(sums, i, _read(here, i) + _read(y, i) * shrink * its_weight[i])
            else:
                for i in range(size):
                    _write(sums, i, _read(here, i) + _read(y, i))
            here = sums
        shrink = _shrink(here, size, epsilon)
        result = out[row]
        for i in range(size):
            _write(result, i, _read(here, i) * shrink * weight[i])


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def gate(sample, both, out, rows, size, is_silu):
    result = numba.carray(_pointer(out), (rows, size), sample.dtype)
    for row in range(rows):
        begin = both + row * 2 * size * sample.itemsize
        gates = numba.carray(_pointer(begin), size, sample.dtype)
        ups = numba.carray(_pointer(begin + size * sample.itemsize), size, sample.dtype)
        its = result[row]
        for i in range(size):
            x = _read(gates, i)
            # gelu: 0.5 x (1 + tanh z) = x sigmoid(2 z)
            z = x if is_silu else np.float32(1.59576912) * (x + np.float32(0.044715) * x * x * x)
            _write(its, i, x / (np.float32(1.0) + _exp(-z)) * _read(ups, i))


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def turn(positions, rows, frequencies, turned, scaling, cosines, sines):
    at_positions = numba.carray(_pointer(positions), rows, np.int64)
    speeds = numba.carray(_pointer(frequencies), turned, np.float32)
    cos = numba.carray(_pointer(cosines), (rows, turned), np.float32)
    sin = numba.carray(_pointer(sines), (rows, turned), np.float32)
    half = turned // 2
    for row in range(rows):
        for i in range(half):
            angle = np.float32(at_positions[row]) * speeds[i]
            c, s = np.cos(angle) * np.float32(scaling), np.sin(angle) * np.float32(scaling)
            cos[row, i] = cos[row, i + half] = c
            sin[row, i], sin[row, i + half] = -s, s


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def store_rows(
    sample, joined, rows, heads, kv_heads, size, query_scale, key_scale, epsilon, cosines, sines, turned,
    slots, keys, values, capacity, queries, query_rows,
):  # fmt: skip
    product = numba.carray(_pointer(joined), (rows, heads + 2 * kv_heads, size), sample.dtype)
    all_keys = numba.carray(_pointer(keys), (kv_heads, capacity, size), sample.dtype)
    all_values = numba.carray(_pointer(values), (kv_heads, capacity, size), sample.dtype)
    out = numba.carray(_pointer(queries), (kv_heads, query_rows, size), sample.dtype)
    written = numba.carray(_pointer(slots), rows, np.int64)
    groups, half = heads // kv_heads, turned // 2
    x = np.empty(size, np.float32)
    for row in range(rows):
        slot = written[row]
        for head in range(heads + kv_heads):
            is_key = head >= heads
            if is_key and slot < 0:
                continue
            source = product[row, head]
            target = all_keys[head - heads, slot] if is_key else out[head // groups, head % groups * rows + row]
            for i in range(size):
                x[i] = _read(source, i)
            scales = key_scale if is_key else query_scale
            if scales:
                scale = numba.carray(_pointer(scales), size, np.float32)
                shrink = _shrink(source, size, epsilon)
                for i in range(size):
                    x[i] *= shrink * scale[i]
            if turned:
                cos = numba.carray(_pointer(cosines), (rows, turned), np.float32)[row]
                sin = numba.carray(_pointer(sines), (rows, turned), np.float32)[row]
                for i in range(half):
                    first, second = x[i], x[i + half]
                    _write(target, i, first * cos[i] + second * sin[i])
                    _write(target, i + half, second * cos[i + half] + first * sin[i + half])
            for i in range(turned, size):
                _write(target, i, x[i])
        if slot >= 0:
            for head in range(kv_heads):
                all_values[head, slot] = product[row, heads + kv_heads + head]
    for head in range(kv_heads):
        for i in range(groups * rows, query_rows):
            out[head, i] = out[head, groups * rows - 1]


@numba.njit(fastmath=_QUICK | {"nnan"}, error_model="numpy")
def _about_exp(x: Any) -> Any:
    """e**x in float32 to 4 % of it: x becomes the exponent, its fraction the digits (Schraudolph, 1999)."""
    bits = x * np.float32(_LOG2E * 2**23) + np.float32(127 * 2**23 - 366393)
    return _as_float(np.uint32(np.int32(bits if bits > np.float32(0.0) else np.float32(0.0))))


@numba.njit(fastmath=_QUICK | {"nnan"}, error_model="numpy")
def _greatest(scores: Any) -> Any:
    best = np.float32(-np.inf)
    for i in range(scores.size):
        best = _larger(scores[i], best)
    return best


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def most_likely(sample, logits, rows, size, top_ids, top_chances):
    given = numba.carray(_pointer(logits), (rows, size), sample.dtype)
    scores = np.empty(size, np.float32)
    blocks = (size + _BLOCK - 1) // _BLOCK
    greatest = np.empty(blocks, np.float32)  # of each block, of what is not taken yet
    for row in range(rows):
        here = given[row]
        for i in range(size):
            scores[i] = _read(here, i)
        for block in range(blocks):
            greatest[block] = _greatest(scores[block * _BLOCK : min((block + 1) * _BLOCK, size)])
        top = greatest.max()
        total = np.float32(0.0)
        for i in range(size):
            total += _about_exp(scores[i] - top)
        for rank in range(top_ids.shape[1]):
            block = greatest.argmax()
            begin, end = block * _BLOCK, min((block + 1) * _BLOCK, size)
            i = begin
            while i < end - 1 and scores[i] != greatest[block]:
                i += 1
            top_ids[row, rank] = i
            top_chances[row, rank] = _exp(scores[i] - top) / total
            scores[i] = -np.inf
            greatest[block] = _greatest(scores[begin:end])
