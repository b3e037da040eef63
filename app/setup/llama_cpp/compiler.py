"""Whether this machine can compile C++, and what to install where it cannot.

Standard library only: the launcher imports it.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from app.setup.environment import WINDOWS
from app.setup.prerequisites import distribution, os_release

PACKAGES = {  # by what /etc/os-release calls the system
    "debian": "sudo apt install g++",
    "ubuntu": "sudo apt install g++",
    "fedora": "sudo dnf install gcc-c++",
    "rhel": "sudo dnf install gcc-c++",
    "centos": "sudo dnf install gcc-c++",
    "suse": "sudo zypper install gcc-c++",
    "opensuse": "sudo zypper install gcc-c++",
    "arch": "sudo pacman -S gcc",
    "alpine": "sudo apk add g++ linux-headers",
}


def has_compiler(environment: Mapping[str, str]) -> bool:
    """Whether a C++ compiler is there, where CMake looks for it."""
    path = environment.get("PATH")
    if named := environment.get("CXX"):
        return shutil.which(named.split()[0], path=path) is not None
    if WINDOWS:
        return shutil.which("cl", path=path) is not None or _visual_studio(environment)
    if sys.platform == "darwin":  # /usr/bin/c++ is there without any tools, and asks to install them
        return subprocess.run(["/usr/bin/xcode-select", "-p"], capture_output=True).returncode == 0
    return any(shutil.which(name, path=path) for name in ("c++", "g++", "clang++"))


def _visual_studio(environment: Mapping[str, str]) -> bool:
    folder = environment.get("ProgramFiles(x86)", r"C:\Program Files (x86)")
    finder = Path(folder) / "Microsoft Visual Studio" / "Installer" / "vswhere.exe"
    tools = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64"
    command = [str(finder), "-products", "*", "-requires", tools, "-property", "installationPath"]
    try:
        return bool(subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip())
    except (OSError, subprocess.TimeoutExpired):
        return False


def how_to_get_one() -> str:
    """What installs a compiler on this system, worded to follow "install one": a command or a program's name."""
    if WINDOWS:
        return "Microsoft's Build Tools for Visual Studio, with “Desktop development with C++”"
    if sys.platform == "darwin":
        return "xcode-select --install"
    return next(
        (PACKAGES[name] for name in distribution(os_release()) if name in PACKAGES),
        "your system's g++ or clang package",
    )
