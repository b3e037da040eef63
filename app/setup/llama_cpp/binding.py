"""Which binding to llama.cpp is pinned, whether it is installed, and where its wheel is kept.

Standard library only: the launcher imports it.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.setup.environment import RUNNING_PYTHON, WINDOWS

PIN = Path("assets") / "llama-cpp.txt"
GET_IT = "python launcher.py --with-llama-cpp"


@dataclass(frozen=True, slots=True)
class Binding:
    """The line of `assets/llama-cpp.txt`: a package, its version, and the hash of its source archive."""

    package: str
    version: str

    @classmethod
    def read(cls, root: Path) -> "Binding | None":
        """The binding that this copy of the application names; None where it names none."""
        try:
            text = (root / PIN).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        line = re.search(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
        return cls(line[1], line[2]) if line else None

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    def found(self, site_packages: Path | None = None) -> str | None:
        """The version that is installed in the running interpreter, or in a folder; None also for half a one.

        pip writes INSTALLER last.
        """
        path = sys.path if site_packages is None else [str(site_packages)]
        for distribution in importlib.metadata.distributions(name=self.package, path=path):
            if distribution.read_text("INSTALLER"):
                return distribution.version
        return None

    def by_hand(self, root: Path, python: str = sys.executable) -> str:
        """The command that installs it into a Python that the launcher leaves alone."""
        return f"{python} -m pip install --no-deps -r {root / PIN}"


def about(binding: Binding | None, root: Path, ours: bool) -> str:
    """Whether the binding is there, and how to get it; `ours`: into an environment that the launcher made."""
    if binding is None:
        return "llama.cpp: this copy names no binding to it"
    found = binding.found()
    if found == binding.version:
        return f"llama.cpp: {binding.package} {found} is installed"
    what = f"{binding.package} {found} is installed, and {binding.version} is wanted" if found else "not installed"
    return f"llama.cpp: {what}; `{GET_IT if ours else binding.by_hand(root)}` installs it"


def wheel_folder(binding: Binding, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the wheel for this version, Python, system and processor is kept.

    It may hold any instruction of the processor that it was compiled on, so another processor never sees it.
    """
    made_for = hashlib.sha256(processor().encode()).hexdigest()[:12]
    key = "-".join((binding.version, f"python{RUNNING_PYTHON}", sysconfig.get_platform(), made_for))
    return cache_folder(environment) / "llama-cpp" / key


def processor() -> str:
    """Everything that decides which instructions a compiler may use for this machine alone."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return "\n".join(sorted({line for line in lines if re.match(r"(flags|Features|model name|CPU part)\b", line)}))
    if sys.platform == "darwin":
        with suppress(OSError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return platform.processor()


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The application's cache folder, as `app.home` finds it with a package that may not be there yet."""
    if moved := environment.get("SLIPSTREAM_HOME"):
        return Path(moved).expanduser().absolute() / "cache"
    if WINDOWS:
        local = environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local) / "slipstream" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "slipstream"
    named = environment.get("XDG_CACHE_HOME", "").strip()
    return Path(named or Path.home() / ".cache").expanduser() / "slipstream"
