"""Buckets of numbers, roughly doubling: calibration has one cell for each."""

from engine.drafting.compiled.numba_cache import compiled

NUM_MATCHES = 13  # match lengths: 0, 1, ... 5, 6-7, 8-11, 12-19, 20-31, 32-47, 48-63, 64
NUM_SHORTS = 6  # match lengths 0, 1, ... 4, 5 and more
NUM_SHARES = 7  # sixths of the matches
NUM_TOTALS = 5  # 1, 2-3, 4-7, 8-15, 16 and more matches


@compiled
def match(length: int) -> int:
    """The bucket of a match length."""
    if length < 6:
        return length
    if length < 8:
        return 6
    if length < 12:
        return 7
    if length < 20:
        return 8
    if length < 32:
        return 9
    return 10 + (length - 32) // 16


@compiled
def short(length: int) -> int:
    """The coarser bucket of a match length."""
    return min(length, NUM_SHORTS - 1)


@compiled
def doublings(value: int, most: int) -> int:
    """0, 1, 2-3, 4-7, ..., and at last `most` and more."""
    bucket = 0
    while value and bucket < most:
        value >>= 1
        bucket += 1
    return bucket


@compiled
def share(count: int, total: int) -> int:
    """The bucket of the share that `count` of `total` matches are."""
    return min(NUM_SHARES - 1, (NUM_SHARES - 1) * count // max(1, total))


@compiled
def total(number: int) -> int:
    """The bucket of a number of matches."""
    return max(0, doublings(number, NUM_TOTALS) - 1)
