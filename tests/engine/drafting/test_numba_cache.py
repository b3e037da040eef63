"""Compiled code on disk: no entry point is loaded that was made of other files than those of now."""

import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine.decoding import choose
from engine.drafting import kernel

ROOT = Path(__file__).parents[3]


def entry_points(module: ModuleType) -> dict[str, Any]:
    """The compiled functions with a cache on disk, by their names."""
    return next(value for name, value in vars(module).items() if name.strip("_") == "KERNEL")._asdict()


def functions_below(function: Any) -> Iterator[Any]:
    """All compiled functions that one may call, itself included."""
    found, waiting = set(), [function]
    while waiting:
        each = waiting.pop()
        if each in found:
            continue
        found.add(each)
        yield each
        code, known = each.py_func.__code__, each.py_func.__globals__
        named = [known[name] for name in code.co_names if name in known]
        of_modules = [
            getattr(module, name)
            for module in named
            if isinstance(module, ModuleType)
            for name in code.co_names
            if hasattr(module, name)
        ]
        waiting += [other for other in (*named, *of_modules) if hasattr(other, "py_func")]


def files_of(module: ModuleType) -> set[Path]:
    return {
        Path(each.py_func.__code__.co_filename)
        for entry in entry_points(module).values()
        for each in functions_below(entry)
    }


def digest_of(module: ModuleType, name: str) -> str:
    """What the entry point encloses, in the module as it would be imported now."""
    spec = importlib.util.spec_from_file_location("imported_now", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    now = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(now)
    return inspect.getclosurevars(entry_points(now)[name].py_func).nonlocals["digest"]


@pytest.mark.parametrize("module", [kernel, choose], ids=lambda module: module.__name__)
def test_a_change_in_any_file_with_compiled_functions_renews_the_cache(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(module)
    assert len(files) > 1
    before = {name: digest_of(module, name) for name in entry_points(module)}
    read = Path.read_bytes
    for changed in files:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda path, changed=changed: read(path) + b"#" * (path == changed))
            for name, digest in before.items():
                assert digest_of(module, name) != digest, (name, changed)


def test_all_that_drafts_is_found() -> None:
    """The walk through compiled functions, which the test above relies on, reaches every source."""
    assert {path.name for path in files_of(kernel)} >= {"ngram.py", "skip.py", "recycled.py", "tree.py", "history.py"}
    assert "slots.py" in {path.name for path in files_of(choose)}


def test_numbers_are_the_same_whichever_file_is_imported_first() -> None:
    """Compiled code has them inside, and the cache on disk serves processes of every kind."""
    script = """
import importlib, sys
importlib.import_module("engine.drafting." + sys.argv[1])
from engine.drafting import proposals
from engine.drafting.sources import ngram, pointer, recycled, shared
print(proposals.LENGTH, ngram.COUNT, pointer._RUN, recycled._PAIRED, shared._RANKED)
"""
    printed = {
        subprocess.run([sys.executable, "-c", script, name], cwd=ROOT, check=True, capture_output=True).stdout
        for name in ("adaptive", "proposals", "sources.recycled", "sources.skip", "sources.shared")
    }
    assert len(printed) == 1
