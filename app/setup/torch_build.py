"""Which build of torch fits this machine, and which index has it.

Standard library only: the launcher imports it. Sources for the numbers: PyTorch's release matrix (RELEASE.md) and
NVIDIA's table of CUDA minor-version compatibility.
"""

import contextlib
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass

TORCH_INDEX = "https://download.pytorch.org/whl/"
CUDA_12_DRIVER, CUDA_12_DRIVER_WINDOWS, CUDA_13_DRIVER = 525, 528, 580
CUDA_13_CAPABILITY, CUDA_126_CAPABILITIES = (7, 5), ((5, 0), (9, 0))


class NoBuild(Exception):
    """There is no build of torch for this machine; `str()` of it says what to do."""


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    driver: tuple[int, ...]
    capability: tuple[int, int] | None  # None: the driver is too old to say


@dataclass(frozen=True, slots=True)
class Build:
    """A build of torch. `index` None: pip's configured one. The sizes count the CUDA libraries it brings."""

    name: str
    index: str | None
    download_gb: float
    disk_gb: float
    why: str


def parse_gpus(text: str) -> list[Gpu]:
    """Read what `nvidia-smi` answers to name,driver_version,compute_cap; other lines are skipped.

    >>> parse_gpus("NVIDIA GeForce RTX 3060, 535.183.01, 8.6")
    [Gpu(name='NVIDIA GeForce RTX 3060', driver=(535, 183, 1), capability=(8, 6))]
    """
    gpus = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.rsplit(",", 2)]
        if len(parts) != 3 or not re.fullmatch(r"\d+(\.\d+)*", parts[1]):
            continue
        driver = tuple(int(part) for part in parts[1].split("."))
        capability = re.fullmatch(r"(\d+)\.(\d+)", parts[2])
        gpus.append(Gpu(parts[0], driver, (int(capability[1]), int(capability[2])) if capability else None))
    return gpus


def find_gpus() -> list[Gpu]:
    """Ask `nvidia-smi`; empty if there is no driver or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    # Drivers before 510 do not know compute_cap and refuse the whole question.
    for fields, tail in (("name,driver_version,compute_cap", ""), ("name,driver_version", ", [N/A]")):
        command = [program, f"--query-gpu={fields}", "--format=csv,noheader"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return []
        if answer.returncode == 0:
            return parse_gpus("\n".join(line + tail for line in answer.stdout.splitlines()))
    return []


def _cpu(why: str) -> Build:
    return Build("cpu", TORCH_INDEX + "cpu", 0.2, 0.8, f"the CPU build: {why}")


def choose_build(system: str, machine: str, gpus: Sequence[Gpu]) -> Build:
    """Choose by operating system, processor and NVIDIA's driver.

    The CUDA 12.6 index serves old drivers and old cards; 12.8 only newer cards under a driver older than CUDA 13's,
    since its index ends at torch 2.11. Raises `NoBuild`.
    """
    if system == "Darwin":
        if machine != "arm64":
            raise NoBuild(
                "PyTorch ended its builds for Intel Macs with 2.2 and Slipstream needs 2.8. "
                "On Apple silicon, install an arm64 Python and run this again with it."
            )
        return Build("plain", None, 0.1, 0.4, "the Apple silicon build, Metal included")
    if not gpus:
        return _cpu("no NVIDIA driver answers")
    gpu = max(gpus, key=lambda found: found.capability or (0, 0))
    driver, capability = gpu.driver[0], gpu.capability or CUDA_126_CAPABILITIES[0]
    least = CUDA_12_DRIVER_WINDOWS if system == "Windows" else CUDA_12_DRIVER
    label = f"{gpu.name}, driver {'.'.join(map(str, gpu.driver))}"
    if driver < least:
        return _cpu(f"{label} is too old for CUDA 12; install driver {least} or newer, then run with --repair")
    if capability < CUDA_126_CAPABILITIES[0]:
        return _cpu(f"{gpu.name} has compute capability {capability[0]}.{capability[1]} and PyTorch needs 5.0")
    if driver >= CUDA_13_DRIVER and capability >= CUDA_13_CAPABILITY:
        return Build("cu130", TORCH_INDEX + "cu130", 2.5, 6.0, f"the CUDA 13.0 build for {label}")
    if capability > CUDA_126_CAPABILITIES[1]:
        return Build("cu128", TORCH_INDEX + "cu128", 3.3, 7.5, f"the CUDA 12.8 build for {label}")
    return Build("cu126", TORCH_INDEX + "cu126", 3.0, 6.5, f"the CUDA 12.6 build for {label}")


def reachable(url: str, timeout_s: float = 4.0) -> bool:
    """Whether a URL answers in time, the look-up of its name included; the thread that asks may outlive the call."""
    import urllib.request  # slow to import, and wanted once

    answers: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=timeout_s) as answer:
            answers.append(answer.status == 200)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s + 1)
    return answers == [True]
