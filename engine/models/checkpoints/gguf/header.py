"""The header of a GGUF file, read within bounds: a damaged or hostile file costs a sentence, not memory or time.

    magic, version, counts | metadata: key, type, value | tensors: name, shape, type, offset | padding | weights

Source: the format's specification, ggml's docs/gguf.md. Knows no architecture.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NoReturn

from engine.errors import BrokenModel, UnsupportedModel
from engine.models.checkpoints.gguf import package

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_LENGTH = _SCALARS[10]
_STRING, _ARRAY, _BOOL = 8, 9, 7
_MAX_NAME = 2**16 - 1  # bytes of a key or a tensor's name
_MAX_STRING = 16 * 2**20  # bytes
_MAX_ITEMS = 4 * 2**20  # strings in arrays, all together; the largest vocabularies with their merges have an eighth
_MAX_DIMENSIONS = 4
_MAX_ALIGNMENT = 2**20


@dataclass(frozen=True, slots=True)
class Array:
    """An array among the metadata, which stays in the file until it is asked for."""

    file: Path
    kind: int
    count: int
    start: int
    end: int

    def values(self) -> list[Any]:
        """The array's items. Raises `BrokenModel`."""
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            data = stream.read(self.end - self.start)
        if len(data) != self.end - self.start:
            raise damaged(self.file, "it was changed while it was read")
        if self.kind == _STRING:
            return list(self._strings(data))
        scalar = _SCALARS[self.kind]
        return [value for (value,) in scalar.iter_unpack(data)]

    def _strings(self, data: bytes) -> Iterator[str]:
        position = 0
        for _ in range(self.count):
            end = position + 8 + _LENGTH.unpack_from(data, position)[0]
            try:
                yield data[position + 8 : end].decode()
            except UnicodeDecodeError as exc:
                raise damaged(self.file, "a text in its header is not UTF-8") from exc
            position = end


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a GGUF file: `shape` as torch has it, rows first; `offset` from the beginning of the file."""

    file: Path
    name: str
    type_id: int
    shape: tuple[int, ...]
    offset: int
    num_bytes: int

    @property
    def type_name(self) -> str:
        return package.type_name(self.type_id)


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says about itself."""

    file: Path
    metadata: dict[str, Any]
    tensors: tuple[StoredTensor, ...]


def is_gguf(file: Path) -> bool:
    """Whether a file can be read and begins as GGUF files do."""
    try:
        with file.open("rb") as stream:
            return stream.read(4) == MAGIC
    except OSError:
        return False


def read_header(file: Path) -> Header:
    """Look through a file's header. Raises `BrokenModel` or `UnsupportedModel`."""
    if not file.is_file():
        raise BrokenModel(f"{file.name} in {file.parent} is no file that can be read. Download it again.")
    try:
        with file.open("rb") as stream:
            start = stream.read(24)
            _check_start(file, start)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(file, data).header()
    except OSError as exc:
        raise BrokenModel(f"{file.name} cannot be read ({exc}). Check the disk that holds {file}.") from exc


def damaged(file: Path, why: str) -> BrokenModel:
    return BrokenModel(f"{file.name} is damaged: {why}. Delete it and download it again.")


def _check_start(file: Path, start: bytes) -> None:
    if start.startswith(b"version "):
        raise BrokenModel(f"{file.name} is only a Git LFS placeholder. Run `git lfs pull` in {file.parent}.")
    if len(start) < 24 or not start.startswith(MAGIC):
        raise damaged(file, "it does not begin as a GGUF file does")
    version = int.from_bytes(start[4:8], "little")
    if version in _VERSIONS:
        return
    if int.from_bytes(start[4:8], "big") in (1, *_VERSIONS):
        raise UnsupportedModel(
            f"{file.name} is a GGUF file for big-endian machines, which is not supported. Choose the usual one."
        )
    raise UnsupportedModel(
        f"{file.name} is a GGUF file of version {version}; versions 2 and 3 are supported. Choose a newer conversion."
    )


class _Reader:
    """Walks through the bytes of a header, which never leave the file."""

    def __init__(self, file: Path, data: mmap.mmap) -> None:
        self._file = file
        self._data = data
        self._size = len(data)
        self._position = 8
        self._items = 0

    def header(self) -> Header:
        num_tensors, num_values = self._number(_LENGTH), self._number(_LENGTH)
        left = self._size - self._position
        if num_values * 13 > left or num_tensors * 32 > left:  # the fewest bytes that each of them takes
            self._fail(
                f"its header announces {num_tensors:,} tensors and {num_values:,} values in {self._size:,} bytes"
            )
        metadata: dict[str, Any] = {}
        for _ in range(num_values):
            key = self._text(_MAX_NAME)
            if key in metadata:
                self._fail(f"its header has the value {key[:80]} twice")
            metadata[key] = self._value(self._number(_SCALARS[4]))
        described = [self._tensor() for _ in range(num_tensors)]
        return Header(self._file, metadata, self._placed(described, self._alignment(metadata)))

    def _fail(self, why: str) -> NoReturn:
        raise damaged(self._file, why)

    def _skip(self, num_bytes: int) -> int:
        """Go on by so many bytes; returns where they begin."""
        start = self._position
        if num_bytes > self._size - start:
            self._fail(f"it ends at {self._size:,} bytes in the middle of its header")
        self._position = start + num_bytes
        return start

    def _number(self, scalar: struct.Struct) -> Any:
        return scalar.unpack_from(self._data, self._skip(scalar.size))[0]

    def _text(self, longest: int) -> str:
        length = self._number(_LENGTH)
        if length > longest:
            self._fail(f"a text in its header has {length:,} bytes")
        start = self._skip(length)
        try:
            return self._data[start : start + length].decode()
        except UnicodeDecodeError:
            self._fail("a text in its header is not UTF-8")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text(_MAX_STRING)
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            self._fail(f"a value in its header has the unknown type {kind}")
        value = self._number(_SCALARS[0] if kind == _BOOL else _SCALARS[kind])
        if kind != _BOOL:
            return value
        if value > 1:
            self._fail("a value in its header is neither true nor false")
        return bool(value)

    def _array(self) -> Array:
        kind, count = self._number(_SCALARS[4]), self._number(_LENGTH)
        start = self._position
        if kind == _STRING:
            self._items += count
            if self._items > _MAX_ITEMS:
                self._fail(f"its header announces {self._items:,} texts")
            for _ in range(count):
                self._skip(self._number(_LENGTH))
        elif kind in _SCALARS:
            self._skip(count * _SCALARS[kind].size)
        else:
            self._fail(f"an array in its header has the type {kind}")
        return Array(self._file, kind, count, start, self._position)

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text(_MAX_NAME)
        num_dimensions = self._number(_SCALARS[4])
        if not 1 <= num_dimensions <= _MAX_DIMENSIONS:
            self._fail(f"the tensor {name[:80]} has {num_dimensions:,} dimensions")
        shape = tuple(self._number(_LENGTH) for _ in range(num_dimensions))
        return name, shape, self._number(_SCALARS[4]), self._number(_LENGTH)

    def _alignment(self, metadata: dict[str, Any]) -> int:
        alignment = metadata.get("general.alignment", 32)
        if not (isinstance(alignment, int) and 1 <= alignment <= _MAX_ALIGNMENT and alignment.bit_count() == 1):
            self._fail("its weights are aligned to no power of two")
        return alignment

    def _placed(
        self, described: list[tuple[str, tuple[int, ...], int, int]], alignment: int
    ) -> tuple[StoredTensor, ...]:
        """The tensors with their places in the file, which do not overlap."""
        data_start = -(-self._position // alignment) * alignment
        tensors: dict[str, StoredTensor] = {}
        for name, dimensions, type_id, offset in described:
            if name in tensors:
                self._fail(f"its header has the tensor {name[:80]} twice")
            if not package.type_name(type_id):
                raise UnsupportedModel(
                    f"{self._file.name} has weights of the unknown type {type_id}. Choose a usual quantisation of the "
                    "model, such as Q4_K_M or Q8_0."
                )
            weights, num_bytes = package.block(type_id)
            if min(dimensions) < 1 or dimensions[0] % weights:
                self._fail(f"the tensor {name[:80]} has a shape that its type cannot have")
            num_bytes *= prod(dimensions) // weights
            if offset % alignment:
                self._fail(f"the tensor {name[:80]} begins at no multiple of {alignment}")
            if data_start + offset + num_bytes > self._size:
                self._fail(f"the tensor {name[:80]} goes beyond its {self._size:,} bytes, so the file is incomplete")
            shape = tuple(reversed(dimensions))
            tensors[name] = StoredTensor(self._file, name, type_id, shape, data_start + offset, num_bytes)
        in_order = sorted(tensors.values(), key=lambda tensor: tensor.offset)
        for before, after in pairwise(in_order):
            if before.offset + before.num_bytes > after.offset:
                self._fail(f"the tensors {before.name[:80]} and {after.name[:80]} overlap")
        return tuple(tensors.values())
