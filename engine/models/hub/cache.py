"""One repository in the Hub's ordinary cache, where other programs find it: files that arrive, and files under way.

A file under way is `<etag>.<name>.part` beside its place: a download that was cancelled, cut or killed continues where
it stopped, and what arrived is compared with its checksum. `snapshot_download` (huggingface_hub 2.4, Xet off) does
neither: it deletes what it has of a file when a call ends early, and believes any file of the right size.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from engine.errors import DownloadCancelled, EngineBusy, EngineError, NetworkUnavailable
from engine.events import LoadProgress
from engine.models.hub import client
from engine.models.hub.checksums import Checksums, git_id_of
from engine.models.hub.quantisations import quantisations
from engine.models.hub.remote_files import File
from engine.models.progress import Report

Cancelled = Callable[[], bool]

_NUM_TRIES = 5  # connections in a row that bring nothing new
_REPORT_BYTES = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")  # the etag of a large file; small ones have a Git blob id
_PART = ".part"


class Progress:
    """Counts the bytes of one file into the whole download's progress; ends it when it is cancelled.

    In the stage "find" they are read, to look for damage.
    """

    def __init__(
        self,
        name: str,
        report: Report,
        cancelled: Cancelled,
        before: int,
        total: int,
        stage: Literal["download", "find"] = "download",
    ) -> None:
        self._stage: Literal["download", "find"] = stage
        self._name = name
        self._report = report
        self._cancelled = cancelled
        self._before = before
        self._total = total
        self._reported = -_REPORT_BYTES

    def at(self, num_bytes: int) -> None:
        self.go_on()
        if abs(num_bytes - self._reported) >= _REPORT_BYTES:
            self._reported = num_bytes
            message = f"{'Checking' if self._stage == 'find' else 'Downloading'} {self._name}"
            done = self._before + num_bytes
            self._report(LoadProgress(stage=self._stage, message=message, done=done, total=self._total))

    def go_on(self, _num_bytes: int = 0) -> None:
        """Raise `DownloadCancelled` where the download is to end here."""
        if self._cancelled():
            raise DownloadCancelled(
                f"The download of {self._name} was cancelled. What has arrived is kept; load it again to continue."
            )


class Repository:
    """One commit of a Hub repository in the cache on this machine: blobs by etag, and a snapshot of links to them."""

    def __init__(self, hub_id: str, commit: str, checksums: Checksums) -> None:
        self.hub_id = hub_id
        self.commit = commit
        self.folder = client.cache_folder(hub_id)
        self.snapshot = self.folder / "snapshots" / commit
        self._checksums = checksums

    def num_present(self, file: File) -> int:
        """Bytes of a file that are here already, finished or not."""
        if (self.snapshot / file.name).exists():
            return file.size
        parts = self.folder.glob(f"blobs/*.{_part_name(file.name)}")
        return min(file.size, max((part.stat().st_size for part in parts), default=0))

    def get(self, file: File, progress: Progress) -> Path:
        """Download a file unless it is here undamaged; returns its path in the snapshot."""
        path = self.snapshot / file.name
        progress.at(0)
        if self._is_sound(path, file, progress):
            return path
        source = client.find(self.hub_id, file.name, self.commit)
        blob = self.folder / "blobs" / source.etag
        blob.parent.mkdir(parents=True, exist_ok=True)
        part = blob.with_name(f"{source.etag}.{_part_name(file.name)}")
        try:
            with FileLock(self._lock(part), timeout=0):
                if not self._is_sound(blob, file, progress):
                    size = source.size if source.size is not None else file.size
                    _Transfer(self.hub_id, source, part, size, progress).run()
                    self._verify(file.name, part, size, source.etag, progress)
                    part.replace(blob)
                    if _SHA256.fullmatch(source.etag):
                        self._checksums.stamp(blob, source.etag)
        except Timeout as exc:
            raise EngineBusy(f"Another program is downloading {self.hub_id}. Wait until it is done.") from exc
        if not self._is_sound(path, file, progress):
            path.unlink(missing_ok=True)  # a damaged copy, or a link into nowhere, would be taken for the file
        return client.link(self.hub_id, file.name, self.commit)

    def _is_sound(self, path: Path, file: File, progress: Progress) -> bool:
        """Whether a file of this size and content is there."""
        if not path.is_file() or (file.size and path.stat().st_size != file.size):
            return False
        if file.sha256 is not None:
            return self._checksums.is_right(path, file.sha256, progress.go_on)
        return file.git_id is None or git_id_of(path) == file.git_id

    def _verify(self, name: str, part: Path, size: int, etag: str, progress: Progress) -> None:
        """Compare a finished file with its size, and with its checksum where the etag is one."""
        actual = part.stat().st_size
        good = actual == size
        if good and _SHA256.fullmatch(etag):
            good = Checksums(None).is_right(part, etag, progress.go_on)
        if not good:
            part.unlink()
            raise NetworkUnavailable(
                f"{name} of {self.hub_id} arrived damaged ({actual:,} of {size:,} bytes, or a wrong checksum). Load "
                "it again."
            )

    def _lock(self, part: Path) -> Path:
        """Where the cache keeps its locks; the operating system frees one whose process was killed."""
        locks = self.folder.parent / ".locks" / self.folder.name
        locks.mkdir(parents=True, exist_ok=True)
        return locks / f"{part.name}.lock"

    def finish(self) -> Path:
        """Make this commit the one that is found without a network."""
        ref = self.folder / "refs" / "main"
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(self.commit)
        return self.snapshot


def checksum_of(path: Path) -> str | None:
    """The SHA-256 that a file in the cache must have: the name of the blob behind it."""
    name = path.resolve().name
    return name if _SHA256.fullmatch(name) else None


def parts_of(folder: Path, gguf: str) -> list[Path]:
    """Files of a model that are under way, where the cache keeps its repository: of a quantisation or GGUF file, or of
    the whole repository."""
    try:
        parts = [part for part in (folder / "blobs").iterdir() if part.name.endswith(_PART)]
    except OSError:
        return []
    wanted = gguf.replace("/", "--").lower()
    return [part for part in parts if not gguf or _is_of(part.name.partition(".")[2].removesuffix(_PART), wanted)]


def _is_of(name: str, wanted: str) -> bool:
    labels = [model.label.lower() for model in quantisations([File(name.replace("--", "/"), 0)])]
    return name.lower() == wanted or wanted in labels


def _part_name(name: str) -> str:
    return f"{name.replace('/', '--')}{_PART}"


@dataclass
class _Transfer:
    """The bytes of one file into its part file, over as many connections as it takes."""

    hub_id: str
    source: client.Source
    part: Path
    size: int
    progress: Progress

    def run(self) -> None:
        """Raises `NetworkUnavailable` when nothing new arrives any more."""
        tries = 0
        while (have := self._num_have()) < self.size:
            try:
                self._receive(have)
            except client.transport_errors() as exc:
                tries = 1 if self._num_have() > have else tries + 1
                if tries >= _NUM_TRIES:
                    raise self._lost() from exc
                time.sleep(min(2.0, 0.1 * 2**tries))
            else:
                tries = 1 if self._num_have() > have else tries + 1
                if tries >= _NUM_TRIES:
                    raise self._lost()
        self.progress.at(self.size)

    def _num_have(self) -> int:
        have = self.part.stat().st_size if self.part.exists() else 0
        if have > self.size:  # of another version of the file
            self.part.unlink()
            return 0
        return have

    def _receive(self, have: int) -> None:
        headers = {**self.source.headers, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with client.stream(self.source.url, headers) as response:
            if response.status_code not in (200, 206):
                return  # access was granted a moment ago: a link that expired, or a server that is busy
            if response.status_code == 200:
                have = 0  # the server sends the whole file
            with self.part.open("ab" if have else "wb") as stream:
                for chunk in response.iter_bytes():
                    stream.write(chunk)
                    have += len(chunk)
                    self.progress.at(have)

    def _lost(self) -> EngineError:
        have = self._num_have()
        return NetworkUnavailable(
            f"The connection was lost while {self.hub_id} was downloaded, after {have / 10**6:,.1f} of "
            f"{self.size / 10**6:,.1f} MB of a file. What has arrived is kept; load it again to continue."
        )
