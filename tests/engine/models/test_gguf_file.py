"""GGUF models by path: a file, a folder, shards; and which files are no model that can be run."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from engine.config import ModelSpec
from engine.errors import BrokenModel, EngineError, ModelNotFound, UnsupportedModel
from engine.models.catalog import read_checkpoint, resolve
from engine.models.checkpoints.gguf_file import GgufFile
from engine.models.loader import load_model
from tests.gguf_files import write_gguf

TinyModel = Callable[..., Path]


@pytest.fixture
def file(tiny_model: TinyModel, tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny-Q8_0.gguf", tiny_model("llama"), "Q8_0")


def read(model: Path | str) -> GgufFile:
    location = resolve(str(model))
    assert location.path is not None
    checkpoint = read_checkpoint(location.path, location.name)
    assert isinstance(checkpoint, GgufFile)
    return checkpoint


def refusal(model: Path, kind: type[EngineError]) -> str:
    with pytest.raises(kind) as found:
        read(model)
    assert type(found.value) is kind
    assert str(found.value).endswith(".")
    return str(found.value)


def test_a_file(file: Path) -> None:
    checkpoint = read(file)
    assert resolve(str(file)).name == checkpoint.name == "tiny-Q8_0"
    assert checkpoint.model_type == "llama"
    assert checkpoint.num_parameters == 123_200
    assert {tensor.dtype for tensor in checkpoint.tensors} == {"Q8_0", "F32"}
    assert load_model(ModelSpec(model=str(file), dtype="fp32"), lambda _: None).name == "tiny-Q8_0"


def test_a_file_by_another_name(file: Path) -> None:
    """As Ollama keeps them, by a hash of what is in them."""
    blob = file.rename(file.parent / "sha256-0123abcd")
    assert read(blob).name == "sha256-0123abcd"


def test_a_folder(file: Path) -> None:
    (file.parent / "config.json").write_text("{}")  # as many repositories have it
    (file.parent / "README.md").write_text("Hello.")
    (file.parent / "mmproj-F16.gguf").write_bytes(b"GGUF")
    assert read(file.parent).path == file
    assert read(file.parent).name == "tiny-Q8_0"


def test_a_folder_of_the_hub_cache(file: Path) -> None:
    snapshot = file.parent / "models--a--b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / file.name).symlink_to(file)
    assert read(snapshot.parents[1]).name == "tiny-Q8_0"


def test_a_folder_with_safetensors_too(tiny_model: TinyModel, tmp_path: Path, file: Path) -> None:
    folder = Path(shutil.copytree(tiny_model("llama"), tmp_path / "both"))
    shutil.copy(file, folder)
    assert not isinstance(read_checkpoint(folder, "both"), GgufFile)


def test_several_models_are_listed(file: Path) -> None:
    for number in range(12):
        shutil.copy(file, file.parent / f"other-{number:02}.gguf")
    sentence = refusal(file.parent, ModelNotFound)
    assert "holds 13 GGUF models: other-00.gguf (0.00 GB), other-01.gguf" in sentence
    assert "5 more" in sentence
    assert str(file.parent / "other-00.gguf") in sentence


def test_only_the_part_that_sees(tiny_model: TinyModel, tmp_path: Path) -> None:
    metadata = {"general.architecture": "clip", "general.type": "mmproj"}
    write_gguf(tmp_path / "mmproj-F16.gguf", tiny_model("llama"), metadata=metadata)
    assert "mmproj" in refusal(tmp_path, UnsupportedModel)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"no file.*gone\.gguf"):
        resolve(str(tmp_path / "gone.gguf"))


# --- shards


@pytest.fixture
def shards(tiny_model: TinyModel, tmp_path: Path) -> list[Path]:
    """A model as llama.cpp's gguf-split cuts it: the first file has the metadata, and perhaps no weights."""
    whole = write_gguf(tmp_path / "whole.gguf", tiny_model("llama"), "Q8_0")
    reader = gguf.GGUFReader(whole)
    parts: list[list[Any]] = [[], reader.tensors[:10], reader.tensors[10:]]
    files = []
    for number, tensors in enumerate(parts):
        path = tmp_path / "shards" / f"big-{number + 1:05}-of-00003.gguf"
        path.parent.mkdir(exist_ok=True)
        writer = gguf.GGUFWriter(path, "llama")
        if number == 0:
            for key, field in reader.fields.items():
                if not key.startswith("GGUF.") and key != "general.architecture":
                    kinds = field.types
                    writer.add_key_value(key, field.contents(), kinds[0], kinds[1] if len(kinds) > 1 else None)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 3)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in tensors:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        files.append(path)
    return files


@pytest.mark.parametrize("number", [0, 1, 2])
def test_any_shard_means_all(shards: list[Path], file: Path, number: int) -> None:
    checkpoint = read(shards[number])
    assert checkpoint.files == tuple(shards)
    assert checkpoint.name == "big"
    assert read(shards[0].parent).files == tuple(shards)
    ours, whole = (
        dict(load_model(ModelSpec(model=str(path), dtype="fp32"), lambda _: None).model.named_parameters())
        for path in (shards[number], file)
    )
    assert all((weight == whole[name]).all() for name, weight in ours.items())


def test_a_missing_shard_is_named(shards: list[Path]) -> None:
    shards[1].unlink()
    sentence = refusal(shards[0], BrokenModel)
    assert "1 of its 3 files are missing" in sentence
    assert "big-00002-of-00003.gguf" in sentence
    assert sentence == refusal(shards[0].parent, BrokenModel)


def test_a_shard_under_another_name(shards: list[Path]) -> None:
    alone = shards[0].rename(shards[0].parent.parent / "alone.gguf")
    assert "one of 3 files" in refusal(alone, BrokenModel)


def test_a_shard_in_anothers_place(shards: list[Path]) -> None:
    shutil.copy(shards[1], shards[2])
    assert "not the file that its name says" in refusal(shards[0], BrokenModel)


# --- no model that can be run


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"general.type": "adapter"}, "LoRA"),
        ({"general.type": "mmproj", "general.architecture": "clip"}, "mmproj"),
        ({"general.architecture": "bert"}, "embedding model"),
        ({"general.architecture": "nomic-bert"}, "embedding model"),
        ({"general.architecture": "gemma-embedding"}, "embedding model"),
        ({".pooling_type": 3}, "embedding model"),
        ({"general.architecture": "mamba"}, "'mamba'.*Llama, Qwen2"),
        ({"general.architecture": "qwen3moe"}, "'qwen3moe'.*Llama, Qwen2"),
        ({".expert_count": 8}, "mixture of experts"),
        ({".attention.value_length": 8}, "another size"),
        ({".feed_forward_length": [128, 256]}, "different sizes"),
        ({".rope.dimension_count": 8}, "turns 8 of the 16"),
        ({"general.architecture": "qwen2", ".attention.sliding_window": 32}, "sliding window"),
    ],
)
def test_refused_in_a_sentence(tiny_model: TinyModel, tmp_path: Path, metadata: dict[str, Any], words: str) -> None:
    architecture = metadata.get("general.architecture", "llama")
    named = {f"{architecture}{key}" if key.startswith(".") else key: value for key, value in metadata.items()}
    file = write_gguf(tmp_path / "m.gguf", tiny_model("qwen2" if architecture == "qwen2" else "llama"), metadata=named)
    with pytest.raises(UnsupportedModel, match=words):
        read(file)


def test_a_vocabulary_alone(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tiny_model("llama")
    names = tuple(tensor.name for tensor in gguf.GGUFReader(write_gguf(tmp_path / "m.gguf", folder)).tensors)
    assert "vocabulary" in refusal(write_gguf(tmp_path / "v.gguf", folder, without=names), UnsupportedModel)


def test_a_type_that_the_package_cannot_read(tiny_model: TinyModel, tmp_path: Path) -> None:
    extra = tmp_path / "m.gguf"
    write_gguf(extra, tiny_model("llama"), tensors={"blk.0.odd.weight": np.ones((4, 256), np.float32)})
    data = bytearray(extra.read_bytes())
    name = b"blk.0.odd.weight"
    at = data.index(name) + len(name) + 4 + 16
    data[at : at + 4] = int(gguf.GGMLQuantizationType.Q8_K).to_bytes(4, "little")
    extra.write_bytes(data)
    sentence = refusal(extra, UnsupportedModel)
    assert "Q8_K" in sentence
    assert "Q4_K_M" in sentence


# --- the fingerprint


def test_the_fingerprint_names_these_weights(file: Path) -> None:
    before = read(file).fingerprint
    assert read(file).fingerprint == before
    data = file.read_bytes()
    stat = file.stat()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert read(file).fingerprint != before


def test_every_shard_counts(shards: list[Path]) -> None:
    before = read(shards[0]).fingerprint
    shards[2].touch()
    assert read(shards[0]).fingerprint != before


def test_a_link_keeps_its_name(file: Path) -> None:
    """As in the Hub's cache, where the files themselves are named by their hashes."""
    link = file.parent / "links" / "a-model.gguf"
    link.parent.mkdir()
    link.symlink_to(file)
    assert read(link).name == "a-model"
    assert resolve(str(link)).path == link


def test_a_file_that_cannot_be_read_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(b"GGUF")

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelNotFound, match="GGUF file"):
        resolve(str(tmp_path / "secret"))
