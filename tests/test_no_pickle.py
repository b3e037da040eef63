"""Nothing of ours loads a pickle, which is a program: neither by name, nor by a library that does so when asked to."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "launcher.py", *sorted((ROOT / "app").rglob("*.py")), *sorted((ROOT / "engine").rglob("*.py"))]
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "diskcache"}
CALLS = {"load", "read_pickle", "load_state_dict_from_url"}  # of these libraries, and of what is in them
LIBRARIES = {"torch", "numpy", "pandas", "scipy"}
USUAL = {"np": "numpy", "pd": "pandas"}  # aliases


def loads(tree: ast.AST) -> list[str]:
    """What loads a pickle in a module.

    >>> loads(ast.parse("import pickle; torch.load(x); np.load(x); json.load(x); f(allow_pickle=True)"))
    ['pickle', 'torch.load', 'numpy.load', 'allow_pickle']
    >>> loads(ast.parse("from torch import load; from torch.hub import load as l; torch.jit.load(x); torch.save()"))
    ['torch.load', 'torch.hub.load', 'torch.jit.load']
    >>> loads(ast.parse("import torch as t; from torch import jit as j; t.load(x); j.load(x); t.hub.load(x); j.f(x)"))
    ['torch.load', 'torch.jit.load', 'torch.hub.load']
    >>> loads(ast.parse("importlib.import_module('pickle'); __import__('dill.x'); import_module('json')"))
    ['pickle', 'dill.x']
    """
    aliases, found = dict(USUAL), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            aliases |= {alias.asname or alias.name: name for alias, name in zip(node.names, names, strict=True)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [str(given.value) for given in node.args if isinstance(given, ast.Constant)]
        else:
            names = []
        found += [name for name in names if name.partition(".")[0] in MODULES or _is_call(name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            name = f"{aliases.get(first, first)}.{rest}"
            found += [name] if _is_call(name) else []
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
            found.append(node.arg)
    return found


def _is_call(name: str) -> bool:
    return name.partition(".")[0] in LIBRARIES and name.rpartition(".")[2] in CALLS


def test_no_pickle_is_loaded() -> None:
    found = {file.relative_to(ROOT).as_posix(): loads(ast.parse(file.read_text(encoding="utf-8"))) for file in FILES}
    assert {file: what for file, what in found.items() if what} == {}
