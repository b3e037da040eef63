"""What a model takes: bytes of weights, of keys and values, and of what forward passes make, from its shapes alone.

No torch: the page's process asks it about every model on this disk. `engine.models.memory_plan` decides.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from engine.forward.slots import slots_for
from engine.forward.widths import MAX_WIDTH, WIDTHS
from engine.forward.workspace import head_shape, prefill_bytes, round_bytes
from engine.models.checkpoints.checkpoint import ModelShape
from engine.models.ram import GB

_NF4_BYTES = 0.52  # per weight: 4 bits and a nested scale per 64 weights
_INT8_BYTES = 1.0
_CUDA_OVERHEAD = int(0.8 * GB)  # CUDA's context, kernels, libraries, what recorded rounds take beside their numbers
_CUDA_HEADROOM = int(0.5 * GB)  # a desktop's own windows
CPU_OVERHEAD = int(0.2 * GB)  # activations of a prefill chunk, the allocator's slack
MIN_CONTEXT = 1024  # tokens; a shorter context is no chat
_CONTEXT_STEP = 256
_FEW_BYTES = 1.1  # of a weight: Q8_0 has 8.5 bits


class Room(Protocol):
    """A device, as far as room on it goes."""

    @property
    def kind(self) -> str: ...

    @property
    def free_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """What a model will take. `kv_bytes` are the keys and values of one token, `work_bytes` what forward passes make at
    this context: a prefill chunk's masks, the memory that recorded rounds work in."""

    weights_bytes: int
    kv_bytes: int
    work_bytes: int
    overhead_bytes: int
    context_length: int

    @property
    def context_bytes(self) -> int:
        """What the context's length decides."""
        return self.kv_bytes * self.context_length + self.work_bytes

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.overhead_bytes + self.context_bytes

    def fits(self, device: Room) -> bool:
        """Whether there is room; in a memory shared with everything else, half of what the weights leave stays free."""
        left = device.free_bytes - self.weights_bytes - self.overhead_bytes
        return self.context_bytes <= (left if device.kind == "cuda" else left // 2)


def estimate_weights(shape: ModelShape, itemsize: int, quant: str) -> int:
    """Bytes of the weights on the device. Embeddings and head are read as they are; a tied head counts once."""
    linear = {"none": float(itemsize), "int8": _INT8_BYTES, "nf4": _NF4_BYTES}[quant]
    total = 0.0
    for tensor in shape.text_tensors:
        quantised = len(tensor.shape) == 2 and not tensor.name.endswith(("embed_tokens.weight", "lm_head.weight"))
        total += tensor.num_elements * (linear if quantised else itemsize)
    return int(total)


def _second_head(shape: ModelShape, itemsize: float) -> int:
    """Bytes of a tied head on a processor, which holds it in an order of its own beside the embedding."""
    names = {tensor.name for tensor in shape.text_tensors}
    if any(name.endswith("lm_head.weight") for name in names):
        return 0
    sizes = [t.num_elements for t in shape.text_tensors if t.name.endswith("embed_tokens.weight")]
    return int(sum(sizes) * itemsize)


def kv_bytes_per_token(config: dict[str, Any], itemsize: int) -> int:
    """Bytes of one token's keys and values over all layers; sliding layers keep theirs too, so that crop works."""
    _, kv_heads, size = head_shape(config)
    return int(2 * config["num_hidden_layers"] * kv_heads * size * itemsize)


def trained_context(config: dict[str, Any]) -> tuple[int, str]:
    """The context to offer, and a note where it is less than the model's maker names.

    LongRoPE computes every position differently once the text passes the original length: a draft that crosses it
    would change rows that are already committed. So the original length is where the context ends.
    """
    longest = int(config.get("max_position_embeddings") or 2048)
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, dict) else None
    if kind == "longrope":
        original = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
        if original and int(original) < longest:
            note = f"The context is {int(original):,} tokens: beyond that the model's LongRoPE changes earlier rows."
            return int(original), note
    return longest, ""


def plan_as_stored(shape: ModelShape, context: int) -> MemoryPlan:
    """What a model takes in llama.cpp, which keeps weights as their file has them, keys and values in two
    bytes. Its cache grows: for a moment it takes what the next one takes, too, from the half that stays free."""
    config, slots = shape.config, slots_for(context + MAX_WIDTH)
    logits = 2 * MAX_WIDTH * int(config["vocab_size"])
    layer = MAX_WIDTH * (8 * int(config["hidden_size"]) + 3 * int(config["intermediate_size"]))
    masks = 2 * MAX_WIDTH * slots
    return MemoryPlan(
        weights_bytes=sum(tensor.num_bytes for tensor in shape.text_tensors),
        kv_bytes=kv_bytes_per_token(config, 2),
        work_bytes=4 * (logits + layer + masks),
        overhead_bytes=CPU_OVERHEAD,
        context_length=context,
    )


def plan_for(shape: ModelShape, device_kind: str, itemsize: int, quant: str, context: int) -> MemoryPlan:
    """What a model takes on a device of this kind, at this context."""
    config, slots = shape.config, slots_for(context + MAX_WIDTH)
    work = prefill_bytes(config, itemsize, slots, device_kind)
    if device_kind == "cuda":
        work += round_bytes(config, itemsize, slots, WIDTHS)
    on_cpu = CPU_OVERHEAD + _second_head(shape, _INT8_BYTES if quant == "int8" else itemsize)
    return MemoryPlan(
        weights_bytes=estimate_weights(shape, itemsize, quant),
        kv_bytes=kv_bytes_per_token(config, itemsize),
        work_bytes=work,
        overhead_bytes=_CUDA_OVERHEAD + _CUDA_HEADROOM if device_kind == "cuda" else on_cpu,
        context_length=context,
    )


def longest_fitting(plan_at: Callable[[int], MemoryPlan], wanted: int, room: Room) -> int:
    """The longest context up to `wanted` that there is room for; 0 where that would be no chat."""
    if plan_at(wanted).fits(room):
        return wanted
    steps = range(1, wanted // _CONTEXT_STEP + 1)
    found = bisect_left(steps, True, key=lambda step: not plan_at(step * _CONTEXT_STEP).fits(room)) * _CONTEXT_STEP
    return found if found >= min(wanted, MIN_CONTEXT) else 0


def has_few_bits(shape: ModelShape) -> bool:
    """Whether the file keeps at most 8 bits a weight, so that 8 are as good as more to compute in."""
    stored = sum(tensor.num_bytes for tensor in shape.text_tensors)
    return 0 < stored < _FEW_BYTES * shape.num_parameters
