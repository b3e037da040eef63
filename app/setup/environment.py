"""Which packages the application needs, and whether an interpreter has them.

Standard library only: the launcher asks this before anything is installed. `app.setup.installer` builds.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.setup.bundled_model import BundledModel

RUNNING_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
WINDOWS = sys.platform == "win32"


def version_key(version: str) -> tuple[tuple[int, ...], int]:
    """Order versions; the local part is dropped, trailing zeros do not count, pre-releases come first.

    >>> version_key("2.13.0+cpu") == version_key("2.13")
    True
    >>> version_key("2.9.0rc1") < version_key("2.9")
    True
    """
    match = re.match(r"\s*v?(?:\d+!)?(\d+(?:\.\d+)*)(.*)", version.split("+")[0])
    if match is None:
        raise ValueError(f"{version!r} is not a version.")
    release = [int(part) for part in match[1].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    before = re.match(r"[._-]?(a|b|c|rc|alpha|beta|pre|preview|dev)", match[2]) is not None
    return tuple(release), -1 if before else 0


def satisfies(version: str, specifiers: str) -> bool:
    """Whether a version meets all of `>=2.8,<2.14`; knows the comparisons that pyproject.toml uses."""
    key = version_key(version)
    for specifier in filter(None, (part.strip() for part in specifiers.split(","))):
        match = re.fullmatch(r"(>=|<=|==|!=|<|>)\s*([\w.!]+)", specifier)
        if match is None:
            raise ValueError(f"{specifier!r} is not a comparison that the launcher knows.")
        bound = version_key(match[2])
        meets = {
            ">=": key >= bound,
            "<=": key <= bound,
            "==": key == bound,
            "!=": key != bound,
            ">": key > bound,
            "<": key < bound and key[0] != bound[0],  # a bound's own pre-releases are not below it
        }
        if not meets[match[1]]:
            return False
    return True


def split_requirement(requirement: str) -> tuple[str, str]:
    """Split `torch>=2.8,<2.14` into its name and its comparisons; it may have no markers and no extras."""
    match = re.fullmatch(r"\s*([A-Za-z0-9][\w.-]*)\s*([<>=!][^;\[]*)?", requirement)
    if match is None:
        raise ValueError(f"{requirement!r} is not a requirement that the launcher can read.")
    return match[1], match[2] or ""


def installed_version(name: str, site_packages: Path | None = None) -> str | None:
    """The version of a package in the running interpreter, or in a folder; None if it is missing."""
    path = sys.path if site_packages is None else [str(site_packages)]
    return next((found.version for found in importlib.metadata.distributions(name=name, path=path)), None)


def missing(wanted: Sequence[str], site_packages: Path | None = None) -> list[str]:
    """The requirements that are not met in the running interpreter, or in a folder."""
    unmet = []
    for requirement in wanted:
        name, specifiers = split_requirement(requirement)
        version = installed_version(name, site_packages)
        if version is None or not satisfies(version, specifiers):
            unmet.append(requirement)
    return unmet


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a finished `.venv` was made from. `warning`: why the GPU is not used, as a sentence."""

    fingerprint: str
    python: str  # like 3.11
    extras: tuple[str, ...]
    torch: str
    device: str  # where the self-test ran: cuda, mps or cpu
    warning: str | None


@dataclass(frozen=True, slots=True)
class Environment:
    """The project's folder and the `.venv` in it."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "Scripts" / "python.exe" if WINDOWS else self.venv / "bin" / "python"

    @property
    def constraints(self) -> Path:
        return self.root / "assets" / "constraints.txt"

    @property
    def stamp_path(self) -> Path:
        """A file in every `.venv` that the launcher made; complete only once its self-test has passed."""
        return self.venv / "slipstream.json"

    @property
    def is_running(self) -> bool:
        """Whether the running interpreter is `.venv`'s."""
        return Path(sys.prefix).resolve() == self.venv.resolve()

    @property
    def warning(self) -> str | None:
        """Why the GPU is not used, if the running interpreter is `.venv`'s and its set-up found a reason."""
        stamp = self.read_stamp() if self.is_running else None
        return stamp.warning if stamp else None

    def present_packages(self) -> Path:
        """Where a finished `.venv` keeps its packages, whichever Python made it."""
        stamp = self.read_stamp()
        return self.site_packages(stamp.python if stamp else RUNNING_PYTHON)

    def site_packages(self, python_version: str = RUNNING_PYTHON) -> Path:
        """Where `.venv` keeps its packages."""
        library = "Lib" if WINDOWS else f"lib/python{python_version}"
        return self.venv / library / "site-packages"

    def project(self) -> dict[str, Any]:
        """pyproject.toml's [project] table."""
        table: dict[str, Any] = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return table

    def requirements(self, extras: Sequence[str] = ()) -> list[str]:
        """What pyproject.toml asks for, with these extras."""
        table = self.project()
        found = list(table["dependencies"])
        for extra in extras:
            found += table["optional-dependencies"][extra]
        return found

    def fingerprint(self, python_version: str = RUNNING_PYTHON) -> str:
        """A hash of everything that decides what is installed: dependencies, constraints, Python's version,
        and the model that comes along."""
        table = self.project()
        tables = [table["dependencies"], table.get("optional-dependencies", {})]
        model = BundledModel.read(self.root)
        named = [model.requirement] if model else []
        parts = [*tables, self.constraints.read_text(encoding="utf-8"), python_version, *named]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def read_stamp(self) -> Stamp | None:
        """The stamp of a finished `.venv`; None if there is none or its set-up has not finished."""
        try:
            values = json.loads(self.stamp_path.read_text(encoding="utf-8"))
            return Stamp(**{**values, "extras": tuple(values["extras"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def promised(self) -> list[str]:
        """The extra packages that an unfinished set-up is to bring back."""
        try:
            names = json.loads(self.stamp_path.read_text(encoding="utf-8"))["unfinished"]
            return [name for name in names if isinstance(name, str)]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def write_stamp(self, values: dict[str, Any]) -> None:
        """Replace the stamp in one step. One that is no `Stamp` means: made by the launcher, not finished."""
        draft = self.stamp_path.with_suffix(".new")
        draft.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, self.stamp_path)

    def fault(self, extras: Sequence[str] = ()) -> str | None:
        """Why `.venv` cannot be used as it is, worded to follow "because"; None if it can."""
        if not self.venv.exists():
            return "there is no .venv yet"
        stamp = self.read_stamp()
        if stamp is None:
            return "an earlier set-up did not finish"
        if not self.python.exists():
            return "the Python that .venv was made with is gone"
        if self.is_running and stamp.python != RUNNING_PYTHON:
            return f".venv was made with Python {stamp.python} and runs on {RUNNING_PYTHON} now"
        if stamp.fingerprint != self.fingerprint(stamp.python):
            return "the project's dependencies have changed"
        unmet = missing(self.requirements(extras), self.site_packages(stamp.python))
        return f".venv lacks {', '.join(unmet)}" if unmet else None
