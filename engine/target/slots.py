"""Where a round's rows stand in the KV cache. Pure: numbers alone.

A chain's rows stand at the slots of their positions. So does a tree's likeliest path; the other nodes need slots of
their own, though a chain would have them at slots that are taken. Which slots they get decides the bits: kernels add
a row's terms in an order that goes by slots. A CPU's add them in lanes, slot i to lane i mod 32 or a divisor of 32,
or one after another, in blocks of 128 slots or more; hidden slots add exact zeros. So a node that stands a multiple of
32 slots behind its natural place, in the same block of 128 and behind its parent, is added to the same terms in the
same order. `engine.target.exactness` tries that with the device's own kernels. But what bfloat16 rounds away seldom
shows: at multiples of 16, which float32's lanes allow, one number in a million differed, where the moved token had most
of the weight; `tests/engine/test_attention.py` looks at more numbers than a probe can.
"""

SLOT_STEP = 256  # attention reads a multiple of this many slots
_LANES = 32
_BLOCK = 128


def slots_for(position: int) -> int:
    """How many cache slots the row at `position` reads: a function of its position alone, hence the same in every
    round that might compute it.

    >>> slots_for(0), slots_for(255), slots_for(256)
    (256, 256, 512)
    """
    return (position // SLOT_STEP + 1) * SLOT_STEP


def chunk_for(device_type: str) -> int:
    """Tokens of a prefill chunk. Chunks start at absolute multiples of it; a chunk's mask is chunk x slots numbers."""
    return 512 if device_type == "cuda" else SLOT_STEP


class Places:
    """Hands out slots, as offsets from the round's first row at slot `start`, to a tree's nodes in the order they come.

    >>> places = Places(50)
    >>> places.take(1, 0), places.take(1, 0), places.take(2, 33), places.take(1, 0), places.take(1, 0)
    (1, 33, 34, 65, None)
    """

    def __init__(self, start: int) -> None:
        self._start = start
        self._taken = {0}

    def take(self, depth: int, parent: int) -> int | None:
        """The first free place for a node at `depth`, behind its parent at offset `parent`; None where none is left."""
        first = depth + -(-max(0, parent + 1 - depth) // _LANES) * _LANES
        end = depth + _BLOCK - (self._start + depth) % _BLOCK
        for offset in range(first, end, _LANES):
            if offset not in self._taken:
                self._taken.add(offset)
                return offset
        return None
