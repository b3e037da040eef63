"""Figures, counts and names as text."""

from engine.config import DrafterName
from engine.metrics import Loop

NOTICED = 1.05  # a speedup below is about the same speed

DRAFTER_WORDS: dict[DrafterName, str] = {
    "adaptive": "adaptive N-grams",
    "prompt-lookup": "prompt lookup",
    "anpd": "ANPD as published",
    "suffix": "longest suffix",
    "recycling": "token recycling",
    "racer": "RACER",
}


def number(value: float) -> str:
    """A figure short enough to be read while it changes.

    >>> number(142.4), number(9.64), number(1900.0)
    ('142', '9.6', '1,900')
    """
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def factor(value: float) -> str:
    """A speedup: two digits near 1, where they matter.

    >>> factor(2.43), factor(1.04), factor(0.98)
    ('2.4', '1.04', '0.98')
    """
    return f"{value:.2f}" if 0.9 <= value < 1.095 else f"{value:.1f}"


def gains(speedup: float | None) -> bool:
    """Whether a speedup is one that a person would notice.

    >>> gains(1.05), gains(1.04), gains(None)
    (True, False, False)
    """
    return speedup is not None and speedup >= NOTICED


def slower(speedup: float) -> str:
    """What stands behind a speedup that is none.

    >>> slower(0.91), slower(1.2), slower(1.0)
    (' (slower)', '', '')
    """
    return " (slower)" if speedup < 2 - NOTICED else ""


def duration(seconds: float) -> str:
    """A time; short ones, as a small model's, in milliseconds.

    >>> duration(0.0454), duration(0.41), duration(12.34)
    ('45 ms', '0.4 s', '12.3 s')
    """
    return f"{seconds * 1000:.0f} ms" if seconds < 0.0995 else f"{seconds:.1f} s"


def about(seconds: float) -> str:
    """How long something will take, no more exactly than that can be known.

    >>> about(0.3), about(27), about(95), about(3000), about(10_000)
    ('a second', 'about 25 s', 'about 2 min', 'about 50 min', 'about 3 hours')
    """
    if seconds >= 5400:
        return f"about {seconds / 3600:.0f} hours"
    if seconds >= 90:
        return f"about {seconds / 60:.0f} min"
    return f"about {5 * max(1, round(seconds / 5))} s" if seconds >= 2 else "a second"


def tokens(count: int) -> str:
    """A count with its noun.

    >>> tokens(1), tokens(1900)
    ('1 token', '1,900 tokens')
    """
    return "1 token" if count == 1 else f"{count:,} tokens"


def size(num_bytes: float) -> str:
    """A size as people say it.

    >>> size(49_382_712), size(3_400_000_000)
    ('49 MB', '3.4 GB')
    """
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"


def parameters(count: int) -> str:
    """A model's size in parameters.

    >>> parameters(12_345_678), parameters(1_720_000_000)
    ('12 M', '1.7 B')
    """
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M" if count >= 1e6 else f"{count:,}"


def circles(loop: Loop) -> str:
    """From where on an answer goes in circles; people count from 1.

    >>> circles(Loop(start=119, period=4))
    'goes in circles from token 120 on'
    """
    return f"goes in circles from token {loop.start + 1:,} on"


def left_out(dropped_turns: int) -> str:
    """What the prompt had no room for.

    >>> left_out(1), left_out(4)
    ('the oldest message no longer fitted', 'the 4 oldest messages no longer fitted')
    """
    what = "the oldest message" if dropped_turns == 1 else f"the {dropped_turns:,} oldest messages"
    return f"{what} no longer fitted"
