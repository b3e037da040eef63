"""A damaged or hostile GGUF file is refused in a sentence, whatever bytes are wrong; a whole one is read."""

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BrokenModel, EngineError, UnsupportedModel
from engine.models.catalog import read_checkpoint
from engine.models.checkpoints.gguf.header import read_header
from tests.gguf_files import write_gguf

TinyModel = Callable[..., Path]


@pytest.fixture(scope="module")
def whole(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = write_gguf(tmp_path_factory.mktemp("gguf") / "whole.gguf", tiny_model("llama"), "Q8_0")
    return file.read_bytes()


@pytest.fixture
def file(tmp_path: Path, whole: bytes) -> Path:
    path = tmp_path / "my.gguf"
    path.write_bytes(whole)
    return path


def refusal(path: Path, kind: type[EngineError] = BrokenModel) -> str:
    with pytest.raises(kind) as found:
        read_checkpoint(path, "my model")
    assert type(found.value) is kind
    sentence = str(found.value)
    assert sentence.endswith(".")
    return sentence


def test_it_reads_what_the_package_reads(file: Path) -> None:
    header, reader = read_header(file), gguf.GGUFReader(file)
    assert {tensor.name: (tensor.offset, tensor.num_bytes, tensor.type_name) for tensor in header.tensors} == {
        tensor.name: (tensor.data_offset, tensor.n_bytes, tensor.tensor_type.name) for tensor in reader.tensors
    }
    assert [tensor.shape for tensor in header.tensors] == [tuple(reversed(t.shape.tolist())) for t in reader.tensors]
    for key, value in header.metadata.items():
        expected: Any = reader.fields[key].contents()
        assert (value.values() if hasattr(value, "values") else value) == expected


@pytest.mark.parametrize("length", [0, 3, 4, 23, 24, 40, 500, 5_000])
def test_a_file_cut_in_its_header(file: Path, whole: bytes, length: int) -> None:
    file.write_bytes(whole[:length])
    assert "damaged" in refusal(file)


def test_a_file_cut_in_its_weights(file: Path, whole: bytes) -> None:
    file.write_bytes(whole[:-100])
    assert "incomplete" in refusal(file)


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (0, b"GGML", "does not begin"),
        (8, struct.pack("<Q", 2**60), "announces"),
        (16, struct.pack("<Q", 2**60), "announces"),
        (8, struct.pack("<Q", 10**6), "announces"),
        (24, struct.pack("<Q", 2**62), "bytes"),  # the first key's length
    ],
)
def test_huge_counts_and_a_wrong_beginning(file: Path, whole: bytes, offset: int, value: bytes, words: str) -> None:
    file.write_bytes(whole[:offset] + value + whole[offset + len(value) :])
    assert words in refusal(file)


def test_versions(file: Path, whole: bytes) -> None:
    for version, words in ((1, "version 1"), (9, "version 9")):
        file.write_bytes(whole[:4] + struct.pack("<I", version) + whole[8:])
        assert words in refusal(file, UnsupportedModel)
    file.write_bytes(whole[:4] + struct.pack(">I", 3) + whole[8:])
    assert "big-endian" in refusal(file, UnsupportedModel)


def test_a_placeholder_of_git_lfs(file: Path) -> None:
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n")
    assert "git lfs pull" in refusal(file)


# --- headers made by hand


def header(
    *,
    tensors: Sequence[tuple[str, tuple[int, ...], int, int]] = (),
    values: Sequence[bytes] = (),
    data: int = 4096,
) -> bytes:
    """A file of these parts, with so many bytes of weights."""
    parts = [
        b"GGUF",
        struct.pack("<IQQ", 3, len(tensors), len(values) + 1),
        value("general.architecture", 8, text("llama")),
    ]
    parts += values
    for name, dimensions, kind, offset in tensors:
        parts += [text(name), struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)]
    head = b"".join(parts)
    return head + bytes(-len(head) % 32 + data)


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words.encode())) + words.encode()


def value(key: str, kind: int, rest: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + rest


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([("a", (32,), 0, 0), ("b", (32,), 0, 64)], "overlap"),
        ([("a", (32,), 0, 0), ("a", (32,), 0, 128)], "twice"),
        ([("a", (32,), 0, 2**63)], "goes beyond"),
        ([("a", (2**40, 2**40, 2**40), 0, 0)], "goes beyond"),
        ([("a", (0,), 0, 0)], "shape"),
        ([("a", (31,), 2, 0)], "shape"),  # Q4_0 has blocks of 32
        ([("a", (32,), 0, 1)], "multiple of 32"),
        ([("a", (1, 1, 1, 1, 1), 0, 0)], "dimensions"),
        ([("a", (), 0, 0)], "dimensions"),
    ],
)
def test_tensors_that_cannot_be(tmp_path: Path, tensors: Any, words: str) -> None:
    (tmp_path / "m.gguf").write_bytes(header(tensors=tensors))
    assert words in refusal(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([value("a", 99, b"")], "unknown type 99"),
        ([value("a", 7, b"\2")], "neither true nor false"),
        ([value("a", 9, struct.pack("<IQ", 9, 1))], "has the type 9"),  # an array of arrays
        ([value("a", 9, struct.pack("<IQ", 4, 2**61))], "middle of its header"),
        ([value("a", 9, struct.pack("<IQ", 8, 2**40))], "texts"),
        ([value("a", 8, struct.pack("<Q", 2**40))], "bytes"),
        ([value("a", 4, bytes(4)), value("a", 4, bytes(4))], "twice"),
        ([value("a", 8, struct.pack("<Q", 1) + b"\xff")], "UTF-8"),
        ([value("general.alignment", 4, struct.pack("<I", 0))], "power of two"),
        ([value("general.alignment", 4, struct.pack("<I", 33))], "power of two"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, values: list[bytes], words: str) -> None:
    (tmp_path / "m.gguf").write_bytes(header(values=values))
    assert words in refusal(tmp_path / "m.gguf")


def test_unknown_types_of_weights(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(header(tensors=[("a", (32,), 99, 0)]))
    assert "unknown type 99" in refusal(tmp_path / "m.gguf", UnsupportedModel)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        (".block_count", 0),
        (".block_count", 2**31),
        (".block_count", "two"),
        (".embedding_length", 7.5),
        (".attention.head_count", 0),
        (".context_length", 0),
        (".context_length", None),
        (".rope.freq_base", float("nan")),
        (".rope.freq_base", 0.0),
        (".attention.layer_norm_rms_epsilon", "small"),
        ("tokenizer.ggml.tokens", "words"),
        ("tokenizer.ggml.tokens", [1, 2, 3]),
        ("tokenizer.ggml.token_type", [1, 2]),
        ("tokenizer.ggml.add_bos_token", 1),
        ("tokenizer.chat_template", 7),
        ("general.architecture", ""),
    ],
)
def test_metadata_of_the_wrong_kind(tiny_model: TinyModel, tmp_path: Path, key: str, wrong: Any) -> None:
    file = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), metadata={key: wrong})
    with pytest.raises(BrokenModel) as found, read_checkpoint(file, "my model").opened(tokenizer=True):
        pass
    assert str(found.value).endswith(".")


def look(path: Path) -> None:
    """Everything that is done with a header before torch is."""
    checkpoint = read_checkpoint(path, "my model")
    checkpoint.generation_defaults()
    with checkpoint.opened(tokenizer=True):
        pass


def check_mutation(path: Path, whole: bytes, changes: list[tuple[int, bytes]], length: int | None) -> None:
    """A file with other bytes here and there is read, or refused in a sentence."""
    data = bytearray(whole[:length])
    for offset, new in changes:
        offset %= max(1, len(data))
        data[offset : offset + len(new)] = new
    path.write_bytes(data)
    with suppress(EngineError):  # and nothing else
        look(path)


NUMBERS = st.sampled_from([0, 1, 2, 7, 8, 9, 31, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1])
PIECES = st.one_of(
    st.binary(min_size=1, max_size=8),
    NUMBERS.map(lambda number: struct.pack("<Q", number)),
    NUMBERS.map(lambda number: struct.pack("<I", number % 2**32)),
)


@pytest.fixture(scope="module")
def mutated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated") / "my.gguf"


@settings(max_examples=300)
@given(st.data())
def test_mutated_headers(whole: bytes, mutated: Path, data: st.DataObject) -> None:
    end = min(tensor.offset for tensor in read_back(whole, mutated))
    where = st.one_of(st.integers(0, 64), st.integers(0, end))
    changes = data.draw(st.lists(st.tuples(where, PIECES), min_size=1, max_size=3))
    length = data.draw(st.one_of(st.none(), st.integers(0, len(whole))))
    check_mutation(mutated, whole, changes, length)


def read_back(whole: bytes, path: Path) -> tuple[Any, ...]:
    path.write_bytes(whole)
    return read_header(path).tensors


def test_a_header_of_many_texts_is_given_up(tmp_path: Path) -> None:
    """Forty million empty texts would take minutes."""
    count = 40_000_000
    path = tmp_path / "m.gguf"
    with path.open("wb") as stream:
        stream.write(header(values=[value("a", 9, struct.pack("<IQ", 8, count))], data=0))
        stream.truncate(stream.tell() + 8 * count)  # sparse
    assert "texts" in refusal(path)
