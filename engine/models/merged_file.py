"""A GGUF file with an adapter merged into its weights, for llama.cpp: written once, and kept for the next loads.

The weights that the adapter changes are written as Q8_0, whose rounding is far below what training moved; all else is
copied as it is.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import BrokenModel, NotEnoughDisk, UnsupportedModel
from engine.events import LoadProgress
from engine.models.adapted import AdaptedWeight, adapted_weights
from engine.models.checkpoints.adapter import Adapter
from engine.models.checkpoints.gguf import package
from engine.models.checkpoints.gguf_file import GgufFile
from engine.models.progress import Report
from engine.models.ram import gigabytes

log = logging.getLogger(__name__)

_FORMAT = "1"  # of what is written here: another one makes other files
_KEPT_BYTES = 4 * 10**9  # of the files that were used last; the newest stays, whatever its size
_ABANDONED_S = 3600.0  # a half-written file that nobody has touched for so long


def merged_file(checkpoint: GgufFile, adapter: Adapter, folder: Path | None, report: Report) -> GgufFile:
    """The file with the adapter in it, from an earlier time or written now; the adapter must fit.

    Raises `UnsupportedModel`, `NotEnoughDisk` or `BrokenModel`, or what `report` raises, which ends the writing; no
    half-written file stays.
    """
    if folder is None:
        raise UnsupportedModel("There is no folder to keep a merged file in. Choose backend torch.")
    if len(checkpoint.files) > 1:
        raise UnsupportedModel(
            f"{checkpoint.name} is in {len(checkpoint.files)} files, and an adapter is merged into one. Choose backend "
            "torch."
        )
    key = hashlib.sha256(f"{_FORMAT}\0{checkpoint.fingerprint}\0{adapter.fingerprint}".encode()).hexdigest()
    stem = re.sub(r"[^\w.-]", "-", f"{checkpoint.path.stem}-with-{adapter.name}")[:100]
    path = folder / "merged" / f"{stem}-{key[:16]}.gguf"
    if path.is_file():
        try:
            _check_whole(path)
            with suppress(OSError):  # the folder may be another's
                os.utime(_checksum(path))
            return GgufFile.read(path, checkpoint.name)
        except (BrokenModel, OSError) as exc:
            log.warning("%s is written again: %s", path, exc)
    _write_whole(checkpoint, adapter, path, report)
    _forget_old(path)
    return GgufFile.read(path, checkpoint.name)


def _write_whole(checkpoint: GgufFile, adapter: Adapter, path: Path, report: Report) -> None:
    """Write the file beside its place, then move it in."""
    needed = sum(_bytes_of(checkpoint, adapter).values())
    name, folder = f"{checkpoint.name} with {adapter.name}", path.parent
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < needed + 2**26:
            raise NotEnoughDisk(
                f"{name} takes {gigabytes(needed)} in {folder}, and there is not as much free space. Free some, or "
                "choose backend torch."
            )
        _write(checkpoint, adapter, partial, report)
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())  # before it has its name: a power cut leaves no file with holes in it
        _checksum(path).write_text(json.dumps({"sha256": _sha256(partial)}), encoding="utf-8")
        os.replace(partial, path)
    except OSError as exc:
        raise NotEnoughDisk(
            f"{name} could not be written to {folder} ({exc.strerror or exc}). See that there is space and that the "
            "folder may be written to, or choose backend torch."
        ) from exc
    finally:
        with suppress(OSError):
            partial.unlink()


def _check_whole(path: Path) -> None:
    """Raise `BrokenModel` where a file is not as it was written. It is read once, and again when it has changed."""
    kept = _checksum(path)
    try:
        known = json.loads(kept.read_text(encoding="utf-8"))
        written, seen = known["sha256"], known.get("seen")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BrokenModel(f"nothing says how {path.name} was written.") from exc
    stat = path.stat()
    state = [stat.st_size, stat.st_mtime_ns]
    if seen == state:
        return
    if _sha256(path) != written:
        raise BrokenModel(f"{path.name} is not as it was written.")
    with suppress(OSError):  # the folder may be another's
        kept.write_text(json.dumps({"sha256": written, "seen": state}), encoding="utf-8")


def _checksum(path: Path) -> Path:
    return path.with_suffix(".json")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bytes_of(checkpoint: GgufFile, adapter: Adapter) -> dict[str, int]:
    """The bytes of each weight in the merged file, by transformers' name."""
    changed = {part.weight for part in adapter.parts}
    return {
        name: package.size(weight.shape) if name in changed else weight.stored.num_bytes
        for name, weight in checkpoint.stored.items()
    }


def _write(checkpoint: GgufFile, adapter: Adapter, path: Path, report: Report) -> None:
    changed = {
        checkpoint.stored[name].stored.name: (checkpoint.stored[name], weight)
        for name, weight in adapted_weights(checkpoint.stored, adapter).items()
        if isinstance(weight, AdaptedWeight)
    }
    done, total = 0, len(changed)

    def replaced(name: str) -> NDArray[np.float32]:
        nonlocal done
        report(LoadProgress(stage="weights", message=f"Merging {adapter.name}", done=done, total=total))
        done += 1
        stored, weight = changed[name]
        whole = np.empty(weight.shape, dtype=np.float32)
        for rows, values in weight.pieces():
            whole[rows] = values
        return stored.as_stored(whole)

    package.rewrite(checkpoint.path, path, set(changed), replaced)


def _forget_old(newest: Path) -> None:
    """Delete what a killed process left half-written, and the files used longest ago beyond `_KEPT_BYTES`."""
    with suppress(OSError):
        for partial in newest.parent.glob("*.partial"):
            if time.time() - partial.stat().st_mtime > _ABANDONED_S:
                partial.unlink()
        files = sorted(newest.parent.glob("*.gguf"), key=_used_ns, reverse=True)
        kept = 0
        for file in files:
            kept += file.stat().st_size
            if kept > _KEPT_BYTES and file != newest:
                file.unlink()
                _checksum(file).unlink(missing_ok=True)


def _used_ns(file: Path) -> int:
    """When a file was used last: its checksum was, then."""
    kept = _checksum(file)
    return (kept if kept.exists() else file).stat().st_mtime_ns
