"""Which model is meant: all that is known before torch is.

    "smollm2" | "starter" | "ollama:NAME" | a folder | a GGUF file | owner/name  ->  Location  ->  Checkpoint

Knows nothing about devices or networks.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from engine.config import OWN_NAMES, SMOLLM2, STARTER
from engine.errors import ModelNotFound, UnsupportedModel
from engine.models import bundled
from engine.models.checkpoints.checkpoint import Checkpoint
from engine.models.checkpoints.gguf.header import is_gguf
from engine.models.checkpoints.gguf_file import GgufFile, model_name, only_model_in
from engine.models.checkpoints.safetensors_folder import SafetensorsFolder
from engine.models.checkpoints.supported import gguf
from engine.models.on_disk.ollama import OLLAMA, resolve_ollama
from engine.models.shapes import PREFIX

STARTER_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "starter"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
_WEB_ADDRESS = re.compile(r"https?://[^/]+/([^/]+/[^/?#]+)")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a model is: a path on this machine, or the Hub repository `hub_id`."""

    name: str
    path: Path | None
    hub_id: str | None = None


def resolve(model: str) -> Location:
    """Find out what `model` names, without the network. Raises `ModelNotFound` or `UnsupportedModel`."""
    model = model.strip()
    if model.startswith(PREFIX):
        raise UnsupportedModel(
            f"{model} has random weights and no words: it is for `bench widths` and for `bench replay --target` alone. "
            "Choose a model that was trained."
        )
    if model == STARTER:
        return Location(STARTER, STARTER_FOLDER)
    if model == SMOLLM2:
        return Location(bundled.NAME, bundled.require())
    if model.startswith(OLLAMA):
        return Location(model.removeprefix(OLLAMA), resolve_ollama(model, os.environ, Path.home()))
    address = _WEB_ADDRESS.fullmatch(model) or _WEB_ADDRESS.match(model)
    if address:
        model = address[1]
    path = Path(os.path.expanduser(model))  # unlike Path's own, os.path's tests say no to names that cannot be
    if os.path.isdir(path):
        return Location(path.resolve().name, _snapshot(path.resolve()))
    if os.path.isfile(path):
        if path.suffix.lower() == ".gguf" or is_gguf(path):  # Ollama's files are named by their contents
            return Location(model_name(path), path.absolute())
        raise ModelNotFound(f"{path} is a file. Choose the folder it is in, the one with config.json, or a GGUF file.")
    if model.lower().endswith(".gguf"):
        if _HUB_ID.fullmatch(model) or address:
            raise gguf(path.name)
        raise ModelNotFound(f"There is no file {model!r} on this machine. Check the path.")
    if _HUB_ID.fullmatch(model) and not model.startswith(("./", "../", "~")):
        return Location(model, None, hub_id=model)
    raise ModelNotFound(
        f"There is no folder {model!r} on this machine, and it is no Hub id either (those look like "
        "Qwen/Qwen3-0.6B). Check the spelling, or choose 'smollm2'."
    )


def lasting(model: str, location: Location) -> str:
    """The name by which a later start finds the same model, from whatever folder it is started."""
    if location.path is None or model in OWN_NAMES or model.startswith(OLLAMA):
        return model
    return str(Path(model).expanduser().absolute())  # a link keeps its name


def _snapshot(folder: Path) -> Path:
    """The newest snapshot where `folder` is a repository of the Hub cache; else `folder`."""
    snapshots = folder / "snapshots"
    if (folder / "config.json").exists() or not snapshots.is_dir():
        return folder
    main = folder / "refs" / "main"
    if main.is_file() and (snapshots / main.read_text(encoding="utf-8-sig").strip()).is_dir():
        return snapshots / main.read_text(encoding="utf-8-sig").strip()
    found = sorted(snapshots.iterdir(), key=lambda p: p.stat().st_mtime)
    return found[-1] if found else folder


def read_checkpoint(path: Path, name: str) -> Checkpoint:
    """Look through a model on disk with the reader of its format. Raises `ModelNotFound`, `BrokenModel` or
    `UnsupportedModel`."""
    if path.is_file():
        return GgufFile.read(path, name)
    if _holds_gguf(path):
        file = only_model_in(path, name)
        return GgufFile.read(file, model_name(file))
    return SafetensorsFolder.read(path, name)


def _holds_gguf(folder: Path) -> bool:
    """Whether a folder's weights are GGUF alone; many such folders have the original's config.json beside them."""
    if not folder.is_dir():
        return False
    names = {file.name.lower() for file in folder.iterdir()}
    return any(name.endswith(".gguf") for name in names) and not any(name.endswith(".safetensors") for name in names)
