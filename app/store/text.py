"""The one rule for text that people bring in: typed, imported, or read by the command line."""

import unicodedata

TITLE_LIMIT = 200  # characters


def clean_text(text: str) -> str:
    r"""The text without control characters and without a byte order mark before it; its lines end in "\n".

    Half a character becomes "?".

    >>> clean_text("a\0b\x1b[1m\r\nc\td")
    'ab[1m\nc\td'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc").lstrip("\ufeff")


def clean_title(title: str) -> str:
    """A title on one line, within the limit."""
    title = " ".join(clean_text(title).split())
    return title if len(title) <= TITLE_LIMIT else title[: TITLE_LIMIT - 1] + "…"
