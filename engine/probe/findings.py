"""What the probe and the clock found out about a model on this machine, kept on disk for the next load.

One JSON file for each combination of everything that may decide bits: weights, formats, device, libraries, our own
code. Another combination is another file, so no file is ever updated, only deleted: the folder keeps the latest few. A
file that cannot be read, or is not what was written, counts as none and is written again.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from engine import codec
from engine.config import CHECKED_CONTEXT, Backend
from engine.events import Certificate, LoadProgress
from engine.forward.target import Target
from engine.forward.top_tokens import USUAL_TOP, most_likely
from engine.models.loader import LoadedModel
from engine.probe.cost import CostCurve, least_passes, measure_steps, usual_token_s
from engine.probe.exactness import certify_steps
from engine.probe.steps import Steps

log = logging.getLogger(__name__)

T = TypeVar("T")

CHECKING = "Checking which round widths are bit-exact"
COMPILING = "Compiling the drafter, which takes up to a minute at the first start"
MEASURING = "Measuring what a round costs on this machine"

KEPT = 64  # files, some 4 KB each
_LIBRARIES = ("torch", "transformers", "bitsandbytes", "numba", "numpy", "triton")
# What choose their kernels by these: torch, oneDNN, MKL, OpenMP, cuBLAS, cuDNN, Triton, numba, bitsandbytes, llama.cpp.
_VARIABLES = (
    *("ATEN_", "TORCH_", "PYTORCH_", "ONEDNN_", "DNNL_", "MKL_", "OMP_", "GOMP_", "KMP_"),
    *("CUBLAS_", "CUDNN_", "NVIDIA_TF32_", "TRITON_", "NUMBA_", "BNB_", "GGML_", "LLAMA_"),
)
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what a damaged file raises
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found: the widths that are exact, and what rounds cost."""

    exact: Certificate
    cost: CostCurve


class FindingsFolder:
    """Findings by key, in `folder`; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def path(self) -> Path | None:
        return self._folder

    def read(self, key: dict[str, Any]) -> Findings | None:
        """What was found for exactly this key, if it is known."""
        if self._folder is None:
            return None
        path = self._folder / _name(key)
        try:
            found_key, found = _read(path)
            if found_key != key:
                raise ValueError("it is not what was written")
            return found
        except FileNotFoundError:
            return None
        except _UNUSABLE as exc:
            log.warning("The findings in %s cannot be used (%r): the model is probed again.", path, exc)
            return None

    def usual_tokens(self, weights: str) -> dict[Backend, float]:
        """The seconds that a token of the weights with this fingerprint usually takes, drafts included, by backend, on
        this machine as it is: the latest that was measured; none where nothing was."""
        seconds: dict[Backend, float] = {}
        if self._folder is None or not self._folder.is_dir():
            return seconds
        here = _surroundings()
        for path in sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
            try:
                key, found = _read(path)
                if key["weights"] == weights and here.items() <= key.items():
                    seconds[key["backend"]] = usual_token_s(found.cost.at(0), found.exact.widths)
            except _UNUSABLE:
                continue  # `read` says so where it is asked for
        return seconds

    def write(self, key: dict[str, Any], findings: Findings) -> None:
        """Keep the findings, all of them or, where the disk refuses, none."""
        if self._folder is None:
            return
        path = self._folder / _name(key)
        found = {"exact": codec.dump(findings.exact), "cost": findings.cost.to_json()}
        text = json.dumps({"key": key, "findings": found, "sha256": _sha256(found)}, indent=1)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self._folder, suffix=".new", delete=False
            ) as draft:
                draft.write(text)
            os.replace(draft.name, path)  # at once: a reader sees the whole of it or nothing
            self._forget_oldest()
        except OSError as exc:
            log.warning("The findings cannot be kept in %s (%s): the next load probes again.", path, exc)

    def _forget_oldest(self) -> None:
        """Leave the newest files; drafts that were never finished go with the others."""
        assert self._folder is not None
        files = sorted(self._folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        for file in files[:-KEPT]:
            file.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], Findings]:
    """The key and the findings in a file. Raises one of `_UNUSABLE`."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["sha256"] != _sha256(data["findings"]):
        raise ValueError("it is not what was written")
    exact, cost = data["findings"]["exact"], data["findings"]["cost"]
    return data["key"], Findings(codec.load(Certificate, exact, "the certificate"), CostCurve.from_json(cost))


def find_out(
    target: Target[Any], known: Findings | None, warm_up: Generator[Any, None, None]
) -> Generator[LoadProgress, None, Findings]:
    """Certify widths and measure rounds, in small steps, beside what is `known`.

    A known certificate stands: nothing that decides bits has changed. A known curve is measured again, briefly.
    `warm_up` compiles what runs beside the model in a round: it begins first, and has ended before any round is timed.
    """
    with closing(warm_up):
        next(warm_up, None)
        passes = least_passes(target, None if known is None else known.cost)
        clock = _Clock(passes)
        if known is None:
            exact = yield from clock.over(certify_steps(target), "certify", CHECKING, more=passes)
        else:
            exact = known.exact
        for _ in warm_up:
            yield clock.report("warm-up", COMPILING)
        read_top = partial(most_likely, num_top=USUAL_TOP)
        earlier = None if known is None else known.cost
        cost = yield from clock.over(measure_steps(target, read_top, earlier), "measure", MEASURING)
    return Findings(exact, cost)


class _Clock:
    """Says how far all is, and how long the rest takes: the steps' own time counts, not what is done between two."""

    def __init__(self, total: int) -> None:
        self._spent_s = 0.0
        self._done = 0
        self._total = total

    def over(
        self, steps: Steps[T], stage: Literal["certify", "measure"], message: str, more: int = 0
    ) -> Generator[LoadProgress, None, T]:
        """Report every step; `more` passes come behind these."""
        before = self._done
        while True:
            started = time.perf_counter()
            try:
                passes = next(steps)
            except StopIteration as end:
                self._done = self._total - more
                result: T = end.value
                return result
            self._spent_s += time.perf_counter() - started
            self._done, self._total = before + passes.done, before + passes.total + more
            yield self.report(stage, message)

    def report(self, stage: Literal["certify", "warm-up", "measure"], message: str) -> LoadProgress:
        left_s = self._spent_s / self._done * (self._total - self._done) if self._done else None
        return LoadProgress(stage=stage, message=message, done=self._done, total=self._total, seconds_left=left_s)


def key_of(loaded: LoadedModel, target: Target[Any]) -> dict[str, Any]:
    """All that may decide a row's bits or a round's time, as JSON."""
    return _surroundings() | {
        "weights": loaded.fingerprint,
        "backend": loaded.backend,
        "quant": loaded.quant,
        "dtype": str(loaded.dtype),
        "context": min(loaded.context_length, CHECKED_CONTEXT),
        "threads": loaded.threads,
        "forward": list(target.implementation),
        "notes": list(target.notes),
        "device": _device(loaded),
    }


def _surroundings() -> dict[str, Any]:
    """What of it is the same for every model."""
    return {
        "platform": platform.platform(),
        "processor": [torch.backends.cpu.get_cpu_capability(), dict(sorted(torch.cpu.get_capabilities().items()))],
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "torch_build": hashlib.sha256(torch.__config__.show().encode()).hexdigest(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)},
        "slipstream": _own_code(),
    }


def _device(loaded: LoadedModel) -> list[Any]:
    described: list[Any] = [str(loaded.device), loaded.device_name]
    if loaded.device.type == "cuda":
        properties = torch.cuda.get_device_properties(loaded.device)
        driver = _NVIDIA_DRIVER.read_text(encoding="utf-8") if _NVIDIA_DRIVER.is_file() else None
        described += [properties.major, properties.minor, properties.multi_processor_count, torch.version.cuda, driver]
    return described


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _own_code() -> str:
    """Names the present text of the engine: finer than a version, which changes in a copy's work leave as it is."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _name(key: dict[str, Any]) -> str:
    return f"{_sha256(key)[:32]}.json"


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
