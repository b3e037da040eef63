"""How often a drafter is asked where its own time matters: with a model whose rounds take a millisecond or two."""

_SHARE = 0.005  # of the time, while drafts gain nothing: our aim for prose is 0.98 of plain decoding
_LONGEST_REST = 16  # rounds: a text that begins to repeat is not left alone for long
_FIRST, _MOST = 0.25, 8.0  # rounds without a draft: what may be spent at first, and what is saved up at most


class Allowance:
    """What asking the drafter may cost: a small share of the time, and what drafts have gained lately.

    Counted in rounds without a draft; it continues from answer to answer. Where a round takes far longer than the
    drafter, as with any model of size, every round drafts; where one takes a millisecond or two, rounds rest while
    nothing repeats.

    >>> allowance = Allowance()
    >>> allowance.note(spent=1.1, gained=0.0)
    >>> allowance.drafts
    False
    >>> allowance.note(spent=0.0, gained=3.0)
    >>> allowance.drafts
    True
    """

    def __init__(self, first: float = _FIRST) -> None:
        """`first`: what may be spent before anything is gained."""
        self._left = first

    @property
    def drafts(self) -> bool:
        """Whether the round that begins now asks the drafter."""
        return self._left >= 0

    def note(self, *, spent: float, gained: float) -> None:
        """Count what one round's drafter took, and what its draft saved; less than 0 where it was verified in vain."""
        left = self._left + _SHARE - spent + gained
        self._left = min(_MOST, max(left, -_SHARE * _LONGEST_REST))
