"""GGUF files in folders: those of LM Studio, llama.cpp, Jan and GPT4All."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from engine.models.on_disk.found import FoundModel, Search, size_of
from engine.models.on_disk.gguf_head import is_chat_model, read_head, shape_of

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
_MAX_PARTS = 999
_NO_MODEL = ("mmproj", "mtp-")  # a vision part; heads for another way of drafting
_PLAIN_NAMES = {"model", "ggml-model"}  # then the folder's name says more


def find_gguf(folder: Path, program: str, search: Search) -> Iterator[FoundModel]:
    """The models in a folder and below it."""
    found = (e for e in search.files(folder) if e.name.lower().endswith(".gguf") and not e.name.startswith("."))
    yield from as_models(list(found), program)


def as_models(entries: list[os.DirEntry[str]], program: str, owner: str = "") -> Iterator[FoundModel]:
    """The models among some files; the parts of one count as one, and only where all are there."""
    by_path = {entry.path: entry for entry in entries}
    for entry in entries:
        if entry.name.lower().startswith(_NO_MODEL) or "mmproj" in entry.name.lower():
            continue
        size, part = size_of(entry), _PART.fullmatch(entry.name)
        if part is not None:
            total = int(part[3])
            start, end = f"{entry.path[: -len(entry.name)]}{part[1]}-", f"-of-{part[3]}{entry.name[-5:]}"
            parts = [by_path.get(f"{start}{number:05}{end}") for number in range(1, min(total, _MAX_PARTS) + 1)]
            if int(part[2]) != 1 or not 0 < total <= _MAX_PARTS or None in parts:
                continue
            size = sum(size_of(each) for each in parts if each is not None)
        name = part[1] if part else entry.name[: -len(".gguf")]
        if name.lower() in _PLAIN_NAMES:
            name = Path(entry.path).parent.name
        model = gguf_model(Path(entry.path), entry.path, owner + name, program, size)
        if model is not None:
            yield model


def gguf_model(file: Path, model: str, name: str, program: str, size: int) -> FoundModel | None:
    """A file as a model; None for what is none. One whose head says nothing is judged by its name."""
    try:
        pairs = read_head(file) or {}
    except OSError:
        return None
    if not is_chat_model(pairs):
        return None
    shape = shape_of(name, size, pairs)
    return FoundModel(model=model, name=name, program=program, size_bytes=size, shape=shape, file=file)
