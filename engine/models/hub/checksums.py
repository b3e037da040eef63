"""Whether a file on this disk has the content that the Hub has: its SHA-256, compared once.

A stamp says which file was found whole, by path, size and times, so that it is not read again at every load.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_CHUNK = 8 * 2**20


class Checksums:
    """Compares files; `stamps` is the folder in which is kept what was found whole, or None."""

    def __init__(self, stamps: Path | None) -> None:
        self._folder = stamps

    def is_right(self, file: Path, sha256: str, at: Callable[[int], None] = lambda _: None) -> bool:
        """Whether the content of a file is the one with this SHA-256; `at` is told how many bytes were read."""
        if self._is_stamped(file, sha256):
            return True
        digest, have = hashlib.sha256(), 0
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                at(have := have + len(chunk))
        if digest.hexdigest() != sha256:
            return False
        self.stamp(file, sha256)
        return True

    def stamp(self, file: Path, sha256: str) -> None:
        """Remember that a file was found whole."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._stamp_of(self._folder, sha256).write_text(json.dumps(_state(file)), encoding="utf-8")
        except OSError as exc:
            log.warning("That %s is whole cannot be kept (%s): the next load reads it again.", file, exc)

    def _is_stamped(self, file: Path, sha256: str) -> bool:
        if self._folder is None:
            return False
        try:
            known: Any = json.loads(self._stamp_of(self._folder, sha256).read_text(encoding="utf-8"))
            return bool(known == _state(file))
        except (OSError, ValueError):
            return False  # not checked yet, or the stamp is damaged

    def _stamp_of(self, folder: Path, sha256: str) -> Path:
        return folder / f"hub-{sha256[:32]}.json"


def git_id_of(file: Path) -> str:
    """The id that Git gives the content of a file; reads all of it."""
    data = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _state(file: Path) -> list[Any]:
    stat = file.stat()
    return [str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
