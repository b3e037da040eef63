"""What happens to one row at a time between a round's products, on a processor: one compiled call each.

torch takes ten calls for an RMSNorm and a dozen for a rotation; with a small model they outweigh the products. Here
each is one loop over the tensors' memory (`row_loops`). Knows no models; where it does not apply, `body` takes torch's
own functions.
"""

import numpy as np
import numpy.typing as npt
import torch

from engine.forward.cpu import attention_loops, row_loops
from engine.forward.threads import threads_for

_ATTENDS = 20e9  # numbers of keys that a thread takes in a second, and of values: roughly
_SAMPLES = {torch.bfloat16: np.empty(0, np.uint16), torch.float32: np.empty(0, np.float32)}


def applies(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether these functions work on tensors of this type and device."""
    return device.type == "cpu" and dtype in _SAMPLES


def add_norm(
    stream: torch.Tensor,
    added: torch.Tensor | None,
    branch: tuple[torch.Tensor, float] | None,
    norm: tuple[torch.Tensor, float],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add a layer's output to the stream, both (rows, size), and apply RMSNorm (arXiv 1910.07467) to the sum.

    Returns the new stream and the normalised rows. `norm`: scale (size,) in float32 and epsilon; `branch`: the same of
    the norm that Gemma applies to what is added. Without `added` the stream stays.
    """
    rows, size = stream.shape
    normed = torch.empty_like(stream)
    kept = stream if added is None else torch.empty_like(stream)
    row_loops.add_norm(
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
    """Return activation(gate) * up, (rows, size), of the product (rows, 2 * size): gate, then up."""
    rows, size = both.shape[0], both.shape[1] // 2
    out = both.new_empty((rows, size))
    row_loops.gate(_SAMPLES[both.dtype], both.data_ptr(), out.data_ptr(), rows, size, activation == "silu")
    return out


def turn(positions: torch.Tensor, frequencies: torch.Tensor, scaling: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines (rows, turned) in float32 at `positions` (rows,) for `frequencies` (turned,), each of
    which is listed twice; the sines of the first half carry the rotation's minus (arXiv 2104.09864)."""
    rows, turned = positions.shape[0], frequencies.shape[0]
    cos, sin = frequencies.new_empty((rows, turned)), frequencies.new_empty((rows, turned))
    row_loops.turn(positions.data_ptr(), rows, frequencies.data_ptr(), turned, scaling, cos.data_ptr(), sin.data_ptr())
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
    """Write the keys and values of the product `joined` (rows, queries + keys + values) into `keys` and `values`
    (kv_heads, capacity, size) at `slots` (rows,), where -1 is nowhere, and return its queries.

    Queries are packed (kv_heads, groups * rows, size), with at least `least` rows a key head: the last one is repeated.
    `norms`: scales (size,) in float32 of the queries' and keys' RMSNorm, and epsilon. `turned`: what `turn` returns.
    """
    rows = joined.shape[0]
    kv_heads, capacity, size = keys.shape
    query_rows = max(least, heads // kv_heads * rows)
    queries = joined.new_empty((kv_heads, query_rows, size))
    row_loops.store_rows(
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


def attends(size: int, softcap: float | None) -> bool:
    """Whether `attend` knows a layer's attention; then it computes all rows, so that all have the same bits."""
    return size % attention_loops.VECTOR == 0 and softcap is None


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, heads: int, hidden: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Attention (rows, heads, size) of queries (kv_heads, groups * rows, size) over the first slots of a layer's `keys`
    and `values` (kv_heads, capacity, size), but for those that are `hidden` (rows, slots) from a row."""
    kv_heads, capacity, size = keys.shape
    rows, slots = hidden.shape
    asked = queries.float()
    out = torch.empty((rows, heads, size))
    arguments = (
        (kv_heads, queries.shape[1], size),
        asked.data_ptr(),
        keys.data_ptr(),
        values.data_ptr(),
        keys.dtype == torch.bfloat16,
        capacity * size * keys.itemsize,
        hidden.data_ptr(),
        rows,
        slots,
        scaling,
        out.data_ptr(),
        heads,
    )
    threads = threads_for(rows * heads * slots * size / _ATTENDS)
    if threads > 1:
        attention_loops.attend_together(*arguments, threads)
    else:
        attention_loops.attend(*arguments)
    return out.to(queries.dtype)


def most_likely(logits: torch.Tensor, num_top: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The most likely tokens of each row of logits (rows, vocab) and their probabilities to 4 %, (rows, num_top), in
    descending order; of equal ones the lower ids first. At least `num_top` of them must have a finite logit."""
    logits = logits.contiguous()
    rows, size = logits.shape
    top_ids, top_chances = np.empty((rows, num_top), np.int32), np.empty((rows, num_top), np.float32)
    row_loops.most_likely(_SAMPLES[logits.dtype], logits.data_ptr(), rows, size, top_ids, top_chances)
    return top_ids, top_chances
