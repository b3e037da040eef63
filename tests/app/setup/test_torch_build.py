"""Which build of torch fits this machine; nothing is downloaded."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

import launcher
from app.setup import torch_build
from app.setup.installer import gpu_warning
from app.setup.torch_build import TORCH_INDEX, Gpu, NoBuild, choose_build, parse_gpus

ROOT = Path(launcher.__file__).parent
TORCH = "torch>=2.8,<2.14"


@pytest.mark.parametrize(
    ("answer", "build"),
    [
        ("", "cpu"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "cpu"),
        ("NVIDIA H100 80GB HBM3, 580.65.06, 9.0", "cu130"),
        ("NVIDIA GeForce RTX 4090, 550.54.14, 8.9", "cu126"),
        ("NVIDIA GeForce RTX 4090, 590.10, 8.9", "cu130"),
        ("NVIDIA GeForce GTX 1080 Ti, 580.65.06, 6.1", "cu126"),
        ("Tesla V100-SXM2-16GB, 580.65.06, 7.0", "cu126"),
        ("Tesla T4, 580.65.06, 7.5", "cu130"),
        ("NVIDIA GeForce RTX 5090, 572.16, 12.0", "cu128"),
        ("NVIDIA GeForce GTX 780, 470.256.02, 3.5", "cpu"),
        ("NVIDIA GeForce RTX 3060, 470.256.02, [N/A]", "cpu"),
        ("NVIDIA GeForce RTX 3060, 535.183.01, [N/A]", "cu126"),
        ("NVIDIA GeForce GTX 1060, 580.65.06, 6.1\nNVIDIA GeForce RTX 3090, 580.65.06, 8.6", "cu130"),
        ("Odd, comma, 535.1, 8.6", "cu126"),
    ],
)
def test_the_build_fits_the_driver_and_the_card(answer: str, build: str) -> None:
    chosen = choose_build("Linux", "x86_64", parse_gpus(answer))
    assert chosen.name == build
    assert chosen.index == TORCH_INDEX + build


def test_windows_asks_for_its_own_least_driver() -> None:
    gpus = [Gpu("RTX 3060", (527, 41), (8, 6))]
    assert choose_build("Linux", "x86_64", gpus).name == "cu126"
    chosen = choose_build("Windows", "AMD64", gpus)
    assert chosen.name == "cpu"
    assert "528" in chosen.why


def test_apple_takes_the_plain_index_and_intel_macs_are_told() -> None:
    assert choose_build("Darwin", "arm64", []).index is None
    with pytest.raises(NoBuild, match="Intel Macs"):
        choose_build("Darwin", "x86_64", [])


def test_old_drivers_that_do_not_know_the_capability_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        refused = "compute_cap" in command[1]
        return subprocess.CompletedProcess(command, int(refused), "" if refused else "Tesla K80, 470.57.02\n", "")

    monkeypatch.setattr(torch_build.shutil, "which", lambda name: name)
    monkeypatch.setattr(torch_build.subprocess, "run", answer)
    assert torch_build.find_gpus() == [Gpu("Tesla K80", (470, 57, 2), None)]


def test_an_address_that_does_not_answer_is_unreachable() -> None:
    assert not torch_build.reachable("http://127.0.0.1:9/", timeout_s=2)


def test_a_gpu_that_is_not_used_is_said() -> None:
    result = {"torch": "2.13.0", "device": "cpu", "warning": None}
    assert gpu_warning(choose_build("Linux", "x86_64", []), result) is None
    build = choose_build("Linux", "x86_64", [Gpu("RTX 3060", (535,), (8, 6))])
    assert "sees no device" in (gpu_warning(build, result) or "")
    assert "no kernel image" in (gpu_warning(build, {**result, "warning": "no kernel image"}) or "")
