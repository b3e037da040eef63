"""Which model is meant: all that is known before torch is.

    "smollm2" | "starter" | "ollama:NAME" | a folder | a GGUF file                 ->  Location  ->  Checkpoint
    owner/name | owner/name:Q4_K_M | owner/name/file.gguf | their web address  ->  Location  ->  ...

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
from engine.models.on_disk.ollama import OLLAMA, resolve_ollama
from engine.models.shapes import PREFIX

STARTER_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "starter"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
_HUB_GGUF = re.compile(rf"({_HUB_ID.pattern})(?::([\w.-]+)|/([^:]+\.gguf))", re.IGNORECASE)
_WEB_ADDRESS = re.compile(
    r"(?:https?://[^/]+/|(?:huggingface\.co|hf\.co)/)([^/]+/[^/?#]+)(?:/(?:blob|resolve|tree|raw)/([^/?#]+)(/[^?#]+)?)?"
    r"/?(?:[?#].*)?"
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a model is: a path on this machine, or the Hub repository `hub_id`, of which `gguf` names a quantisation
    or a file where it is not empty."""

    name: str
    path: Path | None
    hub_id: str | None = None
    gguf: str = ""


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
    model = _without_address(model)
    path = Path(os.path.expanduser(model))  # unlike Path's own, os.path's tests say no to names that cannot be
    if os.path.isdir(path):
        return Location(path.resolve().name, _snapshot(path.resolve()))
    if os.path.isfile(path):
        if path.suffix.lower() == ".gguf" or is_gguf(path):  # Ollama's files are named by their contents
            return Location(model_name(path), path.absolute())
        raise ModelNotFound(f"{path} is a file. Choose the folder it is in, the one with config.json, or a GGUF file.")
    in_repository = _HUB_GGUF.fullmatch(model)
    if in_repository and not os.path.isdir(path.parts[0]):  # else it is a file that was looked for on this disk
        return Location(model, None, in_repository[1], in_repository[2] or in_repository[3])
    if model.lower().endswith(".gguf"):
        raise ModelNotFound(
            f"There is no file {model!r} on this machine. Check the path; a file on the Hub is named as in "
            "Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf."
        )
    if _HUB_ID.fullmatch(model):
        return Location(model, None, hub_id=model)
    raise ModelNotFound(
        f"There is no folder {model!r} on this machine, and it is no Hub id either (those look like "
        "Qwen/Qwen3-0.6B). Check the spelling, or choose 'smollm2'."
    )


def _without_address(model: str) -> str:
    """What a page of the Hub is about, as the other names name it: a repository, or a GGUF file in it.

    >>> _without_address("https://huggingface.co/owner/name/resolve/main/a/b.gguf?download=true")
    'owner/name/a/b.gguf'
    """
    address = _WEB_ADDRESS.fullmatch(model)
    if address is None:
        return model
    repository, version, file = address[1], address[2], address[3] or ""
    if not file.lower().endswith(".gguf"):
        return repository
    if version != "main":
        raise ModelNotFound(
            f"{model} is a file of the version {version!r}, and only the newest one is downloaded: name it "
            f"{repository}{file}."
        )
    return repository + file


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
