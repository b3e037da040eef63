"""The kernels without a GPU: interpreted in a process of their own, so that no other test sees TRITON_INTERPRET, and
compiled for devices that are not there.

Triton comes with torch's CUDA builds alone; elsewhere `pip install "triton>=3.7,<3.9"` lets these run.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.forward.cuda import kernels

ROOT = Path(__file__).parents[4]
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def test_without_a_cuda_device_the_reason_is_said() -> None:
    reason = kernels.available(torch.device("cpu"))
    assert reason in ("Triton is not installed.", "Triton kernels need a CUDA device; this one is cpu.")


@needs_triton
def test_the_kernels_under_the_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTEST_ADDOPTS": ""}
    files = sorted(str(path) for path in Path(__file__).parent.glob("test_kernels_*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " skipped" not in run.stdout


@needs_triton
def test_the_kernels_compile_for_devices_that_are_not_here() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "compile_kernels.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "compiled" in run.stdout
