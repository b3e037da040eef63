"""The one rule for text that people bring in, typed, imported or read from a file."""

from app.store.records import TITLE_LIMIT


def clean_title(title: str) -> str:
    """A title on one line, within the limit."""
    title = " ".join(title.encode("utf-8", "replace").decode().replace("\0", " ").split())
    return title if len(title) <= TITLE_LIMIT else title[: TITLE_LIMIT - 1] + "…"
