"""Whatever the JSON of a model folder says: it is read, or refused in one sentence."""

import copy
import json
import struct
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BrokenModel, EngineError
from engine.models.catalog import read_checkpoint
from engine.models.checkpoints.checkpoint import Checkpoint

SHARD = "model-00001-of-00001.safetensors"
PARTS: dict[str, Any] = {
    "config.json": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "layer_types": ["full_attention"],
        "tie_word_embeddings": False,
    },
    "header": {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [], "data_offsets": [8, 12]},
    },
    "model.safetensors.index.json": {"metadata": {"total_size": 12}, "weight_map": {"a": SHARD, "b": SHARD}},
    "generation_config.json": {"do_sample": True, "temperature": 0.5, "eos_token_id": [1, 2]},
}
VISION = {
    "model_type": "gemma3",
    "architectures": ["Gemma3ForConditionalGeneration"],
    "text_config": {"model_type": "gemma3_text", "layer_types": ["full_attention"]},
}
DEEP = "[" * 100_000 + "]" * 100_000

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.integers(-9, 9),
    st.sampled_from([10**400, float("inf"), float("nan"), "\ud800", "x\0y", "gemma3", "linear_attention", "../x"]),
    st.text(max_size=4),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to each part of a JSON value, itself included."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*path, key))


@st.composite
def mutated(draw: st.DrawFn, original: Any) -> Any:
    """A JSON value of which one or two parts, at any depth, are removed or replaced."""
    root = [copy.deepcopy(original)]
    for _ in range(draw(st.integers(1, 2))):
        *way, key = (0, *draw(st.sampled_from(list(paths(root[0])))))
        node = reduce(getitem, way, root)
        if way and draw(st.integers(0, 3)) == 0:
            del node[key]
        else:
            node[key] = draw(values)
    return root[0]


@st.composite
def folders(draw: st.DrawFn) -> dict[str, Any]:
    """The parts of a model folder, one of them mutated."""
    parts = {**PARTS, "config.json": draw(st.sampled_from([PARTS["config.json"], VISION]))}
    damaged = draw(st.sampled_from(sorted(parts)))
    return {**parts, damaged: draw(mutated(parts[damaged]))}


def write(folder: Path, parts: dict[str, Any]) -> None:
    """Write a folder; a part that is bytes is written as it is."""
    texts = {name: part if isinstance(part, bytes) else json.dumps(part).encode() for name, part in parts.items()}
    header = texts.pop("header")
    (folder / SHARD).write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))
    (folder / "tokenizer.json").write_bytes(b"{}")
    for name, text in texts.items():
        (folder / name).write_bytes(text)


def look_through(folder: Path) -> Checkpoint:
    """Read a folder and all that its checkpoint says of it."""
    checkpoint = read_checkpoint(folder, "my model")
    assert 0 <= checkpoint.num_parameters <= 96  # no fewer than none, no more than its bytes have bits
    assert isinstance(checkpoint.model_type, str)
    assert checkpoint.fingerprint
    assert isinstance(checkpoint.generation_defaults(), dict)
    return checkpoint


def attempt(folder: Path) -> Checkpoint | EngineError:
    try:
        return look_through(folder)
    except EngineError as failure:
        return failure


@pytest.mark.parametrize("config", [PARTS["config.json"], VISION], ids=["text", "vision"])
def test_the_sound_folder_is_read(tmp_path: Path, config: dict[str, Any]) -> None:
    write(tmp_path, {**PARTS, "config.json": config})
    assert look_through(tmp_path).num_parameters == 3


@settings(max_examples=300)
@given(folders())
def test_any_folder_is_read_or_refused_in_a_sentence(parts: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder), parts)
        outcome = attempt(Path(folder))
    assert isinstance(outcome, Checkpoint) or str(outcome).endswith(".")


def test_an_index_that_names_a_file_in_two_lines(tmp_path: Path) -> None:
    index = copy.deepcopy(PARTS["model.safetensors.index.json"])
    index["weight_map"]["b"] = "model\n.safetensors"
    write(tmp_path, {**PARTS, "model.safetensors.index.json": index})
    with pytest.raises(BrokenModel, match=r"names files as no file is called\. Download"):
        look_through(tmp_path)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("text", [DEEP, '{"a": ' + "9" * 5000 + "}", '{"a": ' + DEEP + "}"], ids=["deep", "long", "in"])
def test_json_that_python_cannot_hold(tmp_path: Path, part: str, text: str) -> None:
    write(tmp_path, {**PARTS, part: text.encode()})
    with pytest.raises(BrokenModel, match=r"\.$"):
        look_through(tmp_path)


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ([-2, -1], [0, 8]),
        ([10**9, 10**9], [0, 8]),
        ([2.5, 1], [0, 8]),
        ([True, 2], [0, 8]),
        ("21", [0, 8]),
        ([2, 1], [8, 0]),
        ([2, 1], [-8, 8]),
        ([2, 1], [0, float("inf")]),
        ([float("inf")], [0, 8]),
    ],
    ids=repr,
)
def test_tensors_that_cannot_be(tmp_path: Path, shape: Any, offsets: Any) -> None:
    described = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
    write(tmp_path, {**PARTS, "header": {**PARTS["header"], "a": described}})
    with pytest.raises(BrokenModel, match="is damaged"):
        look_through(tmp_path)


@pytest.mark.parametrize("field", ["layer_types", "architectures"])
@pytest.mark.parametrize("value", [5, "full", {"a": 1}, [5]], ids=repr)
def test_fields_of_another_type(tmp_path: Path, field: str, value: Any) -> None:
    write(tmp_path, {**PARTS, "config.json": {**PARTS["config.json"], field: value}})
    with pytest.raises(BrokenModel, match=rf"{field} in config\.json"):
        look_through(tmp_path)


@pytest.mark.parametrize("value", [5, [], {"layer_types": 7}], ids=repr)
def test_a_text_part_of_another_type(tmp_path: Path, value: Any) -> None:
    write(tmp_path, {**PARTS, "config.json": {**VISION, "text_config": value}})
    with pytest.raises(BrokenModel, match=r"config\.json"):
        look_through(tmp_path)
