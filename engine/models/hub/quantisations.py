"""Which GGUF files of a repository hold its model, and in which quantisation, by their names alone.

Knows neither the Hub nor the disk.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.errors import BrokenModel, EngineError, ModelNotFound
from engine.models.checkpoints.gguf.names import SHARD, label_of
from engine.models.hub.remote_files import File
from engine.models.ram import gigabytes

USUAL = "Q4_K_M"  # what most people take: about a quarter of 16 bits, and little is lost
_NO_MODEL = re.compile(r"mmproj|imatrix|^mtp-|(?:^|[-._])(?:lora|adapters?|vocab)(?:[-._]|$)", re.IGNORECASE)
# From the usual one outwards: first by bits, then by kind.
_NEAREST_BITS = ["4", "5", "6", "8", "3", "16", "2", "32", "1"]
_NEAREST_KINDS = ["_K_M", "_K_S", "_K_L", "_K_XL", "_K", "_1", "_0"]
_MOST_NAMED = 40


@dataclass(frozen=True, slots=True)
class Quantised:
    """A model in one file, or in all of its shards in order. `label` is empty where its name says no quantisation."""

    label: str
    stem: str
    files: tuple[File, ...]
    num_files: int

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def whole(self) -> bool:
        return len(self.files) == self.num_files

    @property
    def name(self) -> str:
        """What comes behind the repository's id to mean this one."""
        return f":{self.label}" if self.label else f"/{self.files[0].name}"


def quantisations(files: Iterable[File]) -> list[Quantised]:
    """The models among a repository's files, the smallest first; what sees, adapts or measures is none."""
    found: dict[tuple[str, int], dict[int, File]] = {}
    for file in files:
        shard = SHARD.fullmatch(file.name)
        is_gguf = file.name.lower().endswith(".gguf")
        if not is_gguf or _NO_MODEL.search(file.name.rpartition("/")[2]):
            continue
        stem, number, total = (shard[1], int(shard[2]), int(shard[3])) if shard else (file.name[:-5], 1, 1)
        if 1 <= number <= total:
            found.setdefault((stem, total), {})[number] = file
    models = [
        Quantised(label_of(stem), stem, tuple(file for _, file in sorted(parts.items())), total)
        for (stem, total), parts in found.items()
    ]
    return sorted(models, key=lambda model: (model.size, model.stem))


def pick(models: list[Quantised], wanted: str, hub_id: str) -> Quantised:
    """The model that `wanted` names: a quantisation, a file, or nothing for the usual one or the nearest to it.

    Raises `ModelNotFound`, which says what there is, or `BrokenModel`.
    """
    if wanted.lower().endswith(".gguf"):
        found = [m for m in models if wanted.lower() in [file.name.lower() for file in m.files]]
    elif wanted:
        spelled = label_of(wanted) or wanted
        found = [m for m in models if m.label.lower() == spelled.lower()]
        found = found or [m for m in models if _plain(m.label) == spelled.upper()]
    else:
        whole = sorted((m for m in models if m.whole), key=_distance)
        found = [m for m in whole if m.label == whole[0].label] or models[:1]
    if not found:
        raise _unknown(models, wanted, hub_id)
    whole = [model for model in found if model.whole]
    if not whole:
        first = found[0]
        raise BrokenModel(
            f"{hub_id} has {len(first.files)} of the {first.num_files} files of {first.stem}. Choose another "
            f"quantisation{_list(models, hub_id)}"
        )
    names = {model.stem.rpartition("/")[2].lower() for model in whole}
    if len(names) > 1:
        raise ModelNotFound(
            f"{hub_id} has several models{f' in {whole[0].label}' if whole[0].label else ''}: "
            f"{', '.join(f'{model.files[0].name} ({gigabytes(model.size)})' for model in whole[:_MOST_NAMED])}. Name "
            f"one of these files, as in {hub_id}/{whole[0].files[0].name}."
        )
    return min(whole, key=lambda model: (model.num_files, model.stem.count("/"), model.stem))


def _plain(label: str) -> str:
    return label.partition("-")[2] or label


def _distance(model: Quantised) -> tuple[int, int, int, str]:
    """How far a quantisation is from the usual one, for sorting."""
    label = _plain(model.label)
    bits = re.search(r"\d+", label)
    kind = label[bits.end() :] if bits else ""
    nearest = _NEAREST_BITS.index(bits[0]) if bits and bits[0] in _NEAREST_BITS else len(_NEAREST_BITS)
    kinds = _NEAREST_KINDS.index(kind) if label.startswith("Q") and kind in _NEAREST_KINDS else len(_NEAREST_KINDS)
    return nearest, kinds, label != model.label, model.stem


def _unknown(models: list[Quantised], wanted: str, hub_id: str) -> EngineError:
    what = f"no {wanted}" if wanted else "no GGUF model"
    return ModelNotFound(f"{hub_id} has {what}{_list(models, hub_id)}")


def _list(models: list[Quantised], hub_id: str) -> str:
    """The rest of a sentence: what there is to choose."""
    whole = [model for model in models if model.whole]
    if not whole:
        return ". Choose another repository."
    named = [f"{model.label or model.files[0].name} ({gigabytes(model.size)})" for model in whole[:_MOST_NAMED]]
    example = hub_id + min(whole, key=_distance).name
    return f": it has {', '.join(named)}. Name one of these, as in {example}."
