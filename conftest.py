"""What cannot be collected on this machine, and why."""

import importlib.util
import os

from hypothesis import settings

settings.register_profile("untimed", settings.default, deadline=None)  # a busy machine breaks no test
settings.load_profile("untimed")

collect_ignore_glob = ["tests/compile_kernels.py", "tests/gpu/kernel_speed.py", "tests/gpu/table.py"]  # scripts
# These import Triton; `tests/engine/forward/cuda/test_kernels.py` skips with the reason.
if importlib.util.find_spec("triton") is None:
    collect_ignore_glob += ["engine/forward/cuda/kernels/[!_]*.py", "engine/forward/cuda/[!_]*.py"]
if os.environ.get("TRITON_INTERPRET") != "1":  # these run in a process of their own, which that file starts
    collect_ignore_glob += ["tests/engine/forward/cuda/test_kernels_*.py"]
