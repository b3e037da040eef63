"""What a name means and what a folder holds: each defect is one sentence with the next step."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BrokenModel, EngineError, ModelNotFound, UnsupportedModel
from engine.models.catalog import STARTER_FOLDER, read_checkpoint, resolve
from engine.models.checkpoints.safetensors_folder import SafetensorsFolder, read_header
from engine.models.checkpoints.supported import check_config
from tests.models import copy_model

TinyModel = Callable[..., Path]


@pytest.fixture
def folder(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A whole tiny model that a test may damage."""
    return copy_model(tiny_model("llama"), tmp_path / "model")


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder: Path, kind: type[EngineError]) -> str:
    with pytest.raises(kind) as failure:
        read_checkpoint(folder, "my model")
    sentence = str(failure.value)
    assert sentence.endswith(".")
    assert any(verb in sentence for verb in ("Choose", "choose", "Download", "download", "Copy", "Check", "Run"))
    return sentence


# --- what a name means


def test_starter_is_in_the_repository() -> None:
    location = resolve("starter")
    assert (location.name, location.path, location.hub_id) == ("starter", STARTER_FOLDER, None)


def test_a_folder_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("some/model").hub_id == "some/model"
    (tmp_path / "some" / "model").mkdir(parents=True)
    location = resolve("some/model")
    assert location.path == tmp_path / "some" / "model"
    assert location.name == "model"


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-0.6B", "  Qwen/Qwen3-0.6B ", "https://hub.example/Qwen/Qwen3-0.6B/tree/main"]
)
def test_hub_ids(name: str) -> None:
    assert resolve(name).hub_id == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize("name", ["/no/such/folder", "./none", "~/none", "a/b/c", "qwen", "C:\\models\\x"])
def test_neither_folder_nor_hub_id(name: str) -> None:
    with pytest.raises(ModelNotFound, match="no folder"):
        resolve(name)


def test_a_file_is_answered_with_its_folder(folder: Path) -> None:
    with pytest.raises(ModelNotFound, match="Choose the folder it is in"):
        resolve(str(folder / "model.safetensors"))


@pytest.mark.parametrize(
    ("name", "gguf"),
    [
        ("owner/name:Q4_K_M", "Q4_K_M"),
        ("hf.co/owner/name:q4_k_m", "q4_k_m"),
        ("owner/name:UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("owner/name/model-Q8_0.gguf", "model-Q8_0.gguf"),
        ("owner/name/BF16/model-00001-of-00002.GGUF", "BF16/model-00001-of-00002.GGUF"),
        ("https://huggingface.co/owner/name/blob/main/model.gguf", "model.gguf"),
        ("https://hf.co/owner/name/resolve/main/a/b.gguf?download=true", "a/b.gguf"),
        ("https://huggingface.co/owner/name", ""),
        ("https://huggingface.co/owner/name/tree/main", ""),
        ("huggingface.co/owner/name/", ""),
    ],
)
def test_gguf_on_the_hub(name: str, gguf: str) -> None:
    location = resolve(name)
    assert (location.path, location.hub_id, location.gguf) == (None, "owner/name", gguf)


@pytest.mark.parametrize("name", ["model.Q4_K_M.gguf", "owner/x.GGUF", "./a/b/c.gguf", "/a/b/c.gguf", "~/a/b/c.gguf"])
def test_a_gguf_file_that_is_not_here(name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"no file .*Check the path"):
        resolve(name)


def test_a_file_that_was_looked_for_on_this_disk_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelNotFound, match="no file"):
        resolve("models/small/x.gguf")


def test_an_older_version_of_a_file_on_the_hub_is_refused() -> None:
    with pytest.raises(ModelNotFound, match=r"version 'old'.*name it owner/name/x\.gguf"):
        resolve("https://huggingface.co/owner/name/blob/old/x.gguf")


def test_a_folder_of_the_hub_cache_means_its_snapshot(tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    for commit in ("old", "new"):
        (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("old")
    assert resolve(str(repository)).path == repository / "snapshots" / "old"


# --- what a folder holds


def test_a_whole_model(folder: Path) -> None:
    checkpoint = SafetensorsFolder.read(folder, "my model")
    assert checkpoint.model_type == "llama"
    assert checkpoint.weight_files == (folder / "model.safetensors",)
    assert checkpoint.num_parameters == 123_200


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "phi", "phi3", "smollm3"])
def test_every_family_is_accepted(tiny_model: TinyModel, family: str) -> None:
    assert read_checkpoint(tiny_model(family), family).num_parameters > 90_000


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "config.json" in refusal(folder, ModelNotFound)


def test_no_folder(tmp_path: Path) -> None:
    refusal(tmp_path / "gone", ModelNotFound)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model_type": 3}', "\0\1"])
def test_a_damaged_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder, BrokenModel)


def test_gguf_folder(tmp_path: Path) -> None:
    (tmp_path / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    assert "does not begin as a GGUF file" in refusal(tmp_path, BrokenModel)


def test_adapter_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UnsupportedModel, match=r"--adapter"):
        read_checkpoint(tmp_path, "my model")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickled_weights_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    assert "pickled" in refusal(folder, UnsupportedModel)


def test_pickles_beside_safetensors_do_not_matter(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    assert read_checkpoint(folder, "my model").num_parameters == 123_200


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "no model.safetensors" in refusal(folder, BrokenModel)


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "tokenizer" in refusal(folder, BrokenModel)


@pytest.mark.parametrize(("there", "missing"), [("vocab.json", "merges.txt"), ("merges.txt", "vocab.json")])
def test_half_a_tokenizer(folder: Path, there: str, missing: str) -> None:
    (folder / "tokenizer.json").rename(folder / there)
    assert f"{missing} is missing" in refusal(folder, BrokenModel)


def test_a_missing_shard(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = copy_model(tiny_model("llama", max_shard_size="200KB"), tmp_path / "model")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert read_checkpoint(folder, "my model").num_parameters == 123_200
    shards[-1].unlink()
    sentence = refusal(folder, BrokenModel)
    assert f"1 of {len(shards)}" in sentence
    assert shards[-1].name in sentence


@pytest.mark.parametrize("missing", [[], [1], [0, 1]], ids=str)
def test_shards_without_their_index(tiny_model: TinyModel, tmp_path: Path, missing: list[int]) -> None:
    folder = copy_model(tiny_model("llama", max_shard_size="200KB"), tmp_path / "model")
    (folder / "model.safetensors.index.json").unlink()
    shards = sorted(folder.glob("model-*.safetensors"))
    for number in missing:
        shards[number].unlink()
    sentence = refusal(folder, BrokenModel)
    assert "model.safetensors.index.json is missing" in sentence
    also = (
        f"and {len(missing)} of its {len(shards)} weight files, the first is {shards[missing[0]].name}"
        if missing
        else ""
    )
    assert also in sentence
    assert ("weight files, the first" in sentence) == bool(missing)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"weight_map": 3}',
        '{"weight_map": {}, "metadata": {}}',
        '{"weight_map": {"a": "other.safetensors"}}',
        '{"weight_map": {"a": "../../etc/passwd"}, "metadata": {}}',
    ],
)
def test_a_damaged_index(folder: Path, text: str) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(text)
    assert "model.safetensors.index.json" in refusal(folder, BrokenModel)


def test_the_single_file_comes_before_shards_as_in_transformers(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone"}, "metadata": {}}')
    assert SafetensorsFolder.read(folder, "my model").weight_files == (folder / "model.safetensors",)


@pytest.mark.parametrize("kind", ["link to nowhere", "folder"])
def test_weights_that_are_no_file(folder: Path, kind: str) -> None:
    weights = folder / "model.safetensors"
    weights.unlink()
    if kind == "folder":
        weights.mkdir()
    else:
        weights.symlink_to(folder / "gone")
    assert "no file" in refusal(folder, BrokenModel)


@pytest.mark.parametrize("damage", ["cut", "longer", "header", "huge", "empty", "not json", "pointer"])
def test_a_damaged_weight_file(folder: Path, damage: str) -> None:
    file = folder / "model.safetensors"
    data = file.read_bytes()
    damaged = {
        "cut": data[:-100],
        "longer": data + b"x",
        "header": data[:8] + b"\xff" * 40 + data[48:],
        "huge": struct.pack("<Q", 2**62) + data[8:],
        "empty": b"",
        "not json": struct.pack("<Q", 4) + b"true" + data[12:],
        "pointer": b"version https://git-lfs\noid sha256:0\nsize 1\n",
    }
    file.write_bytes(damaged[damage])
    sentence = refusal(folder, BrokenModel)
    assert "model.safetensors" in sentence
    assert ("LFS" if damage == "pointer" else "damaged") in sentence


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_do_not_matter(tiny_model: TinyModel, tmp_path: Path, encoding: str) -> None:
    folder = copy_model(tiny_model("llama", max_shard_size="200KB"), tmp_path / "model")
    before = read_checkpoint(folder, "my model")
    for path in folder.glob("*.json"):
        path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    after = read_checkpoint(folder, "my model")
    assert (after.config, after.tensors) == (before.config, before.tensors)
    assert after.generation_defaults() == before.generation_defaults() != {}


def test_headers_have_names_types_and_shapes(folder: Path) -> None:
    tensors = {t.name: t for t in read_header(folder / "model.safetensors")}
    embedding = tensors["model.embed_tokens.weight"]
    assert (embedding.dtype, embedding.shape) == ("F32", (384, 64))


# --- what a config says


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "bert"}, "'bert'"),
        ({"model_type": "mixtral"}, "'mixtral', which is not supported. Choose a dense model"),
        ({"model_type": "my_net", "auto_map": {"AutoModelForCausalLM": "m.M"}}, "own program code, which is never run"),
        ({"model_type": "mamba2"}, "recurrent"),
        ({"model_type": "qwen3_next"}, "recurrent"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "recurrent"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "does not write text"),
        ({"architectures": ["Qwen3Model"]}, "does not write text"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ({"quantization": {"bits": 4}}, "quantised"),
    ],
)
def test_unsupported_configs(folder: Path, changes: dict[str, Any], words: str) -> None:
    edit_config(folder, **changes)
    assert words in refusal(folder, UnsupportedModel)


def test_own_code_beside_a_known_architecture_is_ignored(folder: Path) -> None:
    edit_config(folder, auto_map={"AutoConfig": "evil.Evil"})
    assert read_checkpoint(folder, "my model").model_type == "llama"


def test_sliding_windows_are_not_recurrent() -> None:
    config = {"model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]}
    assert check_config(config, "my model") == config


def test_the_text_part_of_a_model_with_vision() -> None:
    text = check_config({"model_type": "gemma3", "text_config": {"hidden_size": 8}}, "my model")
    assert text["model_type"] == "gemma3_text"
    assert text["tie_word_embeddings"] is True


def test_a_tied_head_counts_once(tiny_model: TinyModel) -> None:
    tied = read_checkpoint(tiny_model("gemma"), "tied")
    assert tied.tied
    assert not any(t.name == "lm_head.weight" for t in tied.text_tensors)


def test_the_catalogue_needs_no_torch() -> None:
    code = "import sys, engine.models.well_known, engine.models.hub.child; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
