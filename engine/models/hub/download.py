"""A model of the Hub on this disk: what it weighs, whether that fits, and only the files that are needed.

The files end up in the Hub's ordinary cache, so that other programs find them. A file under way is `<etag>.part`
beside its place: a download that was cancelled, cut or killed continues where it stopped, and what arrived is compared
with its checksum. `snapshot_download` (huggingface_hub 2.4, Xet off) does neither: it deletes what it has of a file
when a call ends early, and believes any file of the right size. Knows nothing about torch.
"""

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from engine.errors import (
    DownloadCancelled,
    EngineBusy,
    EngineError,
    ModelNotFound,
    NetworkUnavailable,
    NotEnoughDisk,
)
from engine.events import LoadProgress
from engine.models.catalog import read_checkpoint
from engine.models.checkpoints.safetensors_folder import INDEX, read_config, shards_of
from engine.models.checkpoints.supported import check_config, check_names
from engine.models.hub import client
from engine.models.libraries import Report

Cancelled = Callable[[], bool]

_WANTED = re.compile(
    r"config\.json|generation_config\.json|tokenizer.*\.json|tokenizer\.model|special_tokens_map\.json|vocab\.json"
    r"|merges\.txt|added_tokens\.json|chat_template\.(jinja|json)|model(-\d+-of-\d+)?\.safetensors"
    r"|model\.safetensors\.index\.json"
)
_NUM_TRIES = 5  # connections in a row that bring nothing new
_REPORT_BYTES = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")  # the etag of a large file; small ones have a Git blob id


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a Hub repository that is wanted here."""

    name: str
    size: int


def fetch(hub_id: str, report: Report, *, offline: bool = False, cancelled: Cancelled = lambda: False) -> Path:
    """The folder of a Hub model, downloaded if it is not here in full.

    Raises `ModelNotFound`, `ModelGated`, `UnsupportedModel`, `NetworkUnavailable`, `NotEnoughDisk`,
    `DownloadCancelled`.
    """
    here = cached(hub_id)
    if here is not None and is_whole(here, hub_id):
        return here
    if offline:
        raise ModelNotFound(
            f"{hub_id} is not on this machine in full, and offline mode is on. Load it once with a network, or choose "
            "a model that is here."
        )
    client.start()
    with client.hub_errors(hub_id):
        commit, files = _look_up(hub_id)
        store = _Repository(hub_id, commit)
        total = sum(file.size for file in files)
        missing = sum(file.size - store.num_present(file) for file in files)
        size = f"{total / 10**9:.2f} GB" if total >= 10**8 else f"{total / 10**6:.1f} MB"
        report(LoadProgress(stage="download", message=f"{hub_id} is {size}", done=total - missing, total=total))
        _check_disk(hub_id, store.folder, missing)
        done = 0
        for file in files:
            progress = _Progress(hub_id, report, cancelled, done, total)
            path = store.get(file, progress)
            if file.name == "config.json":  # refused before the weights are fetched
                check_config(read_config(path, hub_id), hub_id)
            elif file.name == INDEX:
                shards_of(path, {f.name for f in files}, hub_id, "Choose another version of the model.")
            done += file.size
        report(LoadProgress(stage="download", message=f"{hub_id} is complete", done=total, total=total))
        return store.finish()


def cached(hub_id: str) -> Path | None:
    """The newest snapshot of a model in the Hub's cache, whole or not; no network."""
    config = client.cached_file(hub_id, "config.json")
    return config.parent if config else None


def is_whole(folder: Path, name: str) -> bool:
    """Whether a snapshot can be loaded as it is."""
    try:
        read_checkpoint(folder, name)
    except EngineError:
        return False
    return True


def _look_up(hub_id: str) -> tuple[str, list[RemoteFile]]:
    """The commit and the wanted files of a repository, small files first."""
    listing = client.list_files(hub_id)
    check_names({name for name, _ in listing.files}, hub_id, f"the repository {hub_id}")
    files = [RemoteFile(name, size) for name, size in listing.files if _WANTED.fullmatch(name)]
    files.sort(key=lambda f: (f.name != "config.json", f.name.endswith(".safetensors"), f.name))
    return listing.commit, files


def _check_disk(hub_id: str, folder: Path, missing: int) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise NotEnoughDisk(
            f"{hub_id} needs {missing / 10**9:.2f} GB more, and {free / 10**9:.2f} GB are free in {folder}. Free some "
            "space, or set HF_HOME to a folder on a larger disk."
        )


class _Progress:
    """Counts the bytes of one file into the whole download's progress; ends it when it is cancelled."""

    def __init__(self, hub_id: str, report: Report, cancelled: Cancelled, before: int, total: int) -> None:
        self._hub_id = hub_id
        self._report = report
        self._cancelled = cancelled
        self._before = before
        self._total = total
        self._reported = -_REPORT_BYTES

    def at(self, num_bytes: int) -> None:
        if self._cancelled():
            raise DownloadCancelled(
                f"The download of {self._hub_id} was cancelled. What has arrived is kept; load it again to continue."
            )
        if abs(num_bytes - self._reported) >= _REPORT_BYTES:
            self._reported = num_bytes
            message = f"Downloading {self._hub_id}"
            done = self._before + num_bytes
            self._report(LoadProgress(stage="download", message=message, done=done, total=self._total))


class _Repository:
    """One commit of a Hub repository in the cache on this machine: blobs by etag, and a snapshot of links to them."""

    def __init__(self, hub_id: str, commit: str) -> None:
        self.hub_id = hub_id
        self.commit = commit
        self.folder = client.cache_folder(hub_id)
        self.snapshot = self.folder / "snapshots" / commit

    def num_present(self, file: RemoteFile) -> int:
        """Bytes of a file that are here already, finished or not."""
        if (self.snapshot / file.name).exists():
            return file.size
        parts = self.folder.glob(f"blobs/*.{_part_name(file.name)}")
        return min(file.size, max((part.stat().st_size for part in parts), default=0))

    def get(self, file: RemoteFile, progress: _Progress) -> Path:
        """Download a file unless it is here; returns its path in the snapshot."""
        path = self.snapshot / file.name
        progress.at(0)
        if path.exists():
            return path
        source = client.find(self.hub_id, file.name, self.commit)
        blob = self.folder / "blobs" / source.etag
        blob.parent.mkdir(parents=True, exist_ok=True)
        part = blob.with_name(f"{source.etag}.{_part_name(file.name)}")
        try:
            with FileLock(self._lock(part), timeout=0):
                if not blob.exists():
                    size = source.size if source.size is not None else file.size
                    _Transfer(self.hub_id, source, part, size, progress).run()
                    _verify(self.hub_id, file.name, part, size, source.etag)
                    part.replace(blob)
        except Timeout as exc:
            raise EngineBusy(f"Another program is downloading {self.hub_id}. Wait until it is done.") from exc
        return client.link(self.hub_id, file.name, self.commit)

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


def _part_name(name: str) -> str:
    return f"{name.replace('/', '--')}.part"


@dataclass
class _Transfer:
    """The bytes of one file into its part file, over as many connections as it takes."""

    hub_id: str
    source: client.Source
    part: Path
    size: int
    progress: _Progress

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


def _verify(hub_id: str, name: str, part: Path, size: int, etag: str) -> None:
    """Compare a finished file with its size, and with its checksum where the etag is one."""
    actual = part.stat().st_size
    good = actual == size
    if good and _SHA256.fullmatch(etag):
        with part.open("rb") as stream:
            good = hashlib.file_digest(stream, "sha256").hexdigest() == etag
    if not good:
        part.unlink()
        raise NetworkUnavailable(
            f"{name} of {hub_id} arrived damaged ({actual:,} of {size:,} bytes, or a wrong checksum). Load it again."
        )
