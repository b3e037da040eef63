"""Nothing of ours loads a pickle, which is a program: neither by name, nor by a library that does so when asked to."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "launcher.py", *sorted((ROOT / "app").rglob("*.py")), *sorted((ROOT / "engine").rglob("*.py"))]
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "diskcache"}
CALLS = {"load", "read_pickle"}  # of these libraries; safetensors and json have their own
LIBRARIES = {"torch", "np", "numpy", "pandas", "pd", "scipy"}


def loads(tree: ast.AST) -> list[str]:
    """What loads a pickle in a module.

    >>> loads(ast.parse("import pickle; torch.load(x); np.load(x); json.load(x); f(allow_pickle=True)"))
    ['pickle', 'torch.load', 'np.load', 'allow_pickle']
    """
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [name for name in names if name.partition(".")[0] in MODULES]
        if isinstance(node, ast.Attribute) and node.attr in CALLS and ast.unparse(node.value) in LIBRARIES:
            found.append(ast.unparse(node))
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
            found.append(node.arg)
    return found


def test_no_pickle_is_loaded() -> None:
    found = {file.relative_to(ROOT).as_posix(): loads(ast.parse(file.read_text(encoding="utf-8"))) for file in FILES}
    assert {file: what for file, what in found.items() if what} == {}
