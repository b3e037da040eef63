"""The figures of a whole answer, which may have been written in several runs."""

from collections.abc import Sequence
from dataclasses import replace

from app.store.records import RunRecord
from engine.metrics import GenerationStats, ratio


def whole_stats(runs: Sequence[RunRecord]) -> GenerationStats:
    """The last run's figures, with those of the runs that it continued; the prompt is that of the first one.

    A comparison's plain run is no part of the answer: the adaptive one, which has the verdict, stands behind it.
    """
    first = next((at for at in range(len(runs) - 1, -1, -1) if runs[at].verdict is not None), 0)
    parts = [run.stats for run in runs[first:]]
    if len(parts) == 1:
        return parts[0]
    if any(part.served is not None for part in parts):  # a server's figures are its own: only the tokens add up
        return replace(parts[-1], num_tokens=sum(part.num_tokens for part in parts))
    num_committed = sum(part.num_committed for part in parts)
    plain = [(part.plain_round_s, part.num_committed) for part in parts]
    plain_s = None if any(round_s is None for round_s, _ in plain) else sum((r or 0) * n for r, n in plain)
    return replace(
        parts[0],
        num_tokens=sum(part.num_tokens for part in parts),
        num_committed=num_committed,
        draft_sizes=tuple(size for part in parts for size in part.draft_sizes),
        accepted_lengths=tuple(length for part in parts for length in part.accepted_lengths),
        decode_s=sum(part.decode_s for part in parts),
        draft_s=sum(part.draft_s for part in parts),
        plain_round_s=ratio(plain_s, num_committed) if plain_s is not None else None,
        loop=parts[-1].loop,
    )
