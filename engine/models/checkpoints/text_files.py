"""The text files of a model folder, with or without a byte order mark, which editors on Windows put before a text."""

import codecs
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.errors import BrokenModel

_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_TEXTS = (".json", ".jinja", ".txt")


def read_json(path: Path) -> Any:
    """The value of a JSON file in UTF-8 or UTF-16. Raises `OSError` or `ValueError`."""
    return parse_json(path.read_bytes())


def parse_json(data: bytes) -> Any:
    """The value of JSON in UTF-8 or UTF-16. Raises `ValueError`."""
    try:
        return json.loads(data)  # bytes: then json looks for the mark itself
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def without_marks(folder: Path) -> Iterator[Path]:
    """The folder as transformers can read it: itself, or links to its files with rewritten texts among them.

    transformers takes the mark for a part of the text: JSON is refused, a chat template begins with three more tokens.
    """
    marked = {path: encoding for path in folder.iterdir() if (encoding := _marked_encoding(path))}
    if not marked:
        yield folder
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        view = Path(temporary) / folder.name
        view.mkdir()
        for path in folder.iterdir():
            if path in marked:
                (view / path.name).write_bytes(path.read_bytes().decode(marked[path]).encode())
            else:
                _link(path, view / path.name, min(marked))
        yield view


def _marked_encoding(path: Path) -> str | None:
    if path.suffix not in _TEXTS or not path.is_file():
        return None
    with path.open("rb") as stream:
        start = stream.read(3)
    return next((encoding for mark, encoding in _ENCODINGS.items() if start.startswith(mark)), None)


def _link(path: Path, link: Path, marked: Path) -> None:
    try:
        link.symlink_to(path.resolve())
    except OSError:  # Windows asks for a privilege
        try:
            os.link(path, link)
        except OSError as exc:
            raise BrokenModel(
                f"{marked.name} in {marked.parent} begins with a byte order mark. Save it as UTF-8 without one (in an "
                'editor: "UTF-8", not "UTF-8 with BOM"), and load the model again.'
            ) from exc
