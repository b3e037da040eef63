"""A model that another program keeps on this disk, and how far a search may go."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.models.checkpoints.checkpoint import ModelShape

MAX_ENTRIES = 5000  # of the folders of one program
MAX_DEPTH = 4  # of folders below a program's own


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """`model` is what to load; `file` what lies on the disk, by which a model that two programs share is known."""

    model: str
    name: str
    program: str
    size_bytes: int
    shape: ModelShape
    file: Path


@dataclass(slots=True)
class Search:
    """A look through one program's folders: what cannot be read is left out, and there is a limit to it."""

    entries_left: int = field(default=MAX_ENTRIES)

    def list(self, folder: Path) -> list[os.DirEntry[str]]:
        """What a folder holds, by name; nothing where it cannot be read."""
        found = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if self.entries_left <= 0:
                        break
                    self.entries_left -= 1
                    found.append(entry)
        except (OSError, ValueError):
            return []
        return sorted(found, key=lambda entry: entry.name)

    def files(self, folder: Path, depth: int = MAX_DEPTH) -> Iterator[os.DirEntry[str]]:
        """The files in a folder and below it; links to folders are followed, so far as the depth allows."""
        for entry in self.list(folder):
            if is_folder(entry):
                if depth > 0:
                    yield from self.files(Path(entry.path), depth - 1)
            elif size_of(entry):
                yield entry


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def size_of(entry: os.DirEntry[str]) -> int:
    """Bytes of a regular file, behind a link too; 0 for everything else."""
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except OSError:
        return 0
