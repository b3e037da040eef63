"""A model in the GGUF format: one file, or the shards of one, with configuration, tokenizer and weights in it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.errors import BrokenModel, ModelNotFound, UnsupportedModel
from engine.models.checkpoints.checkpoint import Checkpoint, Tensor
from engine.models.checkpoints.gguf import package
from engine.models.checkpoints.gguf.families import Described, check_kind, shortest, text_config
from engine.models.checkpoints.gguf.header import Header, StoredTensor, damaged, read_header
from engine.models.checkpoints.gguf.metadata import Metadata
from engine.models.checkpoints.gguf.rope import FREQUENCIES
from engine.models.checkpoints.gguf.vocabulary import Vocabulary, check_words
from engine.models.checkpoints.gguf.weights import StoredWeight, stored_weight, transformers_name

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE)
_SAMPLING = {  # llama.cpp's name to generation_config.json's
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
_MOST_NAMED = 8


@dataclass(frozen=True)
class GgufFile(Checkpoint):
    """A GGUF model; `path` is its file, the first where there are several."""

    files: tuple[Path, ...]
    metadata: Metadata
    stored: dict[str, StoredWeight]

    config_place = "its header"
    tokenizer_advice = "Download the file again, or choose another conversion of the model."

    @classmethod
    def read(cls, path: Path, name: str) -> "GgufFile":
        """Look through a file and its shards; it holds a model that can be loaded, or one sentence says what is wrong.

        Raises `BrokenModel` or `UnsupportedModel`.
        """
        files = shards_of(path)
        headers = [read_header(file) for file in files]
        metadata = Metadata(files[0], headers[0].metadata)
        tensors = _joined(headers, metadata)
        check_kind(metadata, len(tensors), name)
        for tensor in tensors.values():
            if not package.can_dequantise(tensor.type_id):
                raise UnsupportedModel(
                    f"{name} has weights of the type {tensor.type_name}, which cannot be turned into numbers here. "
                    "Choose another quantisation of the model, such as Q4_K_M or Q8_0."
                )
        config = text_config(Described(name, metadata, tensors))
        stored = _weights(tensors, config, metadata)
        described = tuple(Tensor(n, w.stored.type_name, w.shape, w.stored.num_bytes) for n, w in stored.items())
        Vocabulary.read(metadata, name)
        return cls(name, config, described, files[0], files, metadata, stored)

    @property
    def fingerprint(self) -> str:
        """Names the weights without reading them: their files' paths, sizes and times, as of a safetensors folder."""
        digest = hashlib.sha256(b"gguf\0")
        for file in self.files:
            stat = file.stat()
            digest.update(f"{file.resolve()}\0{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\0".encode())
        return digest.hexdigest()

    @property
    def stored_in(self) -> tuple[Path, ...]:
        return self.files

    @contextmanager
    def opened(self, *, tokenizer: bool = False) -> Iterator[dict[str, Any]]:
        """A folder with the texts that a model on the Hub has, made of the header."""
        texts = {"config.json": json.dumps(self.config)}
        if tokenizer:
            texts |= Vocabulary.read(self.metadata, self.name).files()
        with TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            folder = Path(temporary) / "model"
            folder.mkdir()
            for file, text in texts.items():
                (folder / file).write_text(text, encoding="utf-8")
            yield {"pretrained_model_name_or_path": folder}

    def decoded_weights(self) -> Mapping[str, StoredWeight]:
        return self.stored

    def generation_defaults(self) -> dict[str, Any]:
        values: dict[str, Any] = {"eos_token_id": Vocabulary.read(self.metadata, self.name).end_ids()}
        for key, known in _SAMPLING.items():
            if f"general.sampling.{key}" in self.metadata:
                value = shortest(self.metadata.number(f"general.sampling.{key}", 0.0))
                values |= {known: int(value) if key == "top_k" else value, "do_sample": True}
        return values


def check_start(values: dict[str, Any], file: Path, name: str) -> None:
    """Refuse a model by the first values of its header, before the rest is here.

    Raises `UnsupportedModel` or `BrokenModel`.
    """
    metadata = Metadata(file, values)
    check_kind(metadata, 1, name)
    if "tokenizer.ggml.model" in metadata and "tokenizer.ggml.pre" in metadata:
        check_words(metadata, name)


def shards_of(path: Path) -> tuple[Path, ...]:
    """The files of the model that a file is of: itself, or all shards. Raises `BrokenModel`."""
    match = _SHARD.fullmatch(path.name)
    if match is None:
        return (path,)
    stem, total, suffix = match[1], int(match[3]), match[4]
    present = {file.name for file in path.parent.iterdir()}
    missing, names = 0, []
    for number in range(1, total + 1):
        shard = f"{stem}-{number:05}-of-{match[3]}{suffix}"
        missing += shard not in present
        names.append(shard)
    if missing or not names:
        first = next((shard for shard in names if shard not in present), path.name)
        raise BrokenModel(
            f"{stem}: {missing} of its {total} files are missing in {path.parent}, the first is {first}. Download "
            "them into the same folder."
        )
    return tuple(path.parent / shard for shard in names)


def model_name(path: Path) -> str:
    """What a GGUF model is called: its file's name without its end and the shard's number."""
    match = _SHARD.fullmatch(path.name)
    if match is not None:
        return match[1]
    return path.stem if path.suffix.lower() == ".gguf" else path.name


def only_model_in(folder: Path, name: str) -> Path:
    """The file of the one GGUF model in a folder. Raises `ModelNotFound`, which lists them where there are several."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".gguf" and file.is_file())
    models = {model_name(file): file for file in reversed(files)}
    beside = {stem: file for stem, file in models.items() if not stem.lower().startswith(("mmproj", "mtp-"))}
    models = dict(sorted((beside or models).items()))
    if len(models) == 1:
        return next(iter(models.values()))
    named = [f"{file.name} ({_size(file)})" for file in models.values()]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    raise ModelNotFound(
        f"{name} holds {len(named)} GGUF models: {', '.join(named[:_MOST_NAMED])}{more}. Name one of these files, as "
        f"in {next(iter(models.values()))}."
    )


def _size(file: Path) -> str:
    """The size of a model's first file, for people."""
    return f"{sum(shard.stat().st_size for shard in _present_shards(file)) / 10**9:.2f} GB"


def _present_shards(file: Path) -> list[Path]:
    match = _SHARD.fullmatch(file.name)
    if match is None:
        return [file]
    return [f for f in file.parent.iterdir() if (m := _SHARD.fullmatch(f.name)) and m[1] == match[1]]


def _joined(headers: list[Header], metadata: Metadata) -> dict[str, StoredTensor]:
    """The tensors of all files, which must belong together. Raises `BrokenModel`."""
    announced = metadata.integer("split.count", 1)
    if announced > 1 and len(headers) == 1:
        raise BrokenModel(
            f"{metadata.file.name} is one of {announced} files of a model. Give them their own names again, which end "
            f"in -00001-of-{announced:05}.gguf, in one folder."
        )
    tensors: dict[str, StoredTensor] = {}
    for number, header in enumerate(headers):
        for key, right in (("split.no", number), ("split.count", len(headers))):
            if header.metadata.get(key, right) != right:
                raise BrokenModel(f"{header.file.name} is not the file that its name says. Download it again.")
        for tensor in header.tensors:
            if tensor.name in tensors:
                raise damaged(header.file, f"it has {tensor.name[:80]}, as another of the model's files has")
            tensors[tensor.name] = tensor
    if len(tensors) != metadata.integer("split.tensors.count", len(tensors)):
        raise damaged(metadata.file, f"the model's files have {len(tensors):,} tensors, and not as many as it says")
    return tensors


def _weights(tensors: dict[str, StoredTensor], config: dict[str, Any], metadata: Metadata) -> dict[str, StoredWeight]:
    """The weights by transformers' names; those without a place there keep theirs."""
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    weights: dict[str, StoredWeight] = {}
    for name, tensor in tensors.items():
        if name not in FREQUENCIES:
            known = transformers_name(name, metadata.architecture) or name
            weights[known] = stored_weight(tensor, metadata.architecture, heads, kv_heads)
    return weights
