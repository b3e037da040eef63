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
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from engine import codec
from engine.events import Certificate, LoadProgress
from engine.forward.target import Target
from engine.forward.top_tokens import USUAL_TOP, most_likely
from engine.forward.widths import WIDTHS
from engine.models.libraries import Report
from engine.models.loader import LoadedModel
from engine.probe.cost import CostCurve, measure
from engine.probe.exactness import certify

log = logging.getLogger(__name__)

KEPT = 64  # files, some 4 KB each
_LOOKED_AT = 4096  # tokens; neither probe nor clock uses a longer context
_LIBRARIES = ("torch", "transformers", "bitsandbytes", "numba", "numpy", "triton")
# What choose their kernels by these: torch, oneDNN, MKL, OpenMP, cuBLAS, cuDNN, Triton, numba, bitsandbytes.
_VARIABLES = (
    *("ATEN_", "TORCH_", "PYTORCH_", "ONEDNN_", "DNNL_", "MKL_", "OMP_", "GOMP_", "KMP_"),
    *("CUBLAS_", "CUDNN_", "NVIDIA_TF32_", "TRITON_", "NUMBA_", "BNB_"),
)
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
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["sha256"] != _sha256(data["findings"]) or data["key"] != key:
                raise ValueError("it is not what was written")
            exact, cost = data["findings"]["exact"], data["findings"]["cost"]
            return Findings(codec.load(Certificate, exact, "the certificate"), CostCurve.from_json(cost))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            log.warning("The findings in %s cannot be used (%r): the model is probed again.", path, exc)
            return None

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


def find_out(
    loaded: LoadedModel,
    target: Target[Any],
    folder: FindingsFolder,
    report: Report,
    *,
    reprobe: bool,
    warm_up: Callable[[], None],
) -> Findings:
    """Certify widths and measure rounds, or read both from `folder` unless `reprobe`; keep the result there.

    A known certificate stands: nothing that decides bits has changed. A known curve is measured again, briefly.
    `warm_up` compiles what runs beside the model in a round, before any round is timed.
    """

    def report_widths(done: int) -> None:
        message = "Checking which round widths are bit-exact"
        report(LoadProgress(stage="certify", message=message, done=done, total=len(WIDTHS)))

    key = key_of(loaded, target)
    known = None if reprobe else folder.read(key)
    exact = certify(target, report_widths) if known is None else known.exact
    report(LoadProgress(stage="warm-up", message="Preparing the drafter: the first start compiles it, up to a minute"))
    warm_up()
    report(LoadProgress(stage="measure", message="Measuring what a round costs on this machine"))
    cost = measure(target, lambda logits: most_likely(logits, USUAL_TOP), None if known is None else known.cost)
    found = Findings(exact, cost)
    folder.write(key, found)
    return found


def key_of(loaded: LoadedModel, target: Target[Any]) -> dict[str, Any]:
    """All that may decide a row's bits or a round's time, as JSON."""
    return {
        "weights": loaded.fingerprint,
        "quant": loaded.quant,
        "dtype": str(loaded.dtype),
        "context": min(loaded.context_length, _LOOKED_AT),
        "threads": loaded.threads,
        "forward": list(target.implementation),
        "notes": list(target.notes),
        "device": _device(loaded),
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
