"""Fake home folders of other programs: what is listed, by which name, with which size, and what is left out."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ModelNotFound
from engine.models.on_disk import finder, found, ollama
from engine.models.on_disk.finder import find_models
from engine.models.on_disk.fit import fit
from engine.models.on_disk.gguf_head import read_head, shape_of
from engine.models.on_disk.ollama import resolve_ollama
from tests.models import copy_model

GB = 10**9
LLAMA = {
    "general.architecture": "llama",
    "general.tags": ["text-generation", "en"],
    "general.size_label": "8B",
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.context_length": 131072,
    "tokenizer.ggml.tokens": ["word"] * 20_000,
    "behind.the.vocabulary": 1,
}


def gguf_bytes(pairs: dict[str, Any], version: int = 3) -> bytes:
    """A GGUF file's header: numbers as u32, texts, lists of texts."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    body = b""
    for key, value in pairs.items():
        body += text(key)
        if isinstance(value, int):
            body += struct.pack("<II", 4, value)
        elif isinstance(value, str):
            body += struct.pack("<I", 8) + text(value)
        else:
            body += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + body


def write_sparse(path: Path, size: int = 2 * GB, pairs: dict[str, Any] | None = None) -> Path:
    """A sparse file of this size that begins as a model does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf_bytes(LLAMA if pairs is None else pairs))
    os.truncate(path, size)
    return path


def listed(home: Path, environ: dict[str, str] | None = None, system: str = "linux") -> list[tuple[str, str, str, int]]:
    models = find_models(environ or {}, home, system)
    return [(model.name, model.program, os.path.relpath(model.file, home), model.size_bytes) for model in models]


@pytest.fixture(autouse=True)
def _no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama, "SERVICE", tmp_path / "no-such-service")


@pytest.mark.parametrize(
    ("system", "environ", "path", "program", "name"),
    [
        ("linux", {}, ".lmstudio/models/maker/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf", "LM Studio", "Qwen3-4B-Q4_K_M"),
        ("linux", {}, ".cache/lm-studio/models/maker/repo/old-Q8_0.gguf", "LM Studio", "old-Q8_0"),
        ("win32", {}, ".lmstudio/models/maker/repo/a.gguf", "LM Studio", "a"),
        ("linux", {}, ".cache/llama.cpp/owner_repo_x.gguf", "llama.cpp", "owner_repo_x"),
        ("linux", {"XDG_CACHE_HOME": "{home}/c"}, "c/llama.cpp/x.gguf", "llama.cpp", "x"),
        ("linux", {"LLAMA_CACHE": "{home}/mine"}, "mine/x.gguf", "llama.cpp", "x"),
        ("darwin", {}, "Library/Caches/llama.cpp/x.gguf", "llama.cpp", "x"),
        ("win32", {}, "AppData/Local/llama.cpp/x.gguf", "llama.cpp", "x"),
        ("linux", {}, ".local/share/Jan/data/llamacpp/models/maker/Jan-v1-4B/model.gguf", "Jan", "Jan-v1-4B"),
        ("darwin", {}, "Library/Application Support/Jan/data/llamacpp/models/J/model.gguf", "Jan", "J"),
        ("win32", {"APPDATA": "{home}/r"}, "r/Jan/data/llamacpp/models/J/model.gguf", "Jan", "J"),
        ("linux", {}, ".local/share/nomic.ai/GPT4All/Llama-3.2-1B.Q4_0.gguf", "GPT4All", "Llama-3.2-1B.Q4_0"),
        ("win32", {"LOCALAPPDATA": "{home}/l"}, "l/nomic.ai/GPT4All/x.gguf", "GPT4All", "x"),
        ("linux", {}, ".cache/huggingface/hub/models--a--b/snapshots/1/x.gguf", "Hugging Face", "x"),
        ("linux", {"HF_HOME": "{home}/hf"}, "hf/hub/models--a--b/snapshots/1/x.gguf", "Hugging Face", "x"),
        ("linux", {"HF_HUB_CACHE": "{home}/hub"}, "hub/models--a--b/snapshots/1/x.gguf", "Hugging Face", "x"),
    ],
)
def test_each_program_s_folder(
    tmp_path: Path, system: str, environ: dict[str, str], path: str, program: str, name: str
) -> None:
    write_sparse(tmp_path / path)
    environ = {key: value.format(home=tmp_path) for key, value in environ.items()}
    assert listed(tmp_path, environ, system) == [(name, program, path, 2 * GB)]


def test_gguf_files_of_the_hugging_face_cache_load_by_their_repository(tmp_path: Path) -> None:
    snapshot = tmp_path / "hf/hub/models--a--b/snapshots/1"
    for name in ("x-Q8_0", "x-Q4_K_M", "y-Q4_K_M", "z", "sub/w-BF16"):
        write_sparse(snapshot / f"{name}.gguf")
    earlier = snapshot.with_name("0")
    for name in ("x-Q8_0", "x-Q2_K"):
        write_sparse(earlier / f"{name}.gguf")
    (tmp_path / "hf/hub/models--a--b/refs").mkdir()
    (tmp_path / "hf/hub/models--a--b/refs/main").write_text("1")
    found = find_models({"HF_HOME": str(tmp_path / "hf")}, tmp_path, "linux")
    assert [model.name for model in found if model.file.parent == earlier] == ["x-Q2_K"]
    assert {model.name: model.model for model in found} == {
        "x-Q8_0": "a/b:Q8_0",
        "x-Q4_K_M": "a/b/x-Q4_K_M.gguf",
        "y-Q4_K_M": "a/b/y-Q4_K_M.gguf",
        "z": "a/b/z.gguf",
        "w-BF16": "a/b:BF16",
        "x-Q2_K": "a/b:Q2_K",  # of an earlier version
    }


def test_what_is_no_chat_model_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / ".lmstudio/models/maker/repo"
    for name, pairs in {
        "mmproj-model-f16.gguf": LLAMA,
        "model-mmproj-f16.gguf": LLAMA,
        "mtp-heads.gguf": LLAMA,
        "vision.gguf": {"general.architecture": "clip"},
        "embeddings.gguf": {"general.architecture": "nomic-bert"},
        "lora.gguf": {"general.architecture": "llama", "general.type": "adapter"},
        "model.gguf.part": LLAMA,
        "._copy.gguf": LLAMA,
    }.items():
        write_sparse(folder / name, pairs=pairs)
    (folder / "empty.gguf").touch()
    (folder / "folder.gguf").mkdir()
    (folder / "nowhere.gguf").symlink_to(folder / "gone")
    assert listed(tmp_path) == []


def test_parts_are_one_model_where_all_are_there(tmp_path: Path) -> None:
    folder = tmp_path / ".lmstudio/models/maker/repo"
    for number in (1, 2, 3):
        write_sparse(folder / f"big-Q4_K_M-0000{number}-of-00003.gguf", GB)
    write_sparse(folder / "half-00001-of-00002.gguf", GB)
    write_sparse(folder / "odd-00001-of-99999.gguf", GB)
    first = ".lmstudio/models/maker/repo/big-Q4_K_M-00001-of-00003.gguf"
    assert listed(tmp_path) == [("big-Q4_K_M", "LM Studio", first, 3 * GB)]


def test_a_file_that_two_programs_share_is_listed_once(tmp_path: Path) -> None:
    original = write_sparse(tmp_path / ".cache/llama.cpp/x.gguf")
    link = tmp_path / ".lmstudio/models/maker/repo/linked.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(original)
    assert [entry[:2] for entry in listed(tmp_path)] == [("linked", "LM Studio")]


# --- Ollama


def write_ollama(store: Path, name: str, digest: str, layers: list[dict[str, Any]] | None = None) -> Path:
    manifest = store / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    usual = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": 2 * GB},
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64, "size": 5},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": usual if layers is None else layers}))
    return write_sparse(store / "blobs" / f"sha256-{digest}")


def test_ollama_s_models_have_its_own_names_and_load_from_their_blobs(tmp_path: Path) -> None:
    store = tmp_path / ".ollama/models"
    blobs = {
        name: write_ollama(store, path, digit * 64)
        for digit, path, name in (
            ("a", "registry.ollama.ai/library/qwen3/0.6b", "qwen3:0.6b"),
            ("b", "registry.ollama.ai/library/llama3.2/latest", "llama3.2:latest"),
            ("c", "registry.ollama.ai/someone/own/1b", "someone/own:1b"),
            ("d", "hf.co/owner/name-GGUF/Q4_K_M", "hf.co/owner/name-GGUF:Q4_K_M"),
        )
    }
    models = find_models({}, tmp_path, "linux")
    assert {model.name: model.file for model in models} == blobs
    assert all(model.model == f"ollama:{model.name}" and model.program == "Ollama" for model in models)
    assert all(model.size_bytes == 2 * GB for model in models)
    for model in models:
        assert resolve_ollama(model.model, {}, tmp_path) == blobs[model.name]
    assert resolve_ollama("ollama:llama3.2", {}, tmp_path) == blobs["llama3.2:latest"]
    with pytest.raises(ModelNotFound, match="Ollama has no model 'gone'"):
        resolve_ollama("ollama:gone", {}, tmp_path)
    moved = store.rename(tmp_path / "moved")
    assert listed(tmp_path) == []
    assert len(listed(tmp_path, {"OLLAMA_MODELS": str(moved)})) == 4


MODEL = "application/vnd.ollama.image.model"


@pytest.mark.parametrize(
    "text",
    [
        "{ half",
        "[]",
        "{}",
        '{"layers": 5}',
        '{"layers": [5]}',
        '{"layers": null}',
        json.dumps({"layers": [{"mediaType": MODEL, "digest": "sha256:../../../../etc/passwd"}]}),
        json.dumps({"layers": [{"mediaType": MODEL, "digest": 5}]}),
        json.dumps({"layers": [{"mediaType": MODEL, "digest": "sha256:" + "b" * 64}]}),  # no such blob
        json.dumps(
            {
                "layers": [
                    {"mediaType": MODEL, "digest": "sha256:" + "a" * 64},
                    {"mediaType": "application/vnd.ollama.image.adapter", "digest": "sha256:" + "c" * 64},
                ]
            }
        ),
        "[" * 100_000,
    ],
)
def test_a_manifest_that_is_damaged_is_left_out(tmp_path: Path, text: str) -> None:
    store = tmp_path / ".ollama/models"
    write_ollama(store, "registry.ollama.ai/library/whole/1b", "e" * 64)
    write_ollama(store, "registry.ollama.ai/library/odd/1b", "a" * 64)
    (store / "manifests/registry.ollama.ai/library/odd/1b").write_text(text)
    assert [entry[0] for entry in listed(tmp_path)] == ["whole:1b"]


# --- Hugging Face


def test_safetensors_in_the_hub_s_cache_load_by_their_id(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    repository = tmp_path / ".cache/huggingface/hub/models--owner--tiny"
    for commit in ("older", "newer"):
        copy_model(tiny_model("llama"), repository / "snapshots" / commit)
    (repository / "snapshots/newer/model.safetensors").write_bytes(b"half")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("older\n")
    (model,) = find_models({}, tmp_path, "linux")
    weights = repository / "snapshots/older/model.safetensors"
    assert (model.model, model.name, model.program) == ("owner/tiny", "owner/tiny", "Hugging Face")
    assert (model.size_bytes, model.file) == (weights.stat().st_size, weights)
    assert fit(model.shape, GB) == "fits"
    (repository / "refs/main").write_text("newer")
    assert listed(tmp_path) == [], "an unfinished download is none"


def test_what_is_no_model_in_the_hub_s_cache_is_left_out(tmp_path: Path) -> None:
    hub = tmp_path / ".cache/huggingface/hub"
    bert = hub / "models--owner--bert/snapshots/1"
    bert.mkdir(parents=True)
    (bert / "config.json").write_text('{"model_type": "bert"}')
    (bert / "model.safetensors").touch()
    (bert / "tokenizer.json").touch()
    (hub / "datasets--owner--set/snapshots/1").mkdir(parents=True)
    (hub / "models--owner--empty").mkdir()
    (hub / "models--a-file").touch()
    assert listed(tmp_path) == []


# --- odd folders


def test_a_circle_of_links_and_a_huge_folder_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / ".lmstudio/models"
    write_sparse(root / "a/b/x.gguf")
    (root / "a/b/back").symlink_to(root)
    assert [entry[0] for entry in listed(tmp_path)] == ["x"]
    monkeypatch.setattr(found, "MAX_ENTRIES", 0)
    deep = root / "1/2/3/4/5"
    write_sparse(deep / "deep.gguf")
    assert [entry[0] for entry in listed(tmp_path)] == ["x"], "models lie less deep"
    for number in range(5):
        write_sparse(tmp_path / f".cache/llama.cpp/{number}.gguf")
    monkeypatch.setattr(finder, "MAX_MODELS", 2)
    assert len(listed(tmp_path)) == 2


def test_a_folder_that_cannot_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sparse(tmp_path / ".lmstudio/models/a/x.gguf")
    write_sparse(tmp_path / ".cache/llama.cpp/y.gguf")
    scan = os.scandir

    def refuse(folder: Any) -> Any:
        if str(folder).endswith("models/a"):
            raise PermissionError(13, "no", str(folder))
        return scan(folder)

    monkeypatch.setattr(found.os, "scandir", refuse)
    assert [entry[0] for entry in listed(tmp_path)] == ["y"]


def test_without_any_program_there_is_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path / "no-such-home") == []


# --- heads and sizes


@pytest.mark.parametrize("version", [2, 3])
def test_a_head_is_read_up_to_the_vocabulary(tmp_path: Path, version: int) -> None:
    file = tmp_path / "x"
    file.write_bytes(gguf_bytes(LLAMA, version))
    pairs = read_head(file)
    assert pairs is not None
    assert pairs["llama.block_count"] == 32
    assert "behind.the.vocabulary" not in pairs
    config = shape_of("x-Q4_K_M", 5 * GB, pairs).config
    assert (config["num_hidden_layers"], config["num_key_value_heads"], config["head_dim"]) == (32, 8, 128)


def test_no_prefix_of_a_file_and_no_foreign_file_fails(tmp_path: Path) -> None:
    whole, file = gguf_bytes({key: LLAMA[key] for key in list(LLAMA)[:6]}), tmp_path / "x"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        read_head(file)
    for other in (b"", b"PK\3\4", bytes(100), b"GGUF" + struct.pack("<IQQ", 1, 1, 1), b"FUGG" + whole[4:]):
        file.write_bytes(other)
        assert not read_head(file)
    huge = b"GGUF" + struct.pack("<IQQ", 3, 2**64 - 1, 2**64 - 1) + struct.pack("<Q", 2**63)
    file.write_bytes(huge)
    assert read_head(file) == {}


@pytest.mark.parametrize(
    ("name", "size", "pairs", "billions"),
    [
        ("x-Q4_K_M", 4.9 * GB, {}, 8.0),
        ("x-Q8_0", 8.5 * GB, {}, 8.0),
        ("x.f16", 2 * GB, {}, 1.0),
        ("x-BF16", 2 * GB, {}, 1.0),
        ("x", 4.9 * GB, {}, 8.0),
        ("x-Q4_K_M", 4.9 * GB, {"general.size_label": "8B"}, 8.0),
        ("x-Q4_K_M", 26 * GB, {"general.size_label": "8x7B"}, 56.0),
        ("x-Q4_K_M", 0.3 * GB, {"general.size_label": "8B"}, 0.49),  # the label of what it was made from
        ("x-Q4_K_M", 0.3 * GB, {"general.parameter_count": 494_000_000}, 0.494),
    ],
)
def test_how_many_weights_a_file_has(name: str, size: float, pairs: dict[str, Any], billions: float) -> None:
    assert shape_of(name, int(size), pairs).num_parameters / 1e9 == pytest.approx(billions, rel=0.02)


@pytest.mark.parametrize(
    ("free_gb", "wanted"), [(64, "fits"), (20, "fits"), (17, "tight"), (9, "tight"), (4, "too large"), (0, "too large")]
)
def test_whether_eight_billion_weights_fit(free_gb: float, wanted: str) -> None:
    assert fit(shape_of("x-Q4_K_M", int(4.9 * GB), LLAMA), int(free_gb * GB)) == wanted


def test_an_ollama_blob_loads_as_a_model(tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: Any) -> None:
    from engine.config import ModelSpec
    from engine.models.catalog import lasting, read_checkpoint, resolve
    from engine.models.loader import load_model
    from tests.gguf_files import write_gguf

    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    blob = write_ollama(tmp_path / ".ollama/models", "registry.ollama.ai/library/tiny/latest", "a" * 64)
    blob.unlink()
    write_gguf(blob, tiny_model("llama"))
    location = resolve("ollama:tiny")
    assert (location.name, location.path) == ("tiny", blob)
    assert lasting("ollama:tiny", location) == "ollama:tiny"
    assert read_checkpoint(blob, location.name).name == "tiny"
    assert load_model(ModelSpec(model="ollama:tiny", device="cpu"), lambda progress: None).name == "tiny"
