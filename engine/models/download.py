"""Models from the Hub: what they weigh, whether that fits, and only the files that are needed.

The files end up in the Hub's ordinary cache, so that other programs find them. A file under way is `<etag>.part`
beside its place: a download that was cancelled, cut or killed goes on where it stopped (huggingface_hub starts such a
file again from nothing). What is on this machine in full is never looked up again. Knows nothing about torch.
"""

import errno
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from engine.errors import (
    DownloadCancelled,
    EngineBusy,
    EngineError,
    ModelGated,
    ModelNotFound,
    NetworkUnavailable,
    NotEnoughDisk,
)
from engine.events import LoadProgress
from engine.models.catalog import check_config, check_names, read_checkpoint

Report = Callable[[LoadProgress], None]
Cancelled = Callable[[], bool]

_WANTED = re.compile(
    r"config\.json|generation_config\.json|tokenizer.*\.json|tokenizer\.model|special_tokens_map\.json|vocab\.json"
    r"|merges\.txt|added_tokens\.json|chat_template\.(jinja|json)|model(-\d+-of-\d+)?\.safetensors"
    r"|model\.safetensors\.index\.json"
)
_TIMEOUT_S = 15.0
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
    with _hub_errors(hub_id):
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
                check_config(json.loads(path.read_text(encoding="utf-8")), hub_id)
            done += file.size
        report(LoadProgress(stage="download", message=f"{hub_id} is complete", done=total, total=total))
        return store.finish()


def cached(hub_id: str) -> Path | None:
    """The newest snapshot of a model in the Hub's cache, whole or not; no network."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(hub_id, "config.json")
    return Path(path).parent if isinstance(path, str) else None


def is_whole(folder: Path, name: str) -> bool:
    """Whether a snapshot can be loaded as it is."""
    try:
        read_checkpoint(folder, name)
    except EngineError:
        return False
    return True


def _look_up(hub_id: str) -> tuple[str, list[RemoteFile]]:
    """The commit and the wanted files of a repository, small files first."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(hub_id, files_metadata=True, timeout=_TIMEOUT_S)
    siblings = info.siblings or []
    check_names({s.rfilename for s in siblings}, hub_id, f"the repository {hub_id}")
    files = [RemoteFile(s.rfilename, s.size or 0) for s in siblings if _WANTED.fullmatch(s.rfilename)]
    files.sort(key=lambda f: (f.name != "config.json", f.name.endswith(".safetensors"), f.name))
    assert info.sha is not None
    return info.sha, files


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
                f"The download of {self._hub_id} was cancelled. What has arrived is kept; load it again to go on."
            )
        if abs(num_bytes - self._reported) >= _REPORT_BYTES:
            self._reported = num_bytes
            message = f"Downloading {self._hub_id}"
            done = self._before + num_bytes
            self._report(LoadProgress(stage="download", message=message, done=done, total=self._total))


class _Repository:
    """One commit of a Hub repository in the cache on this machine: blobs by etag, and a snapshot of links to them."""

    def __init__(self, hub_id: str, commit: str) -> None:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        self.hub_id = hub_id
        self.commit = commit
        self.folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model")
        self.snapshot = self.folder / "snapshots" / commit

    def num_present(self, file: RemoteFile) -> int:
        """Bytes of a file that are here already, finished or not."""
        if (self.snapshot / file.name).exists():
            return file.size
        parts = self.folder.glob(f"blobs/*.{_part_name(file.name)}")
        return min(file.size, max((part.stat().st_size for part in parts), default=0))

    def get(self, file: RemoteFile, progress: _Progress) -> Path:
        """Download a file unless it is here; returns its place in the snapshot."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        place = self.snapshot / file.name
        progress.at(0)
        if place.exists():
            return place
        headers = build_hf_headers()
        url = hf_hub_url(self.hub_id, file.name, revision=self.commit)
        meta = get_hf_file_metadata(url, headers=headers, timeout=_TIMEOUT_S)
        assert meta.etag is not None
        if urlsplit(meta.location).netloc != urlsplit(url).netloc:
            headers.pop("authorization", None)  # the token is for the Hub, not for where it stores large files
        blob = self.folder / "blobs" / meta.etag
        blob.parent.mkdir(parents=True, exist_ok=True)
        part = blob.with_name(f"{meta.etag}.{_part_name(file.name)}")
        try:
            with FileLock(self._lock(part), timeout=0):
                if not blob.exists():
                    size = meta.size if meta.size is not None else file.size
                    _Transfer(self.hub_id, meta.location, headers, part, size, progress).run()
                    _verify(self.hub_id, file.name, part, size, meta.etag)
                    part.replace(blob)
        except Timeout as exc:
            raise EngineBusy(f"Another program is downloading {self.hub_id}. Wait until it is done.") from exc
        return Path(hf_hub_download(self.hub_id, file.name, revision=self.commit))  # links the blob

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
    url: str
    headers: dict[str, str]
    part: Path
    size: int
    progress: _Progress

    def run(self) -> None:
        """Raises `NetworkUnavailable` when nothing new arrives any more."""
        tries = 0
        while (have := self._num_have()) < self.size:
            try:
                self._receive(have)
            except _transport_errors() as exc:
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
        from huggingface_hub import get_session

        headers = {**self.headers, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with get_session().stream("GET", self.url, headers=headers, timeout=_TIMEOUT_S) as response:
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
            f"{self.size / 10**6:,.1f} MB of a file. What has arrived is kept; load it again to go on."
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


# --- what the Hub's library raises


def _transport_errors() -> tuple[type[Exception], ...]:
    """What its HTTP client raises when a connection fails; which client depends on the library's version."""
    try:
        import httpx2
    except ImportError:
        import httpx

        return (httpx.TransportError,)
    return (httpx2.TransportError,)


@contextmanager
def _hub_errors(hub_id: str) -> Iterator[None]:
    try:
        yield
    except EngineError:
        raise
    except Exception as exc:
        translated = translate(exc, hub_id)
        if translated is None:
            raise
        raise translated from exc


def translate(exc: BaseException, hub_id: str) -> EngineError | None:
    """The sentence for a failure of the Hub, its library or the disk; None for what is a defect of ours."""
    from huggingface_hub import errors

    status: Any = getattr(getattr(exc, "response", None), "status_code", None)
    if isinstance(exc, errors.GatedRepoError) or status == 403:
        return ModelGated(
            f"{hub_id} asks its users to accept a licence first. Accept it on the model's page on the Hub, then log in "
            "here with `hf auth login`, and load it again."
        )
    if isinstance(exc, errors.RepositoryNotFoundError | errors.HFValidationError) or status in (401, 404):
        return ModelNotFound(
            f"There is no model {hub_id} on the Hub, or it is private. Check the spelling; for a private one log in "
            "with `hf auth login`."
        )
    if isinstance(exc, errors.OfflineModeIsEnabled):
        return NetworkUnavailable(
            f"{hub_id} is not on this machine, and HF_HUB_OFFLINE keeps the Hub switched off. Unset it and load the "
            "model again."
        )
    if isinstance(exc, errors.HfHubHTTPError):
        return NetworkUnavailable(f"The Hub answered with an error ({status}) for {hub_id}. Try again in a while.")
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return NotEnoughDisk(f"The disk is full; {hub_id} is not complete. Free some space and load it again to go on.")
    known = (*_transport_errors(), ConnectionError, errors.FileMetadataError, errors.EntryNotFoundError)
    if isinstance(exc, known):
        return NetworkUnavailable(
            f"The Hub cannot be reached, and {hub_id} is not on this machine in full. Check the network, or choose a "
            "model that is here."
        )
    return None
