"""The Hugging Face cache: repositories with safetensors or GGUF files, which load by their id."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.errors import EngineError
from engine.models.checkpoints.gguf.names import label_of
from engine.models.checkpoints.safetensors_folder import SafetensorsFolder
from engine.models.on_disk.found import FoundModel, Search, is_folder
from engine.models.on_disk.gguf_files import as_models

PROGRAM = "Hugging Face"
_PREFIX = "models--"


def find_hugging_face(cache: Path, search: Search) -> Iterator[FoundModel]:
    """The whole models of one cache: safetensors in the version of the newest download, GGUF files of any."""
    for entry in search.list(cache):
        if not entry.name.startswith(_PREFIX) or not is_folder(entry):
            continue
        hub_id = entry.name.removeprefix(_PREFIX).replace("--", "/")
        ids: set[str] = set()
        for number, snapshot in enumerate(_snapshots(Path(entry.path), search)):
            files = list(search.files(snapshot, depth=1))
            names = {file.name for file in files}
            whole = "config.json" in names and names & {"model.safetensors", "model.safetensors.index.json"}
            if number == 0 and whole and (model := _safetensors(snapshot, hub_id)) is not None:
                yield model
            for model in _gguf(files, snapshot, hub_id):
                if model.model not in ids:
                    ids.add(model.model)
                    yield model


def _gguf(files: list[os.DirEntry[str]], snapshot: Path, hub_id: str) -> Iterator[FoundModel]:
    """A snapshot's GGUF models, by the names that `catalog` knows."""
    found = list(as_models([file for file in files if file.name.lower().endswith(".gguf")], PROGRAM))
    labels = [label_of(model.name) for model in found]
    for model, label in zip(found, labels, strict=True):
        inside = model.file.relative_to(snapshot).as_posix()
        part = f":{label}" if label and labels.count(label) == 1 else f"/{inside}"
        yield replace(model, model=hub_id + part) if "/" in hub_id else model


def _safetensors(snapshot: Path, hub_id: str) -> FoundModel | None:
    """A snapshot's model; None where it is not whole, or none that can be loaded."""
    try:
        checkpoint = SafetensorsFolder.read(snapshot, hub_id)
        size = sum(os.stat(file).st_size for file in checkpoint.weight_files)
        file = checkpoint.weight_files[0]
    except (EngineError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return FoundModel(model=hub_id, name=hub_id, program=PROGRAM, size_bytes=size, shape=checkpoint, file=file)


def _snapshots(repository: Path, search: Search) -> list[Path]:
    """The versions that are here: what `refs/main` names first, then the newest."""
    found = [Path(entry.path) for entry in search.list(repository / "snapshots") if is_folder(entry)]
    try:
        main = (repository / "refs" / "main").read_text(encoding="utf-8")[:100].strip()
    except (OSError, ValueError):
        main = ""
    return sorted(found, key=lambda snapshot: (snapshot.name != main, -_changed(snapshot)))


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
