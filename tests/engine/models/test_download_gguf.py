"""GGUF files from a Hub on this machine: the one that is meant, checked, resumed, refused before it is fetched."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from engine.errors import (
    BrokenModel,
    ModelGated,
    ModelNotFound,
    NetworkUnavailable,
    NotEnoughMemory,
    UnsupportedModel,
)
from engine.events import LoadProgress
from engine.models.catalog import read_checkpoint
from engine.models.checkpoints.gguf_file import GgufFile
from engine.models.hub import cache, checksums
from engine.models.hub.cache import parts_of
from engine.models.hub.download import cached, fetch
from tests.fake_hub import FakeHub, running
from tests.gguf_files import add_value, write_gguf
from tests.models import copy_model

NAME = "someone/tiny-GGUF"
TinyModel = Callable[..., Path]


@pytest.fixture
def hub(tmp_path: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A repository as people upload them: quantisations, a folder of shards, and what belongs to no chat."""
    folder = tmp_path / "repository"
    for kind in ("F16", "Q8_0", "Q4_0"):
        write_gguf(folder / f"tiny-{kind}.gguf", tiny_model("llama"), kind)
    (folder / "mmproj-F16.gguf").write_bytes(b"GGUF")
    (folder / "README.md").write_text("words")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with running() as hub:
        hub.repositories[NAME] = folder
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(cache.time, "sleep", lambda seconds: None)
        yield hub


def get(gguf: str = "", **options: Any) -> Path:
    return fetch(NAME, lambda progress: None, gguf, **options)


def whole(hub: FakeHub, file: Path, name: str) -> bool:
    return file.read_bytes() == (hub.repositories[NAME] / name).read_bytes()


@pytest.mark.parametrize(
    ("gguf", "name"),
    [("Q8_0", "tiny-Q8_0.gguf"), ("f16", "tiny-F16.gguf"), ("tiny-F16.gguf", "tiny-F16.gguf"), ("", "tiny-Q4_0.gguf")],
)
def test_one_file_is_downloaded_and_nothing_else(hub: FakeHub, gguf: str, name: str) -> None:
    file = get(gguf)
    assert whole(hub, file, name)
    assert [path.name for path in file.parent.iterdir()] == [name]
    assert isinstance(read_checkpoint(file, "it"), GgufFile)
    hub.requests.clear()
    assert get(gguf) == get(gguf, offline=True) == cached(NAME, gguf) == file
    assert hub.requests == []


def test_without_a_quantisation_safetensors_come_first(hub: FakeHub, tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = copy_model(tiny_model("llama"), tmp_path / "both")
    write_gguf(folder / "tiny-Q8_0.gguf", tiny_model("llama"), "Q8_0")
    hub.repositories[NAME] = folder
    assert (get() / "model.safetensors").is_file()
    assert get("Q8_0").name == "tiny-Q8_0.gguf"


def test_what_is_picked_and_its_size_are_said_first(hub: FakeHub) -> None:
    reports: list[LoadProgress] = []
    file = fetch(NAME, reports.append, free_bytes=10**9)
    size = file.stat().st_size
    assert reports[0].message == f"{NAME}:Q4_0 is {size / 10**6:.1f} MB, and it fits into memory"
    assert (reports[0].done, reports[0].total) == (0, size)
    assert reports[-1].done == reports[-1].total == size


def test_two_quantisations_live_side_by_side(hub: FakeHub) -> None:
    first, second = get("Q8_0"), get("Q4_0")
    assert (cached(NAME, "Q8_0"), cached(NAME, "Q4_0")) == (first, second)
    with pytest.raises(ModelNotFound, match="tiny-GGUF:F16 is not on this machine in full"):
        get("F16", offline=True)


def test_shards_in_a_folder(hub: FakeHub, tmp_path: Path) -> None:
    import gguf

    folder = hub.repositories[NAME]
    shard = tmp_path / "shard.gguf"
    for number in (1, 2):
        writer = gguf.GGUFWriter(shard, "llama")
        for key, value in (("split.no", number - 1), ("split.count", 2), ("split.tensors.count", 0)):
            writer.add_uint16(key, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        (folder / "BF16").mkdir(exist_ok=True)
        shard.rename(folder / "BF16" / f"tiny-BF16-{number:05}-of-00002.gguf")
    file = get("bf16")
    assert file.name == "tiny-BF16-00001-of-00002.gguf"
    assert len(list(file.parent.iterdir())) == 2


def sizes_under_way(tmp_path: Path, gguf: str) -> list[int]:
    return [part.stat().st_size for part in parts_of(tmp_path / "cache/models--someone--tiny-GGUF", gguf)]


def test_a_cut_connection_is_resumed_by_a_later_call(hub: FakeHub, tmp_path: Path) -> None:
    hub.cuts = [100_000, *[0] * 10]
    with pytest.raises(NetworkUnavailable, match="to continue"):
        get("Q8_0")
    hub.cuts = []
    assert [sizes_under_way(tmp_path, gguf) for gguf in ("q8_0", "tiny-Q8_0.gguf", "")] == [[100_000]] * 3
    assert sizes_under_way(tmp_path, "Q4_0") == []
    hub.requests.clear()
    assert whole(hub, get("Q8_0"), "tiny-Q8_0.gguf")
    assert hub.transfers("tiny-Q8_0.gguf")[-1] == "bytes=100000-"
    assert sizes_under_way(tmp_path, "") == []


def test_a_damaged_transfer_is_not_kept(hub: FakeHub) -> None:
    hub.corrupt = True
    with pytest.raises(NetworkUnavailable, match="arrived damaged"):
        get("Q8_0")
    hub.corrupt = False
    assert whole(hub, get("Q8_0"), "tiny-Q8_0.gguf")


# --- files in the cache that were damaged since


def damage(file: Path, how: str) -> None:
    data = file.read_bytes()
    if how == "cut":
        file.resolve().write_bytes(data[:-50_000])
    else:
        file.resolve().write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("how", ["cut", "changed"])
def test_a_damaged_file_in_the_cache_is_downloaded_again(hub: FakeHub, tmp_path: Path, how: str) -> None:
    file = get("Q8_0", stamps=tmp_path / "stamps")
    damage(file, how)
    assert whole(hub, get("Q8_0", stamps=tmp_path / "stamps"), "tiny-Q8_0.gguf")


@pytest.mark.parametrize("how", ["cut", "changed"])
def test_damaged_safetensors_in_the_cache_are_downloaded_again(
    hub: FakeHub, tiny_model: TinyModel, tmp_path: Path, how: str
) -> None:
    hub.repositories[NAME] = copy_model(tiny_model("llama"), tmp_path / "safetensors")
    damage(get() / "model.safetensors", how)
    assert whole(hub, get() / "model.safetensors", "model.safetensors")


def test_a_damaged_configuration_in_the_cache_is_downloaded_again(
    hub: FakeHub, tiny_model: TinyModel, tmp_path: Path
) -> None:
    hub.repositories[NAME] = copy_model(tiny_model("llama"), tmp_path / "safetensors")
    config = get() / "config.json"
    config.resolve().write_bytes(b"x" * config.stat().st_size)
    assert whole(hub, get() / "config.json", "config.json")


def test_a_copy_without_links_is_replaced_too(hub: FakeHub) -> None:
    file = get("Q8_0")
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[:-50_000])
    assert whole(hub, get("Q8_0"), "tiny-Q8_0.gguf")


def test_what_others_downloaded_is_checked_once(hub: FakeHub, tmp_path: Path) -> None:
    file = get("Q8_0")
    reports: list[LoadProgress] = []
    for _ in range(2):
        assert fetch(NAME, reports.append, "Q8_0", stamps=tmp_path / "stamps") == file
    assert [(report.stage, report.message) for report in reports] == [("find", f"Checking {NAME}")]


def test_a_damaged_file_is_named_where_it_cannot_be_downloaded_again(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(get("Q8_0"), "changed")
    with pytest.raises(BrokenModel, match=r"tiny-Q8_0\.gguf of someone/tiny-GGUF is damaged: its checksum is wrong"):
        get("Q8_0", offline=True)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(BrokenModel, match="is damaged"):
        get("Q8_0")


def test_a_file_that_was_found_whole_is_not_read_again(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = get("Q8_0", stamps=tmp_path)
    monkeypatch.setattr(checksums.hashlib, "sha256", lambda: pytest.fail("it was read"))
    assert get("Q8_0", stamps=tmp_path) == file


# --- what is refused


def test_an_unknown_quantisation_is_answered_with_what_there_is(hub: FakeHub) -> None:
    with pytest.raises(ModelNotFound, match=r"has no Q5_K_M: it has Q4_0 \(0 MB\), Q8_0 .*F16.*tiny-GGUF:Q4_0"):
        get("Q5_K_M")


def test_no_such_repository_and_a_gated_one(hub: FakeHub) -> None:
    with pytest.raises(ModelNotFound, match="no model nobody/nothing"):
        fetch("nobody/nothing", lambda progress: None, "Q4_K_M")
    hub.gated, hub.gated_files = {NAME}, True
    with pytest.raises(ModelGated, match="licence"):
        get("Q8_0")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"general.architecture": "mamba"}, "'mamba', which is not supported as GGUF"),
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"general.type": "adapter"}, "adapter"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "new-rule"}, "the rule 'new-rule', which is unknown"),
    ],
)
def test_what_cannot_be_run_is_refused_by_its_first_bytes(hub: FakeHub, values: dict[str, Any], words: str) -> None:
    import gguf

    file = hub.repositories[NAME] / "tiny-Q8_0.gguf"
    writer = gguf.GGUFWriter(file, values.get("general.architecture", "llama"))
    for key, value in values.items():
        if key != "general.architecture":
            add_value(writer, key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    os.truncate(file, 200_000)
    with pytest.raises(UnsupportedModel, match=words):
        get("Q8_0")
    assert hub.transfers("tiny-Q8_0.gguf") == ["bytes=0-65535"]


def test_what_is_no_gguf_is_refused_by_its_first_bytes(hub: FakeHub) -> None:
    (hub.repositories[NAME] / "tiny-Q8_0.gguf").write_bytes(b"not it" * 20_000)
    with pytest.raises(BrokenModel, match="no GGUF file"):
        get("Q8_0")
    assert len(hub.transfers("tiny-Q8_0.gguf")) == 1


def test_what_cannot_fit_is_refused_before_it_is_fetched(hub: FakeHub) -> None:
    with pytest.raises(NotEnoughMemory, match=r"is not downloaded: even in 4 bits it would take about .*smaller model"):
        get("Q8_0", free_bytes=1_000_000)
    assert len(hub.transfers("tiny-Q8_0.gguf")) == 1


def test_a_server_without_ranges_serves_as_well(hub: FakeHub) -> None:
    hub.ignore_ranges = True
    assert whole(hub, get("Q8_0"), "tiny-Q8_0.gguf")


def test_load_model_names_what_it_picked(hub: FakeHub, tmp_path: Path) -> None:
    """The whole way in a process of its own, as a person's HF_ENDPOINT and HF_HOME set it."""
    code = (
        "from engine.config import ModelSpec\n"
        "from engine.models.loader import load_model\n"
        f"for name in ({NAME!r}, '{NAME}:q8_0', '{NAME}/tiny-F16.gguf'):\n"
        "    print(load_model(ModelSpec(model=name, device='cpu'), lambda p: None).name)"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert found.stdout.split() == [f"{NAME}:Q4_0", f"{NAME}:q8_0", f"{NAME}/tiny-F16.gguf"], found.stderr
