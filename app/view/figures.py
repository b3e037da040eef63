"""Figures, counts and names as text."""

from typing import Literal

from app.texts import decimal, tr
from engine.config import DrafterName
from engine.metrics import Loop

VERY_SMALL = 300_000_000  # parameters: what brings larger models time, brings such a one little
NOTICED = 1.05  # a speedup below is about the same speed


def drafter_words() -> dict[DrafterName, str]:
    """What each drafter is called."""
    return {
        "adaptive": tr("drafter.adaptive"),
        "prompt-lookup": tr("drafter.prompt_lookup"),
        "anpd": tr("drafter.anpd"),
        "suffix": tr("drafter.suffix"),
        "recycling": tr("drafter.recycling"),
        "racer": tr("drafter.racer"),
    }


def number(value: float) -> str:
    """A figure short enough to be read while it changes.

    >>> number(142.4), number(9.64), number(1900.0)
    ('142', '9.6', '1,900')
    """
    return decimal(value, 1 if value < 9.95 else 0)


def factor(value: float) -> str:
    """A speedup: two digits near 1, where they matter.

    >>> factor(2.43), factor(1.04), factor(0.98)
    ('2.4', '1.04', '0.98')
    """
    return decimal(value, 2 if 0.9 <= value < 1.095 else 1)


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
    return f" {tr('figure.slower')}" if speedup < 2 - NOTICED else ""


def duration(seconds: float) -> str:
    """A time; short ones, as a small model's, in milliseconds.

    >>> duration(0.0454), duration(0.41), duration(12.34)
    ('45 ms', '0.4 s', '12.3 s')
    """
    if seconds < 0.0995:
        return tr("figure.ms", value=decimal(seconds * 1000, 0))
    return tr("figure.s", value=decimal(seconds, 1))


def about(seconds: float) -> str:
    """How long something will take, no more exactly than that can be known.

    >>> about(0.3), about(27), about(95), about(3000), about(10_000)
    ('a second', 'about 25 s', 'about 2 min', 'about 50 min', 'about 3 hours')
    """
    if seconds >= 5400:
        return tr("figure.about_hours", value=decimal(seconds / 3600, 0))
    if seconds >= 90:
        return tr("figure.about_min", value=decimal(seconds / 60, 0))
    return tr("figure.about_s", value=5 * max(1, round(seconds / 5))) if seconds >= 2 else tr("figure.a_second")


def tokens(count: int) -> str:
    """A count with its noun.

    >>> tokens(1), tokens(1900)
    ('1 token', '1,900 tokens')
    """
    return tr("count.tokens", count=count)


def size(num_bytes: float) -> str:
    """A size as people say it.

    >>> size(49_382_712), size(3_400_000_000)
    ('49 MB', '3.4 GB')
    """
    if num_bytes >= 1e9:
        return tr("figure.gb", value=decimal(num_bytes / 1e9, 1))
    if num_bytes >= 1e6:
        return tr("figure.mb", value=decimal(num_bytes / 1e6, 0))
    return tr("figure.kb", value=decimal(num_bytes / 1e3, 0))


def parameters(count: int) -> str:
    """A model's size in parameters.

    >>> parameters(12_345_678), parameters(1_720_000_000)
    ('12 M', '1.7 B')
    """
    if count >= 1e9:
        return tr("figure.billion", value=decimal(count / 1e9, 1))
    return tr("figure.million", value=decimal(count / 1e6, 0)) if count >= 1e6 else decimal(count, 0)


def fit_words(fit: Literal["fits", "tight", "too large"]) -> str:
    """Whether a model fits into this machine."""
    return {"fits": tr("model.fits"), "tight": tr("model.tight"), "too large": tr("model.too_large")}[fit]


def circles(loop: Loop) -> str:
    """From where on an answer goes in circles; people count from 1.

    >>> circles(Loop(start=119, period=4))
    'goes in circles from token 120 on'
    """
    return tr("figure.circles", at=loop.start + 1)


def left_out(dropped_turns: int) -> str:
    """What the prompt had no room for.

    >>> left_out(1), left_out(4)
    ('the oldest message no longer fitted', 'the 4 oldest messages no longer fitted')
    """
    return tr("figure.left_out", count=dropped_turns)
