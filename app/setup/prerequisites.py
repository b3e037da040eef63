"""What a set-up needs before it begins: a Python that makes environments, disk space, no other set-up at work.

Standard library only: the launcher imports it.
"""

import contextlib
import importlib.util
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from app.setup.environment import RUNNING_PYTHON

GB = 1e9


class SetupError(Exception):
    """The environment cannot be had; `str()` of it says why and what to do next."""


def say(text: str) -> None:
    """Print a line for the person on standard error; standard output belongs to programs (`ask --json`)."""
    print(text, file=sys.stderr, flush=True)


def os_release() -> str:
    """The text that says which Linux this is; empty elsewhere."""
    release = Path("/etc/os-release")
    return release.read_text(encoding="utf-8") if release.exists() else ""


def distribution(release: str) -> list[str]:
    """What a Linux calls itself in /etc/os-release, then what it is like: `["linuxmint", "ubuntu", "debian"]`."""
    return " ".join(re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)', release, re.MULTILINE)).split()


def system_package(release: str, python_version: str) -> str:
    """What installs ensurepip on this system, by the text of /etc/os-release."""
    ids = set(distribution(release))
    if ids & {"debian", "ubuntu"}:
        return f"sudo apt install python{python_version}-venv"
    if ids & {"fedora", "rhel", "centos"}:
        return f"sudo dnf install python{python_version}"
    if ids & {"suse", "opensuse"}:
        return f"sudo zypper install python{python_version.replace('.', '')}-pip"
    if "alpine" in ids:
        return "sudo apk add python3 py3-pip"
    return "your system's python3-venv package, or a Python from python.org"


def check_interpreter() -> None:
    """Raise `SetupError` where the running interpreter cannot make an environment."""
    if sys.maxsize <= 2**32:
        raise SetupError("This Python is a 32-bit build, for which there is no PyTorch; install a 64-bit one.")
    absent = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if absent:
        raise SetupError(
            f"This Python ({sys.executable}) cannot make environments: its module {absent[0]} is missing. "
            f"Install it ({system_package(os_release(), RUNNING_PYTHON)}), then run this again."
        )


def check_disk(root: Path, needed_gb: float) -> float:
    """The free gigabytes; raises `SetupError` where they are too few."""
    free_gb = shutil.disk_usage(root).free / GB
    if free_gb < needed_gb:
        raise SetupError(
            f"Not enough disk: the set-up needs {needed_gb:.1f} GB and {root} has {free_gb:.1f} GB free. "
            f"Free {needed_gb - free_gb:.1f} GB or move this folder to a larger disk, then run this again."
        )
    return free_gb


@contextlib.contextmanager
def lock(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[int]:
    """Let one launcher build at a time. Yields a descriptor; a child that inherits it keeps the lock, too.

    `waiting` is called in every second of a wait; without it a line says once what is waited for.
    """
    with path.open("rb") as handle:
        said = False
        while True:
            try:
                if sys.platform == "win32":
                    import msvcrt

                    handle.seek(2**30)  # Windows locks bytes against reading: take one that is not there
                    msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
                else:
                    import fcntl

                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if waiting is not None:
                    waiting()
                elif not said:
                    say("Another set-up is running in this folder; waiting for it.")
                said = True
                time.sleep(1)
        yield handle.fileno()
