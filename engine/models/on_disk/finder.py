"""All models that other programs keep on this disk: looks into the folders that they use, and nowhere else."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from engine.models.on_disk.found import FoundModel, Search
from engine.models.on_disk.gguf_files import find_gguf
from engine.models.on_disk.hugging_face import find_hugging_face
from engine.models.on_disk.ollama import find_ollama, stores

log = logging.getLogger(__name__)

MAX_MODELS = 300
Find = Callable[[Path, Search], Iterator[FoundModel]]


def find_models(environ: Mapping[str, str], home: Path | None = None, system: str = sys.platform) -> list[FoundModel]:
    """Every model once, by name; whatever cannot be read is left out. Reads heads of files alone."""
    found: dict[str, FoundModel] = {}
    seen: set[str] = set()
    for folder, find in _places(environ, home or Path.home(), system):
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            for model in find(folder, Search()):
                found.setdefault(os.path.realpath(model.file), model)
                if len(found) >= MAX_MODELS:
                    break
        except (OSError, ValueError) as exc:  # another program may be at work in there
            log.info("%s was not looked through to its end: %r", folder, exc)
    return sorted(found.values(), key=lambda model: (model.name.lower(), model.program))


def _places(environ: Mapping[str, str], home: Path, system: str) -> Iterator[tuple[Path, Find]]:
    """Where each program keeps its models, and how they are found there. The first that has a file names it."""
    data, cache = _user_folders(environ, home, system)
    gguf = [
        *((folder, "LM Studio") for folder in (home / ".lmstudio/models", home / ".cache/lm-studio/models")),
        *([(Path(environ["LLAMA_CACHE"]), "llama.cpp")] if environ.get("LLAMA_CACHE") else []),
        (cache / "llama.cpp", "llama.cpp"),
        (data / "Jan/data/llamacpp/models", "Jan"),
        (_local(environ, home, system, data) / "nomic.ai/GPT4All", "GPT4All"),
    ]
    for folder, program in gguf:
        yield folder, partial(_in_program, program)
    for store in stores(environ, home):
        yield store, find_ollama
    yield hub_cache(environ, home), find_hugging_face


def _in_program(program: str, folder: Path, search: Search) -> Iterator[FoundModel]:
    return find_gguf(folder, program, search)


def _user_folders(environ: Mapping[str, str], home: Path, system: str) -> tuple[Path, Path]:
    """(data, caches) of this user's programs, as the system has them."""
    if system == "darwin":
        return home / "Library/Application Support", home / "Library/Caches"
    if system == "win32":
        roaming = Path(environ.get("APPDATA") or home / "AppData/Roaming")
        return roaming, _local(environ, home, system, roaming)
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    return data, Path(environ.get("XDG_CACHE_HOME") or home / ".cache")


def _local(environ: Mapping[str, str], home: Path, system: str, data: Path) -> Path:
    return Path(environ.get("LOCALAPPDATA") or home / "AppData/Local") if system == "win32" else data


def hub_cache(environ: Mapping[str, str], home: Path) -> Path:
    """As the Hub's own library finds it, which is too slow to import for this."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(name):
            return Path(os.path.expanduser(environ[name]))
    if environ.get("HF_HOME"):
        return Path(os.path.expanduser(environ["HF_HOME"])) / "hub"
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface" / "hub"
