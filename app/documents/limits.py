"""How large a file may be, and why one cannot be read."""

TIME_LIMIT_S = 60.0  # of the program that reads it
MEMORY_LIMIT = 1_500_000_000  # bytes, of that program
FILE_LIMIT = 50_000_000  # bytes
TEXT_LIMIT = 1_000_000  # characters: some 250,000 tokens, more than nearly every context holds
PAGE_LIMIT = 3_000
UNPACKED_LIMIT = 200_000_000  # bytes, of a Word file; one of 500 pages has some 10 MB


class Unreadable(ValueError):
    """One sentence that names the file and says what to do."""


def too_long(length: int) -> str:
    """The end of a sentence about a text of so many characters, or more."""
    return f"has {length:,} characters of text or more; at most {TEXT_LIMIT:,} can be attached. Attach a part of it"
