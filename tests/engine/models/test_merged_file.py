"""A GGUF file with an adapter merged into it: what changes, what stays, and what is left when it cannot be written."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.config import ModelSpec, Sampling
from engine.errors import BrokenModel, DownloadCancelled, EngineError, NotEnoughDisk, UnsupportedModel
from engine.events import LoadProgress
from engine.models import bundled, merged_file
from engine.models.checkpoints.adapter import Adapter
from engine.models.checkpoints.gguf_file import GgufFile
from engine.models.loader import load_model
from tests.engine.models.test_adapter import pair, write
from tests.gguf_files import write_gguf
from tests.llama_cpp import require_llama_cpp

TinyModel = Callable[..., Path]
QUERIES = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.1.mlp.down_proj"


@pytest.fixture
def file(tiny_model: TinyModel, tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write(tmp_path / "mine", pair(64, 64, QUERIES) | pair(64, 128, DOWN))


def merged(file: Path, adapter: Path, folder: Path, report: Callable[[LoadProgress], None] = lambda _: None) -> Path:
    return merged_file.merged_file(GgufFile.read(file, "tiny"), Adapter.read(adapter), folder, report).path


def numbers(file: GgufFile, name: str) -> np.ndarray:
    weight = file.stored[name]
    whole = np.empty(weight.shape, dtype=np.float32)
    for rows, values in weight.pieces():
        whole[rows] = values
    return whole


@pytest.mark.parametrize("kind", ["llama", "gemma3", "phi3"])
def test_the_adapted_weights_change_and_all_else_is_the_same(kind: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model(kind))
    before = GgufFile.read(file, "tiny")
    out, into = before.stored[f"{DOWN}.weight"].shape
    tensors = pair(out, into, DOWN)
    if kind == "llama":
        tensors |= pair(*before.stored[f"{QUERIES}.weight"].shape, QUERIES)
    path = merged(file, write(tmp_path / "mine", tensors), tmp_path)
    after = GgufFile.read(path, "tiny")
    assert after.config == before.config
    assert list(after.stored) == list(before.stored)
    with before.opened(tokenizer=True) as one, after.opened(tokenizer=True) as other:
        for text in ("tokenizer.json", "tokenizer_config.json"):
            first, second = (files["pretrained_model_name_or_path"] / text for files in (one, other))
            assert first.read_text() == second.read_text()
    for name in before.stored:
        key = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        expected = numbers(before, name)
        if f"{key}A.weight" in tensors:
            expected = expected + 4.0 * (tensors[f"{key}B.weight"] @ tensors[f"{key}A.weight"]).numpy()
            step = np.abs(expected).max() / 127  # of Q8_0's largest block
            np.testing.assert_allclose(numbers(after, name), expected, atol=step)
            assert after.stored[name].stored.type_name == "Q8_0"
        else:
            np.testing.assert_array_equal(numbers(after, name), expected)


def test_it_is_written_once_for_each_pair(file: Path, adapter: Path, tmp_path: Path) -> None:
    seen: list[LoadProgress] = []
    first = merged(file, adapter, tmp_path, seen.append)
    assert [step.done for step in seen] == [0, 1]
    assert merged(file, adapter, tmp_path, seen.append) == first
    assert len(seen) == 2
    other = write(tmp_path / "other", pair(64, 128, DOWN))
    assert merged(file, other, tmp_path) != first
    assert len(list((tmp_path / "merged").glob("*.gguf"))) == 2


def test_only_the_files_used_last_are_kept(
    file: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = merged(file, adapter, tmp_path)
    abandoned = first.with_suffix(".7.partial")
    abandoned.write_text("half")
    os.utime(abandoned, (0, 0))
    monkeypatch.setattr(merged_file, "_KEPT_BYTES", 2.5 * first.stat().st_size)
    paths = [merged(file, write(tmp_path / f"a{n}", pair(64, 128, DOWN)), tmp_path) for n in range(2)]
    assert not first.exists()
    assert not abandoned.exists()
    assert len(list(first.parent.iterdir())) == 4  # and what says how each was written
    assert all(path.exists() for path in paths)


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_weights_stand_where_the_files_alignment_has_them(
    alignment: int, adapter: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    metadata = {"general.alignment": alignment}
    file = write_gguf(tmp_path / "aligned.gguf", tiny_model("llama"), metadata=metadata)
    before, after = GgufFile.read(file, "tiny"), GgufFile.read(merged(file, adapter, tmp_path), "tiny")
    unchanged = [name for name in before.stored if QUERIES not in name and DOWN not in name]
    for name in unchanged:
        np.testing.assert_array_equal(numbers(after, name), numbers(before, name))


def test_a_file_that_was_cut_off_since_is_written_again(file: Path, adapter: Path, tmp_path: Path) -> None:
    path = merged(file, adapter, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert merged(file, adapter, tmp_path) == path
    assert path.read_bytes() == whole


def test_a_weight_that_no_number_holds_is_refused(file: Path, tmp_path: Path) -> None:
    huge = write(tmp_path / "huge", {name: 300 * tensor for name, tensor in pair(64, 128, DOWN).items()})
    with pytest.raises(BrokenModel, match="infinite"):
        merged(file, huge, tmp_path)
    assert list((tmp_path / "merged").iterdir()) == []


def test_what_ends_the_writing_leaves_nothing(
    file: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel(_: LoadProgress) -> None:
        raise DownloadCancelled("Loading was cancelled.")

    with pytest.raises(DownloadCancelled):
        merged(file, adapter, tmp_path, cancel)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(NotEnoughDisk, match="choose backend torch"):
        merged(file, adapter, tmp_path)
    assert list((tmp_path / "merged").iterdir()) == []


def test_a_folder_that_is_a_file_is_said(file: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "merged").write_text("")
    with pytest.raises(EngineError, match="could not be written"):
        merged(file, adapter, tmp_path)


def test_several_files_are_not_merged(file: Path, adapter: Path, tmp_path: Path) -> None:
    checkpoint = replace(GgufFile.read(file, "tiny"), files=(file, file))
    with pytest.raises(UnsupportedModel, match="an adapter is merged into one"):
        merged_file.merged_file(checkpoint, Adapter.read(adapter), tmp_path, lambda _: None)


def test_llama_cpp_computes_what_torch_does(file: Path, adapter: Path, tmp_path: Path) -> None:
    require_llama_cpp()
    from engine.ready import target_of

    def logits(**options: str) -> torch.Tensor:
        spec = ModelSpec(model=str(file), adapter=str(adapter), device="cpu", **options)  # type: ignore[arg-type]
        loaded = load_model(spec, lambda _: None, stamps=tmp_path)
        assert loaded.backend == options["backend"]
        assert loaded.name == "tiny with mine"
        target = target_of(loaded)
        *_, last = target.prefill(target.new_cache(), [1, 5, 9, 4])
        return last.float().flatten()

    by_torch, by_llama = logits(backend="torch", dtype="float32"), logits(backend="llama-cpp")
    assert torch.nn.functional.cosine_similarity(by_torch, by_llama, dim=0) > 0.999


def test_the_model_that_comes_along_comes_with_its_adapter(
    file: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "require", lambda: file)
    monkeypatch.setattr(bundled, "ADAPTER", adapter)

    def name(**options: str | bool) -> str:
        spec = ModelSpec(device="cpu", backend="torch", **options)  # type: ignore[arg-type]
        return load_model(spec, lambda _: None).name

    assert name(model="smollm2") == f"{bundled.NAME} with Slipstream's adapter"
    assert name(model="smollm2", no_adapter=True) == bundled.NAME
    assert name(model="smollm2", adapter=str(adapter)) == f"{bundled.NAME} with mine"
    assert name(model=str(file)) == "tiny"
    monkeypatch.setattr(bundled, "ADAPTER", adapter / "elsewhere")
    loaded = load_model(ModelSpec(model="smollm2", device="cpu", backend="torch"), lambda _: None)
    assert loaded.name == bundled.NAME
    assert any("was loaded without Slipstream's adapter" in note for note in loaded.notes)


def test_the_model_that_comes_along_is_sampled_as_its_card_says(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "require", lambda: file)
    spec = ModelSpec(model="smollm2", device="cpu", backend="torch", no_adapter=True)
    assert load_model(spec, lambda _: None).default_sampling == Sampling(temperature=0.2, top_p=0.9)
    other = replace(spec, model=str(file), no_adapter=False)
    assert load_model(other, lambda _: None).default_sampling == Sampling(temperature=0.7, top_p=0.95)


def test_the_adapter_that_comes_along_is_whole() -> None:
    adapter = Adapter.read(bundled.ADAPTER, bundled.ADAPTER_NAME)
    assert len(adapter.parts) == 30 * 7
    assert adapter.file.stat().st_size < 12e6


@pytest.mark.parametrize("used", [False, True])
def test_a_file_with_a_hole_in_it_is_written_again(file: Path, adapter: Path, tmp_path: Path, used: bool) -> None:
    path = merged(file, adapter, tmp_path)
    whole = path.read_bytes()
    if used:
        assert merged(file, adapter, tmp_path) == path
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(4096) + whole[middle + 4096 :])
    assert merged(file, adapter, tmp_path) == path
    assert path.read_bytes() == whole
