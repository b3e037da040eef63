"""What happens to one row at a time between a round's products, on a processor: each in one compiled call.

torch takes ten calls for an RMSNorm and a dozen for a rotation; with a small model they outweigh the products. Here
each is one loop by numba over the tensors' memory. A row's sums are taken in an order that its length alone fixes, so
its bits depend neither on the number of rows nor on its place. bfloat16 is widened to float32 on the way in and rounded
once on the way out. Knows no models; where it does not apply, `body` takes torch's own functions.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

_SAMPLES = {torch.bfloat16: np.empty(0, np.uint16), torch.float32: np.empty(0, np.float32)}
_QUICK = {"reassoc", "contract", "nsz"}  # sums in parallel lanes, fused multiply-adds; NaN stays NaN
_BLOCK = 128  # of logits, in looking for the greatest
_LOG2E, _LN2 = 1.44269504, 0.69314718


def applies(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether these functions work on tensors of this kind."""
    return device.type == "cpu" and dtype in _SAMPLES


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
    """The larger of two floats, by a select that LLVM may take many at a time: numba's own lacks the leave."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_larger = builder.fcmp_ordered(">", *arguments, flags=("nnan", "nsz"))
        return builder.select(is_larger, *arguments, flags=("nnan", "nsz"))

    return types.float32(types.float32, types.float32), generate


def _read(array, place):
    """An element as float32. A name for compiled code, which takes what `_read_any` gives for the array's type."""


def _write(array, place, value):
    """Store a float32, rounded to what the array holds: to the nearest, ties to even. A name, as `_read` is."""


@overload(_read)
def _read_any(array, place):
    if array.dtype == types.uint16:
        return lambda array, place: _as_float(np.uint32(np.uint32(array[place]) << np.uint32(16)))
    return lambda array, place: array[place]


@overload(_write)
def _write_any(array, place, value):
    if array.dtype == types.uint16:

        def write(array, place, value):
            bits = _as_bits(np.float32(value))
            up = np.uint32(bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            array[place] = np.uint16(up) if value == value else np.uint16(0x7FC0)

    else:

        def write(array, place, value):
            array[place] = value

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
    for place in range(size):
        x = _read(row, place)
        total += x * x
    return np.float32(1.0) / np.sqrt(total / np.float32(size) + np.float32(epsilon))


# The entry points. `sample` is empty and says how the tensors' numbers are kept.


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def _add_norm(sample, stream, added, branch, branch_epsilon, scale, epsilon, kept, normed, rows, size):
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
                for place in range(size):
                    _write(sums, place, _read(here, place) + _read(y, place) * shrink * its_weight[place])
            else:
                for place in range(size):
                    _write(sums, place, _read(here, place) + _read(y, place))
            here = sums
        shrink = _shrink(here, size, epsilon)
        result = out[row]
        for place in range(size):
            _write(result, place, _read(here, place) * shrink * weight[place])


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def _gate(sample, both, out, rows, size, is_silu):
    result = numba.carray(_pointer(out), (rows, size), sample.dtype)
    for row in range(rows):
        begin = both + row * 2 * size * sample.itemsize
        gates = numba.carray(_pointer(begin), size, sample.dtype)
        ups = numba.carray(_pointer(begin + size * sample.itemsize), size, sample.dtype)
        its = result[row]
        for place in range(size):
            x = _read(gates, place)
            # gelu: 0.5 x (1 + tanh z) = x sigmoid(2 z)
            z = x if is_silu else np.float32(1.59576912) * (x + np.float32(0.044715) * x * x * x)
            _write(its, place, x / (np.float32(1.0) + _exp(-z)) * _read(ups, place))


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def _turn(positions, rows, frequencies, turned, scaling, cosines, sines):
    places = numba.carray(_pointer(positions), rows, np.int64)
    speeds = numba.carray(_pointer(frequencies), turned, np.float32)
    cos = numba.carray(_pointer(cosines), (rows, turned), np.float32)
    sin = numba.carray(_pointer(sines), (rows, turned), np.float32)
    half = turned // 2
    for row in range(rows):
        for place in range(half):
            angle = np.float32(places[row]) * speeds[place]
            c, s = np.cos(angle) * np.float32(scaling), np.sin(angle) * np.float32(scaling)
            cos[row, place] = cos[row, place + half] = c
            sin[row, place], sin[row, place + half] = -s, s


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def _store_rows(
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
            for place in range(size):
                x[place] = _read(source, place)
            scales = key_scale if is_key else query_scale
            if scales:
                scale = numba.carray(_pointer(scales), size, np.float32)
                shrink = _shrink(source, size, epsilon)
                for place in range(size):
                    x[place] *= shrink * scale[place]
            if turned:
                cos = numba.carray(_pointer(cosines), (rows, turned), np.float32)[row]
                sin = numba.carray(_pointer(sines), (rows, turned), np.float32)[row]
                for place in range(half):
                    first, second = x[place], x[place + half]
                    _write(target, place, first * cos[place] + second * sin[place])
                    _write(target, place + half, second * cos[place + half] + first * sin[place + half])
            for place in range(turned, size):
                _write(target, place, x[place])
        if slot >= 0:
            for head in range(kv_heads):
                all_values[head, slot] = product[row, heads + kv_heads + head]
    for head in range(kv_heads):
        for place in range(groups * rows, query_rows):
            out[head, place] = out[head, groups * rows - 1]


@numba.njit(fastmath=_QUICK | {"nnan"}, error_model="numpy")
def _about_exp(x: Any) -> Any:
    """e**x in float32 to 4 % of it: x becomes the exponent, its fraction the digits (Schraudolph, 1999)."""
    bits = x * np.float32(_LOG2E * 2**23) + np.float32(127 * 2**23 - 366393)
    return _as_float(np.uint32(np.int32(bits if bits > np.float32(0.0) else np.float32(0.0))))


@numba.njit(fastmath=_QUICK | {"nnan"}, error_model="numpy")
def _greatest(scores: Any) -> Any:
    best = np.float32(-np.inf)
    for place in range(scores.size):
        best = _larger(scores[place], best)
    return best


@numba.njit(fastmath=_QUICK, error_model="numpy", nogil=True, cache=True)
def _likeliest(sample, logits, rows, size, top_ids, top_chances):
    given = numba.carray(_pointer(logits), (rows, size), sample.dtype)
    scores = np.empty(size, np.float32)
    blocks = (size + _BLOCK - 1) // _BLOCK
    greatest = np.empty(blocks, np.float32)  # of each block, of what is not taken yet
    for row in range(rows):
        here = given[row]
        for place in range(size):
            scores[place] = _read(here, place)
        for block in range(blocks):
            greatest[block] = _greatest(scores[block * _BLOCK : min((block + 1) * _BLOCK, size)])
        top = greatest.max()
        total = np.float32(0.0)
        for place in range(size):
            total += _about_exp(scores[place] - top)
        for rank in range(top_ids.shape[1]):
            block = greatest.argmax()
            begin, end = block * _BLOCK, min((block + 1) * _BLOCK, size)
            place = begin
            while place < end - 1 and scores[place] != greatest[block]:
                place += 1
            top_ids[row, rank] = place
            top_chances[row, rank] = _exp(scores[place] - top) / total
            scores[place] = -np.inf
            greatest[block] = _greatest(scores[begin:end])


# The same for tensors


def add_norm(
    stream: torch.Tensor,
    added: torch.Tensor | None,
    branch: tuple[torch.Tensor, float] | None,
    norm: tuple[torch.Tensor, float],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add a layer's output to the stream, both (rows, size), and RMSNorm (arXiv 1910.07467) the sum.

    Returns the new stream and the normed rows. `norm`: scale (size,) in float32 and epsilon; `branch`: those of the
    norm that Gemma puts on what is added. Without `added` the stream stays.
    """
    rows, size = stream.shape
    normed = torch.empty_like(stream)
    kept = stream if added is None else torch.empty_like(stream)
    _add_norm(
        _SAMPLES[stream.dtype],
        stream.data_ptr(),
        0 if added is None else added.data_ptr(),
        branch[0].data_ptr() if branch else 0,
        branch[1] if branch else 0.0,
        norm[0].data_ptr(),
        norm[1],
        kept.data_ptr(),
        normed.data_ptr(),
        rows,
        size,
    )
    return kept, normed


def gate(both: torch.Tensor, activation: str) -> torch.Tensor:
    """activation(gate) * up, (rows, size), of the product (rows, 2 * size): gate, then up."""
    rows, size = both.shape[0], both.shape[1] // 2
    out = both.new_empty((rows, size))
    _gate(_SAMPLES[both.dtype], both.data_ptr(), out.data_ptr(), rows, size, activation == "silu")
    return out


def turn(positions: torch.Tensor, frequencies: torch.Tensor, scaling: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (rows, turned) in float32, the sines of the first half with the rotation's minus
    (arXiv 2104.09864), at `positions` (rows,) for `frequencies` (turned,), each there twice."""
    rows, turned = positions.shape[0], frequencies.shape[0]
    cos, sin = frequencies.new_empty((rows, turned)), frequencies.new_empty((rows, turned))
    _turn(positions.data_ptr(), rows, frequencies.data_ptr(), turned, scaling, cos.data_ptr(), sin.data_ptr())
    return cos, sin


def store_rows(
    joined: torch.Tensor,
    heads: int,
    norms: tuple[torch.Tensor, torch.Tensor, float] | None,
    turned: tuple[torch.Tensor, torch.Tensor] | None,
    slots: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    least: int,
) -> torch.Tensor:
    """Queries of the product `joined` (rows, queries + keys + values), packed (kv_heads, groups * rows, size) and at
    least `least` of them a key head, the last one repeated; its keys and values go into `keys` and `values`
    (kv_heads, capacity, size) at `slots` (rows,), those at -1 nowhere.

    `norms`: scales (size,) in float32 of the queries' and keys' RMSNorm, and epsilon. `turned`: what `turn` gives.
    """
    rows = joined.shape[0]
    kv_heads, capacity, size = keys.shape
    query_rows = max(least, heads // kv_heads * rows)
    queries = joined.new_empty((kv_heads, query_rows, size))
    _store_rows(
        _SAMPLES[joined.dtype],
        joined.data_ptr(),
        rows,
        heads,
        kv_heads,
        size,
        norms[0].data_ptr() if norms else 0,
        norms[1].data_ptr() if norms else 0,
        norms[2] if norms else 0.0,
        turned[0].data_ptr() if turned else 0,
        turned[1].data_ptr() if turned else 0,
        turned[0].shape[1] if turned else 0,
        slots.data_ptr(),
        keys.data_ptr(),
        values.data_ptr(),
        capacity,
        queries.data_ptr(),
        query_rows,
    )
    return queries


def likeliest(logits: torch.Tensor, num_top: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The likeliest tokens of each row of logits (rows, vocab) and their probabilities to 4 %, (rows, num_top),
    likeliest first; of equal ones the lower ids. So many of them must be possible at all."""
    logits = logits.contiguous()
    rows, size = logits.shape
    top_ids, top_chances = np.empty((rows, num_top), np.int32), np.empty((rows, num_top), np.float32)
    _likeliest(_SAMPLES[logits.dtype], logits.data_ptr(), rows, size, top_ids, top_chances)
    return top_ids, top_chances
