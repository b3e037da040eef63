"""Ollama's store: manifests that name blobs, one of which is the model. Here it is called `ollama:NAME`."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import ModelNotFound
from engine.models.on_disk.found import FoundModel, Search, size_of
from engine.models.on_disk.gguf_files import gguf_model

OLLAMA = "ollama:"
SERVICE = Path("/usr/share/ollama/.ollama/models")  # of the service on Linux
_MODEL = "application/vnd.ollama.image.model"
_ADAPTER = "application/vnd.ollama.image.adapter"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_USUAL = ("registry.ollama.ai", "library")
_MAX_MANIFEST = 2**20  # bytes


def stores(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Where Ollama may keep models: of this user, and of its service."""
    named = [Path(environ["OLLAMA_MODELS"])] if environ.get("OLLAMA_MODELS") else []
    return [*named, home / ".ollama" / "models", SERVICE]


def find_ollama(store: Path, search: Search) -> Iterator[FoundModel]:
    """The models of one store."""
    for name, blob, size in _blobs(store, search):
        model = gguf_model(blob, OLLAMA + name, name, "Ollama", size)
        if model is not None:
            yield model


def resolve_ollama(model: str, environ: Mapping[str, str], home: Path) -> Path:
    """The blob of `ollama:NAME`. Raises `ModelNotFound`."""
    wanted = model.removeprefix(OLLAMA)
    for store in stores(environ, home):
        for name, blob, _ in _blobs(store, Search()):
            if wanted in (name, name.removesuffix(":latest")):
                return blob
    raise ModelNotFound(
        f"Ollama has no model {wanted!r} here. Check the spelling with `ollama list`, or choose another."
    )


def _blobs(store: Path, search: Search) -> Iterator[tuple[str, Path, int]]:
    """(name, blob, bytes) of every manifest whose model is there."""
    for version in ("manifests", "manifests-v2"):
        root = store / version
        for entry in search.files(root):
            parts = Path(entry.path).relative_to(root).parts
            if len(parts) < 3 or size_of(entry) > _MAX_MANIFEST:
                continue
            digest = _model_digest(Path(entry.path))
            blob = store / "blobs" / f"sha256-{digest}"
            try:
                size = blob.stat().st_size if digest and blob.is_file() else 0
            except OSError:
                continue
            if size:
                yield _name(parts), blob, size


def _name(parts: tuple[str, ...]) -> str:
    """As `ollama list` prints it: `qwen3:0.6b`, `someone/qwen3:0.6b`, `hf.co/owner/name:Q4_K_M`."""
    *path, model, tag = parts
    if tuple(path) == _USUAL:
        path = []
    elif path[:1] == [_USUAL[0]]:
        path = path[1:]
    return "/".join([*path, model]) + f":{tag}"


def _model_digest(manifest: Path) -> str | None:
    """What the model's layer is; None where a manifest is damaged, or has an adapter on top of a model."""
    try:
        layers: Any = json.loads(manifest.read_bytes())["layers"]
        kinds = {layer["mediaType"]: layer["digest"] for layer in layers}
        match = _DIGEST.fullmatch(kinds[_MODEL])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return match[1] if match and _ADAPTER not in kinds else None
