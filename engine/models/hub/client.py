"""The Hub's own library: what of it is used, and each of its failures as one sentence.

`tests/engine/models/test_libraries.py` says what of it is gone with a new version.
"""

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.errors import EngineError, ModelGated, ModelNotFound, NetworkUnavailable, NotEnoughDisk
from engine.models.hub.remote_files import File, Listing
from engine.models.network import network_settings, settings_in_words

TIMEOUT_S = 15.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file's bytes are. `etag` is its SHA-256 where it is a large one."""

    url: str
    headers: dict[str, str]
    etag: str
    size: int | None


def start() -> None:
    """Build the Hub's client as the environment says. Raises `NetworkUnavailable` where that fails."""
    with settings_in_words("The Hub's client cannot start"):
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        get_session()
        for value in build_hf_headers().values():
            value.encode("ascii")


def cached_file(hub_id: str, name: str) -> Path | None:
    """A file of a repository in the Hub's cache; no network."""
    with settings_in_words("The Hub's library cannot start"):
        from huggingface_hub import try_to_load_from_cache
    path = try_to_load_from_cache(hub_id, name)
    return Path(path) if isinstance(path, str) else None


def cache_folder(hub_id: str) -> Path:
    """Where the cache keeps a repository."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model")


def snapshots(hub_id: str) -> list[Path]:
    """The versions of a repository in the Hub's cache: the one that is current there, then the newest first."""
    with settings_in_words("The Hub's library cannot start"):
        folder = cache_folder(hub_id)
    try:
        found = sorted((f for f in (folder / "snapshots").iterdir() if f.is_dir()), key=lambda f: -f.stat().st_mtime)
    except OSError:
        return []
    try:
        main = (folder / "refs" / "main").read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError):
        main = ""
    return sorted(found, key=lambda f: f.name != main)


def list_files(hub_id: str) -> Listing:
    """Ask the Hub what a repository holds."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(hub_id, files_metadata=True, timeout=TIMEOUT_S)
    assert info.sha is not None
    files = (
        File(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None, None if s.lfs else s.blob_id)
        for s in info.siblings or []
    )
    return Listing(info.sha, tuple(files))


def find(hub_id: str, name: str, commit: str) -> Source:
    """Ask the Hub where a file is."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers()
    url = hf_hub_url(hub_id, name, revision=commit)
    found = get_hf_file_metadata(url, headers=headers, timeout=TIMEOUT_S)
    assert found.etag is not None
    if urlsplit(found.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # the token is for the Hub, not for where it stores large files
    return Source(found.location, headers, found.etag, found.size)


def stream(url: str, headers: dict[str, str]) -> AbstractContextManager[Any]:
    """The response to a GET, whose bytes come as they arrive."""
    from huggingface_hub import get_session

    response: AbstractContextManager[Any] = get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S)
    return response


def read_start(source: Source, num_bytes: int) -> bytes:
    """The first bytes of a file; fewer where the server refuses or ends early."""
    headers = {**source.headers, "Accept-Encoding": "identity", "Range": f"bytes=0-{num_bytes - 1}"}
    start = b""
    with stream(source.url, headers) as response:
        if response.status_code in (200, 206):
            for chunk in response.iter_bytes():
                start += chunk
                if len(start) >= num_bytes:  # a server without ranges would go on
                    break
    return start[:num_bytes]


def link(hub_id: str, name: str, commit: str) -> Path:
    """Put a file that lies in the cache's store into the snapshot of a commit."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(hub_id, name, revision=commit))


def transport_errors() -> tuple[type[Exception], ...]:
    """What its HTTP client raises when a connection fails; which client depends on the library's version."""
    try:
        import httpx2
    except ImportError:
        import httpx

        return (httpx.TransportError,)
    return (httpx2.TransportError,)


@contextmanager
def hub_errors(hub_id: str) -> Iterator[None]:
    """Translate what the Hub, its library and the disk raise; other exceptions are defects of ours and pass."""
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
    if isinstance(exc, OSError) and exc.errno in _FULL:
        return NotEnoughDisk(f"The disk is full; {hub_id} is not complete. Free some space and load it again.")
    if isinstance(exc, OSError) and exc.errno in _NOT_WRITABLE and exc.filename:
        return NotEnoughDisk(
            f"{exc.filename} cannot be written ({exc.strerror}), so {hub_id} cannot be kept. Set HF_HOME to a folder "
            "that can be written, and load it again."
        )
    known = (*transport_errors(), ConnectionError, errors.FileMetadataError, errors.EntryNotFoundError)
    if isinstance(exc, known):
        settings = [name for name in network_settings() if name.lower().endswith(("_proxy", "hf_endpoint"))]
        also = f" and what the environment says ({', '.join(settings)})" if settings else ""
        return NetworkUnavailable(
            f"The Hub cannot be reached, and {hub_id} is not on this machine in full. Check the network{also}, or "
            "choose a model that is here."
        )
    return None
