"""Attention on a processor, compiled by numba.

torch shares even the smallest attention among threads: of a small model's round, waking them takes longer than the
products of 8-bit weights. Here four queries at a time pass by the keys and values of one head. A query's sums are taken
in an order that positions in the cache alone fix: scores over a head's numbers, weights in `_LANES` lanes of slots,
values slot by slot; a hidden slot adds an exact zero. So a row's bits do not depend on what stands beside it, nor on
how many slots behind it are read. The caller is `row_operations`. All that is compiled stays in this file: numba's
cache goes by the file of an entry point alone.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

VECTOR = 16  # numbers; a head must have a multiple of it
_LANES = 32
_TOGETHER = 4  # queries that share one reading of keys and values
_LOG2E, _LN2 = 1.44269504, 0.69314718

_I16, _I32, _I64, _FLOAT = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, VECTOR)
_FUSED = ("contract",)


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


# Two loops over vectors, whose order of sums is written out here


def _index(value: int) -> Any:
    return ir.Constant(_I64, value)


def _load(builder: Any, address: Any, at: Any, half: bool) -> Any:
    """VECTOR numbers in float32 from the `at`-th on; `half`: they are bfloat16."""
    if not half:
        return builder.load(builder.bitcast(builder.gep(address, [at]), _FLOATS.as_pointer()), align=4)
    place = builder.bitcast(builder.gep(address, [at]), ir.VectorType(_I16, VECTOR).as_pointer())
    bits = builder.zext(builder.load(place, align=2), ir.VectorType(_I32, VECTOR))
    return builder.bitcast(builder.shl(bits, ir.Constant(bits.type, [16] * VECTOR)), _FLOATS)


def _add_product(builder: Any, one: Any, other: Any, total: Any) -> None:
    product = builder.fmul(one, other, flags=_FUSED)
    builder.store(builder.fadd(builder.load(total), product, flags=_FUSED), total)


@intrinsic(prefer_literal=True)
def _scores(
    context: Any, queries: Any, keys: Any, size: Any, slots: Any, scores: Any, stride: Any, count: Any, half: Any
) -> Any:
    """scores[q, slot] = query q times the key of each slot; literal `count` of queries and `half`, else addresses.

    `queries`: float32 (count, size); `keys`: (slots, size); `scores`: float32 (count, stride).
    """
    num_queries, is_half = count.literal_value, bool(half.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        first_query, first_key, width, num_slots, first_score, row = arguments[:6]
        query_at = builder.inttoptr(first_query, _FLOAT.as_pointer())
        key_at = builder.inttoptr(first_key, (_I16 if is_half else _FLOAT).as_pointer())
        score_at = builder.inttoptr(first_score, _FLOAT.as_pointer())
        totals = [cgutils.alloca_once(builder, _FLOATS) for _ in range(num_queries)]
        name = f"llvm.vector.reduce.fadd.v{VECTOR}f32"
        add_up = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_FLOAT, [_FLOAT, _FLOATS]), name)
        with cgutils.for_range(builder, num_slots) as slot:
            for total in totals:
                builder.store(ir.Constant(_FLOATS, [0.0] * VECTOR), total)
            with cgutils.for_range(builder, builder.sdiv(width, _index(VECTOR))) as part:
                offset = builder.mul(part.index, _index(VECTOR))
                key = _load(builder, key_at, builder.add(builder.mul(slot.index, width), offset), is_half)
                for q, total in enumerate(totals):
                    place = builder.add(builder.mul(width, _index(q)), offset)
                    _add_product(builder, _load(builder, query_at, place, False), key, total)
            for q, total in enumerate(totals):
                score = builder.call(add_up, [ir.Constant(_FLOAT, -0.0), builder.load(total)], fastmath=("reassoc",))
                place = builder.add(builder.mul(row, _index(q)), slot.index)
                builder.store(score, builder.gep(score_at, [place]))

    return types.void(*[types.intp] * 6, count, half), generate


@intrinsic(prefer_literal=True)
def _mix(
    context: Any, weights: Any, stride: Any, values: Any, size: Any, slots: Any, out: Any, count: Any, half: Any
) -> Any:
    """out[q] = the sum over slots of weights[q, slot] times its values; literal `count` of queries and `half`.

    `weights`: float32 (count, stride); `values`: (slots, size); `out`: float32 (count, size).
    """
    num_queries, is_half = count.literal_value, bool(half.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        first_weight, row, first_value, width, num_slots, first_out = arguments[:6]
        weight_at = builder.inttoptr(first_weight, _FLOAT.as_pointer())
        value_at = builder.inttoptr(first_value, (_I16 if is_half else _FLOAT).as_pointer())
        out_at = builder.inttoptr(first_out, _FLOAT.as_pointer())
        totals = [cgutils.alloca_once(builder, _FLOATS) for _ in range(num_queries)]
        everywhere = ir.Constant(ir.VectorType(_I32, VECTOR), [0] * VECTOR)
        with cgutils.for_range(builder, builder.sdiv(width, _index(VECTOR))) as part:
            offset = builder.mul(part.index, _index(VECTOR))
            for total in totals:
                builder.store(ir.Constant(_FLOATS, [0.0] * VECTOR), total)
            with cgutils.for_range(builder, num_slots) as slot:
                value = _load(builder, value_at, builder.add(builder.mul(slot.index, width), offset), is_half)
                for q, total in enumerate(totals):
                    place = builder.add(builder.mul(row, _index(q)), slot.index)
                    weight = builder.load(builder.gep(weight_at, [place]))
                    lane = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), weight, ir.Constant(_I32, 0))
                    _add_product(builder, builder.shuffle_vector(lane, lane, everywhere), value, total)
            for q, total in enumerate(totals):
                place = builder.gep(out_at, [builder.add(builder.mul(width, _index(q)), offset)])
                builder.store(builder.load(total), builder.bitcast(place, _FLOATS.as_pointer()), align=4)

    return types.void(*[types.intp] * 6, count, half), generate


# The softmax between them, one query at a time


@numba.njit(fastmath={"contract", "nsz"}, error_model="numpy")
def _exp(x: Any) -> Any:
    """e**x in float32 for x <= 0, to some 1e-6 of it (Cephes' polynomial)."""
    x = x if x > np.float32(-87.0) else np.float32(-87.0)
    whole = np.floor(x * np.float32(_LOG2E) + np.float32(0.5))
    r = x - whole * np.float32(_LN2)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    return p * _as_float(np.uint32(np.uint32(np.int32(whole)) + np.uint32(127)) << np.uint32(23))


@numba.njit(fastmath={"nnan", "nsz"}, error_model="numpy")
def _greatest(scores: Any, hidden: Any) -> Any:
    top = np.float32(-np.inf)
    for slot in range(scores.size):
        score = np.float32(-np.inf) if hidden[slot] else scores[slot]
        top = score if score > top else top
    return top


@numba.njit(error_model="numpy")
def _weigh(scores: Any, hidden: Any, scaling: Any, lanes: Any) -> Any:
    """Turn a query's scores into weights; returns what they add up to, 1 where the query sees nothing.

    Padding beyond a block of slots sees nothing in a layer with a window; as numbers that are none, its keys and values
    would spoil the rows that come after it.
    """
    top = _greatest(scores, hidden)
    if top == np.float32(-np.inf):
        scores[:] = 0
        return np.float32(1.0)
    lanes[:] = 0
    for first in range(0, scores.size, _LANES):
        some, their = scores[first : first + _LANES], hidden[first : first + _LANES]
        for lane in range(_LANES):
            weight = _exp((some[lane] - top) * scaling)
            weight = np.float32(0.0) if their[lane] else weight
            some[lane] = weight
            lanes[lane] += weight
    total = np.float32(0.0)
    for lane in range(_LANES):
        total += lanes[lane]
    return total


@numba.njit(error_model="numpy")
def _reach(hidden: Any) -> Any:
    """Slots up to the last one that any row sees, in whole lanes."""
    reach = 0
    for row in range(hidden.shape[0]):
        slot = hidden.shape[1]
        while slot > reach and hidden[row, slot - 1]:
            slot -= 1
        reach = max(reach, slot)
    return -(-reach // _LANES) * _LANES


@numba.njit(error_model="numpy")
def _attend(queries, keys, values, half, head_bytes, hidden, scaling, heads, out, begin, end):
    """What queries (kv_heads, groups * rows, size) see, from the `begin`-th four of them on."""
    kv_heads, num_queries, size = queries.shape
    rows, groups, fours = hidden.shape[0], heads // kv_heads, -(-num_queries // _TOGETHER)
    reach = _reach(hidden)
    asked, mixed = np.zeros((2, _TOGETHER, size), np.float32)
    scores, totals, lanes = np.zeros((_TOGETHER, reach), np.float32), np.ones(_TOGETHER), np.empty(_LANES, np.float32)
    at_asked, at_scores, at_mixed = asked.ctypes.data, scores.ctypes.data, mixed.ctypes.data
    for four in range(begin, end):
        head, first = four // fours, four % fours * _TOGETHER
        at_keys, at_values = keys + head * head_bytes, values + head * head_bytes
        count = min(_TOGETHER, num_queries - first)
        asked[:count] = queries[head, first : first + count]
        if half:
            if count == 1:
                _scores(at_asked, at_keys, size, reach, at_scores, reach, 1, 1)
            else:
                _scores(at_asked, at_keys, size, reach, at_scores, reach, 4, 1)
        elif count == 1:
            _scores(at_asked, at_keys, size, reach, at_scores, reach, 1, 0)
        else:
            _scores(at_asked, at_keys, size, reach, at_scores, reach, 4, 0)
        for i in range(count):
            totals[i] = _weigh(scores[i], hidden[(first + i) % rows, :reach], np.float32(scaling), lanes)
        if half:
            if count == 1:
                _mix(at_scores, reach, at_values, size, reach, at_mixed, 1, 1)
            else:
                _mix(at_scores, reach, at_values, size, reach, at_mixed, 4, 1)
        elif count == 1:
            _mix(at_scores, reach, at_values, size, reach, at_mixed, 1, 0)
        else:
            _mix(at_scores, reach, at_values, size, reach, at_mixed, 4, 0)
        for i in range(count):
            group, row = (first + i) // rows, (first + i) % rows
            y, shrink = out[row, head * groups + group], np.float32(1.0) / np.float32(totals[i])
            for j in range(size):
                y[j] = mixed[i, j] * shrink


# The entry points: addresses of contiguous tensors. `shape`: kv_heads, queries of each, a head's numbers.


@numba.njit(error_model="numpy")
def _arrays(shape, queries, hidden, rows, slots, out, heads):
    return (
        numba.carray(_pointer(queries), shape, np.float32),
        numba.carray(_pointer(hidden), (rows, slots), np.bool_),
        numba.carray(_pointer(out), (rows, heads, shape[2]), np.float32),
    )


@numba.njit(error_model="numpy", nogil=True, cache=True)
def attend(shape, queries, keys, values, half, head_bytes, hidden, rows, slots, scaling, out, heads):
    asked, unseen, y = _arrays(shape, queries, hidden, rows, slots, out, heads)
    fours = shape[0] * -(-shape[1] // _TOGETHER)
    _attend(asked, keys, values, half, head_bytes, unseen, scaling, heads, y, 0, fours)


@numba.njit(error_model="numpy", nogil=True, cache=True, parallel=True)
def attend_together(shape, queries, keys, values, half, head_bytes, hidden, rows, slots, scaling, out, heads, threads):
    asked, unseen, y = _arrays(shape, queries, hidden, rows, slots, out, heads)
    fours = shape[0] * -(-shape[1] // _TOGETHER)
    for part in numba.prange(threads):
        begin, end = fours * part // threads, fours * (part + 1) // threads
        _attend(asked, keys, values, half, head_bytes, unseen, scaling, heads, y, begin, end)
