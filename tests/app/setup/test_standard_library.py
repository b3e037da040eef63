"""What runs before the environment stands imports nothing but the standard library, whatever is installed by chance."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def reachable(name: str, seen: set[str]) -> Iterator[tuple[str, Path]]:
    """The modules of this repository that importing `name` runs, now or in some function of it."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = ".".join(parts[:end])
        path = ROOT.joinpath(*parts[:end])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module not in seen and file.is_file():  # else it is a value in a module
            seen.add(module)
            yield module, file
            for imported in imports(file):
                yield from reachable(imported, seen)


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def foreign(name: str) -> set[str]:
    """What `name` imports that is neither of this repository nor of the standard library."""
    found = {imported for _, file in reachable(name, set()) for imported in imports(file)}
    return {i for i in found if i.split(".")[0] not in {"app", "engine"} | sys.stdlib_module_names}


SETUP = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / "app/setup").rglob("*.py"))]


@pytest.mark.parametrize("name", [*SETUP, "engine.config"])
def test_the_standard_library_alone(name: str) -> None:
    assert foreign(name) == set()


def test_what_is_foreign_is_found_through_other_modules() -> None:
    assert "numpy" in foreign("engine.drafting.registry")
    assert "transformers.AutoConfig" in foreign("engine.models.loader")  # inside a function
