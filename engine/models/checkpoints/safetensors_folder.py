"""A folder as the Hub has it: config.json, a tokenizer, and safetensors in one file or several with an index."""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BrokenModel, EngineError, ModelNotFound
from engine.models.checkpoints.checkpoint import Checkpoint, Tensor
from engine.models.checkpoints.supported import check_config, check_names
from engine.models.checkpoints.text_files import parse_json, read_json, without_marks

INDEX = "model.safetensors.index.json"
_MAX_HEADER = 100 * 2**20  # bytes; safetensors' own limit


@dataclass(frozen=True)
class SafetensorsFolder(Checkpoint):
    """A model folder with safetensors; `path` is the folder."""

    weight_files: tuple[Path, ...]

    @classmethod
    def read(cls, folder: Path, name: str) -> "SafetensorsFolder":
        """Look through a folder; it holds a model that can be loaded, or one sentence says what is missing.

        Raises `ModelNotFound`, `BrokenModel` or `UnsupportedModel`.
        """
        if not folder.is_dir():
            raise ModelNotFound(f"There is no folder {folder}. Check the path, or choose another model.")
        check_names({p.name for p in folder.iterdir()}, name, f"the folder {folder}")
        config = check_config(read_config(folder / "config.json", name), name)
        files = _weight_files(folder, name)
        return cls(name, config, tuple(t for file in files for t in read_header(file)), folder, files)

    @property
    def fingerprint(self) -> str:
        """Names the folder's weights without reading them: their files' paths, sizes and times, and config.json.

        The time of a file's last change by any means is among them, where the system has one: a copy that brings its
        old date along does not go unnoticed.
        """
        digest = hashlib.sha256((self.path / "config.json").read_bytes())
        for file in self.weight_files:
            stat = file.stat()
            digest.update(f"{file.resolve()}\0{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\0".encode())
        return digest.hexdigest()

    @property
    def stored_in(self) -> tuple[Path, ...]:
        return self.weight_files

    @contextmanager
    def opened(self, *, tokenizer: bool = False) -> Iterator[dict[str, Any]]:
        with without_marks(self.path) as folder:
            yield {"pretrained_model_name_or_path": folder}

    def generation_defaults(self) -> dict[str, Any]:
        path = self.path / "generation_config.json"
        if not path.is_file():
            return {}
        try:
            values = read_json(path)
        except (OSError, ValueError) as exc:
            raise BrokenModel(
                f"{self.name}: generation_config.json cannot be read ({exc}). Download it again, or delete it."
            ) from exc
        if not isinstance(values, dict):
            raise BrokenModel(f"{self.name}: generation_config.json is not an object. Download it again, or delete it.")
        return values


def read_config(path: Path, name: str) -> dict[str, Any]:
    """A model's config.json, which names its `model_type`. Raises `BrokenModel`."""
    try:
        config = read_json(path)
    except (OSError, ValueError) as exc:
        raise BrokenModel(f"{name}: config.json cannot be read ({exc}). Download the model again.") from exc
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise BrokenModel(f"{name}: config.json names no model_type. Download the model again.")
    return config


def _weight_files(folder: Path, name: str) -> tuple[Path, ...]:
    single, index = folder / "model.safetensors", folder / INDEX
    if single.exists() or not index.exists():  # transformers looks for the single file first
        return (single,)
    present = {path.name for path in folder.iterdir() if path.is_file()}
    again = "Download the model again; what is there is kept."
    return tuple(folder / shard for shard in shards_of(index, present, name, again))


def shards_of(index: Path, present: set[str], name: str, advice: str) -> list[str]:
    """The weight files that an index names, which must be among those present. Raises `BrokenModel`."""
    try:
        shards = _shards(read_json(index))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BrokenModel(f"{name}: {index.name} cannot be read. Download the model again.") from exc
    if any(Path(shard).name != shard for shard in shards):
        raise BrokenModel(f"{name}: {index.name} names files outside the folder. Download the model again.")
    if not all(shard.isprintable() for shard in shards):
        raise BrokenModel(f"{name}: {index.name} names files as no file is called. Download the model again.")
    if missing := [shard for shard in shards if shard not in present]:
        raise BrokenModel(
            f"{name}: {len(missing)} of {len(shards)} weight files are missing, the first is {missing[0]}. {advice}"
        )
    return shards


def _shards(index: dict[str, Any]) -> list[str]:
    """The files that an index names; transformers wants its `metadata`, too. Raises where it is no such thing."""
    shards = sorted(set(index["weight_map"].values()))
    if not shards or not all(isinstance(shard, str) for shard in shards) or not isinstance(index["metadata"], dict):
        raise ValueError("an index without files or metadata")
    return shards


def read_header(file: Path) -> list[Tensor]:
    """The tensors of a safetensors file, from its header alone. Raises `BrokenModel` where it is damaged."""
    if not file.is_file():  # a link to nowhere, say
        raise BrokenModel(f"{file.name} in {file.parent} is no file that can be read. Download the model again.")
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if start.startswith(b"version "):
            raise BrokenModel(f"{file.name} is only a Git LFS placeholder. Run `git lfs pull` in {file.parent}.")
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise _damaged(file, size, "its header cannot be read")
        try:
            header = parse_json(stream.read(length))
            header.pop("__metadata__", None)
            tensors = [_tensor(key, described) for key, described in header.items()]
            end = max((t["data_offsets"][1] for t in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise _damaged(file, size, "its header cannot be read") from exc
    if end != size - 8 - length:
        raise _damaged(file, size, f"its header announces {8 + length + end:,}")
    return tensors


def _tensor(name: str, described: dict[str, Any]) -> Tensor:
    """A tensor as a header describes it. Raises where that cannot be."""
    dtype, shape, (start, end) = described["dtype"], described["shape"], described["data_offsets"]
    counts = [*shape, start, end]
    if not isinstance(dtype, str) or not all(type(count) is int and 0 <= count < 2**63 for count in counts):
        raise ValueError("a tensor whose type is no name, or whose sizes are no sizes")
    tensor = Tensor(name, dtype, tuple(shape), end - start)
    if tensor.num_bytes < 0 or tensor.num_elements > 8 * tensor.num_bytes:
        raise ValueError("a tensor with more numbers than bits")
    return tensor


def _damaged(file: Path, size: int, why: str) -> EngineError:
    return BrokenModel(f"{file.name} is damaged: it has {size:,} bytes and {why}. Delete it and download it again.")
