"""What a repository of the Hub holds, as values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """A file of a repository: a large one with its SHA-256, a small one with the id that Git gives its content."""

    name: str
    size: int
    sha256: str | None = None
    git_id: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at its newest commit."""

    commit: str
    files: tuple[File, ...]
