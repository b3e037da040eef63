"""A model of the Hub on this disk: what it weighs, whether that fits, and only the files that are needed.

A repository holds safetensors, or GGUF files in several quantisations of which one is wanted. Knows nothing about
torch.
"""

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BrokenModel, EngineError, ModelNotFound, NetworkUnavailable, NotEnoughDisk, NotEnoughMemory
from engine.events import LoadProgress
from engine.models.catalog import read_checkpoint
from engine.models.checkpoints.gguf_file import check_start, shards_of
from engine.models.checkpoints.safetensors_folder import INDEX, read_config
from engine.models.checkpoints.safetensors_folder import shards_of as weight_files_of
from engine.models.checkpoints.supported import WHOLE_WEIGHTS, check_config, check_names
from engine.models.hub import client
from engine.models.hub.cache import Cancelled, Progress, Repository, checksum_of
from engine.models.hub.checksums import Checksums
from engine.models.hub.quantisations import pick, quantisations
from engine.models.hub.remote_files import File, Listing
from engine.models.on_disk.fit import fit, least_bytes
from engine.models.on_disk.gguf_head import HEAD_BYTES, parse_head, shape_of
from engine.models.progress import Report
from engine.models.ram import gigabytes

log = logging.getLogger(__name__)

_WANTED = re.compile(
    r"config\.json|generation_config\.json|tokenizer.*\.json|tokenizer\.model|special_tokens_map\.json|vocab\.json"
    r"|merges\.txt|added_tokens\.json|chat_template\.(jinja|json)|model(-\d+-of-\d+)?\.safetensors"
    r"|model\.safetensors\.index\.json"
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be downloaded, and what it is called. `is_gguf`: the files are one GGUF model."""

    name: str
    files: list[File]
    is_gguf: bool


def fetch(
    hub_id: str,
    report: Report,
    gguf: str = "",
    *,
    offline: bool = False,
    cancelled: Cancelled = lambda: False,
    stamps: Path | None = None,
    free_bytes: int | None = None,
) -> Path:
    """The folder of a Hub model, or its GGUF file, downloaded if it is not here in full.

    `gguf` is a quantisation or a file's name; without it a repository that holds only GGUF files gives its usual one.
    `stamps` is where is kept which files were found whole. With `free_bytes`, the memory that a model may take, one
    that cannot fit is refused before it is downloaded.

    Raises `ModelNotFound`, `ModelGated`, `BrokenModel`, `UnsupportedModel`, `NetworkUnavailable`, `NotEnoughDisk`,
    `NotEnoughMemory`, `DownloadCancelled`.
    """
    checksums = Checksums(stamps)
    here = cached(hub_id, gguf)
    damaged = _first_damaged(here, hub_id, checksums, report, cancelled) if here is not None else None
    if here is not None and damaged is None:
        return here
    if offline:
        if damaged is not None:
            raise _is_damaged(damaged, hub_id)
        raise ModelNotFound(
            f"{_name(hub_id, gguf)} is not on this machine in full, and offline mode is on. Load it once with a "
            "network, or choose a model that is here."
        )
    client.start()
    try:
        with client.hub_errors(hub_id):
            return _download(hub_id, gguf, report, cancelled, checksums, free_bytes)
    except NetworkUnavailable as exc:
        if damaged is not None:
            raise _is_damaged(damaged, hub_id) from exc
        raise


def cached(hub_id: str, gguf: str = "") -> Path | None:
    """A model in the Hub's cache that can be loaded as it is, as `fetch` returns it; no network."""
    config = client.cached_file(hub_id, "config.json") if not gguf else None
    if config is not None and _is_whole(config.parent, hub_id):
        return config.parent
    for snapshot in client.snapshots(hub_id):
        paths = [path for path in snapshot.rglob("*") if path.name.lower().endswith(".gguf") and path.is_file()]
        models = quantisations(File(p.relative_to(snapshot).as_posix(), p.stat().st_size) for p in paths)
        try:
            file = snapshot / pick(models, gguf, hub_id).files[0].name
        except EngineError:
            continue
        if _is_whole(file, hub_id):
            return file
    return None


def _download(
    hub_id: str, gguf: str, report: Report, cancelled: Cancelled, checksums: Checksums, free_bytes: int | None
) -> Path:
    listing = client.list_files(hub_id)
    wanted = _choose(listing, hub_id, gguf)
    store = Repository(hub_id, listing.commit, checksums)
    total = sum(file.size for file in wanted.files)
    missing = sum(file.size - store.num_present(file) for file in wanted.files)
    fits = _look_at_start(wanted, store, total, free_bytes) if wanted.is_gguf and missing else ""
    size = f"{total / 10**9:.2f} GB" if total >= 10**8 else f"{total / 10**6:.1f} MB"
    report(LoadProgress(stage="download", message=f"{wanted.name} is {size}{fits}", done=total - missing, total=total))
    _check_disk(hub_id, store.folder, missing)
    done, paths = 0, []
    for file in wanted.files:
        paths.append(store.get(file, Progress(wanted.name, report, cancelled, done, total)))
        if file.name == "config.json":  # refused before the weights are fetched
            check_config(read_config(paths[-1], hub_id), hub_id)
        elif file.name == INDEX:
            weight_files_of(paths[-1], {f.name for f in wanted.files}, hub_id, "Choose another version of the model.")
        done += file.size
    report(LoadProgress(stage="download", message=f"{wanted.name} is complete", done=total, total=total))
    snapshot = store.finish()
    return paths[0] if wanted.is_gguf else snapshot


def _name(hub_id: str, gguf: str) -> str:
    if not gguf:
        return hub_id
    return f"{hub_id}{'/' if gguf.lower().endswith('.gguf') else ':'}{gguf}"


def _choose(listing: Listing, hub_id: str, gguf: str) -> _Wanted:
    """The wanted files of a repository, small files first."""
    names = {file.name for file in listing.files}
    models = quantisations(listing.files)
    if gguf or (models and not ("config.json" in names and names & WHOLE_WEIGHTS)):
        model = pick(models, gguf, hub_id)
        return _Wanted(hub_id + model.name, list(model.files), is_gguf=True)
    check_names(names, hub_id, f"the repository {hub_id}")
    files = [file for file in listing.files if _WANTED.fullmatch(file.name)]
    files.sort(key=lambda f: (f.name != "config.json", f.name.endswith(".safetensors"), f.name))
    return _Wanted(hub_id, files, is_gguf=False)


def _look_at_start(wanted: _Wanted, store: Repository, total: int, free_bytes: int | None) -> str:
    """Refuse by the first bytes of a GGUF file what need not be downloaded; returns whether it fits, in words."""
    first = wanted.files[0]
    start = client.read_start(client.find(store.hub_id, first.name, store.commit), HEAD_BYTES)
    if len(start) < min(HEAD_BYTES, first.size):
        return ""  # the connection was cut: what comes later will say the same
    pairs = parse_head(start)
    if pairs is None:
        raise BrokenModel(f"{first.name} of {store.hub_id} is no GGUF file, whatever its name. Choose another.")
    check_start(pairs, Path(first.name), wanted.name)
    if free_bytes is None:
        return ""
    shape = shape_of(wanted.name, total, pairs)
    how = fit(shape, free_bytes)
    if how == "too large":
        raise NotEnoughMemory(
            f"{wanted.name} ({gigabytes(total)}) is not downloaded: even in 4 bits it would take about "
            f"{gigabytes(least_bytes(shape))}, and {gigabytes(free_bytes)} are free. Choose a smaller model."
        )
    return ", and it fits into memory" if how == "fits" else ", and memory is tight for it"


def _is_whole(path: Path, name: str) -> bool:
    """Whether what lies there can be loaded, or is a whole GGUF file that will be refused."""
    try:
        read_checkpoint(path, name)
    except BrokenModel:
        return False
    except EngineError:
        return path.is_file()
    return True


def _first_damaged(here: Path, hub_id: str, checksums: Checksums, report: Report, cancelled: Cancelled) -> Path | None:
    """The first file of weights whose content is not what the Hub said when it was downloaded."""
    files = shards_of(here) if here.is_file() else sorted(here.glob("*.safetensors"))
    for file in files:
        sha256 = checksum_of(file)
        if sha256 is None:
            continue
        checking = Progress(hub_id, report, cancelled, 0, file.stat().st_size, stage="find")
        if not checksums.is_right(file, sha256, checking.at):
            log.warning("%s of %s in the Hub's cache is damaged: its checksum is wrong.", file, hub_id)
            return file
    return None


def _is_damaged(file: Path, hub_id: str) -> EngineError:
    return BrokenModel(
        f"{file.name} of {hub_id} is damaged: its checksum is wrong. Load the model once with a network, which "
        f"downloads that file again, or delete {file.parent}."
    )


def _check_disk(hub_id: str, folder: Path, missing: int) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise NotEnoughDisk(
            f"{hub_id} needs {missing / 10**9:.2f} GB more, and {free / 10**9:.2f} GB are free in {folder}. Free some "
            "space, or set HF_HOME to a folder on a larger disk."
        )
