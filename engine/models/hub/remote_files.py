"""What a repository of the Hub holds, as values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """A file of a repository. `sha256` is None for small ones."""

    name: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at its newest commit."""

    commit: str
    files: tuple[File, ...]
