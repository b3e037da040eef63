"""What is being trained: where, with which arguments; and the note that a later start reads."""

import hashlib
import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from app.home import folder_name
from engine.config import ModelSpec
from engine.errors import EngineError
from engine.events import ModelInfo
from engine.models.catalog import read_checkpoint
from engine.models.identity import weights_digest

log = logging.getLogger(__name__)

_NAME = "training.json"
_SAME_S = 1.0  # a process that began so near to the time that was noted is that one
_END_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is trained: `name` is the model's, `pack` the folder, `arguments` those of `train-drafter`."""

    name: str
    pack: str
    arguments: tuple[str, ...]


def order_for(packs: Path, info: ModelInfo, spec: ModelSpec) -> Order:
    """What trains a drafter for a loaded model, as it was loaded, in a folder that no other training has."""
    named = {
        "--dtype": "" if spec.dtype == "auto" else spec.dtype,
        "--quant": "" if spec.quant == "auto" else spec.quant,
        "--adapter": spec.adapter,
        "--device": "" if spec.device == "auto" else spec.device,
    }
    flags = [part for flag, value in named.items() if value for part in (flag, value)]
    flags += ["--no-adapter"] if spec.no_adapter else []
    trained = hashlib.sha256(json.dumps([_weights(info), spec.model, *flags]).encode()).hexdigest()[:8]
    threads = [] if spec.threads is None else ["--threads", str(spec.threads)]
    quant = [spec.quant] if spec.quant in ("int8", "nf4") else []
    folder = packs / "-".join([folder_name(info.name), *quant, trained])
    arguments = ("--model", spec.model, *flags, *threads, "--offline")  # it is on this machine
    return Order(name=info.name, pack=str(folder), arguments=arguments)


def _weights(info: ModelInfo) -> str:
    try:
        return weights_digest(read_checkpoint(Path(info.path), info.name).stored_in)
    except (EngineError, OSError, ValueError):
        return info.path  # its files have gone, as the training will say


class Note:
    """The note in the folder of trained drafters: the order, and the process that carries it out."""

    def __init__(self, packs: Path) -> None:
        self._packs = packs
        self._file = packs / _NAME

    def write(self, order: Order, process: psutil.Process | None = None) -> None:
        """Raises `OSError`."""
        self._packs.mkdir(parents=True, exist_ok=True)
        begun = None
        if process is not None:
            with suppress(psutil.Error):  # it has just ended
                begun = [process.pid, process.create_time()]
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps({**asdict(order), "process": begun}), encoding="utf-8")
        os.replace(draft, self._file)

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)

    def read(self) -> Order | None:
        """What an earlier start of the application did not finish."""
        try:
            said = self._said()
            return Order(name=str(said["name"]), pack=str(said["pack"]), arguments=tuple(map(str, said["arguments"])))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def end_process(self) -> None:
        """End the process of an earlier start that was killed: one that stands still cannot see that by itself."""
        with suppress(OSError, ValueError, TypeError, KeyError, psutil.Error):
            pid, begun_s = self._said()["process"]
            process = psutil.Process(pid)
            if abs(process.create_time() - begun_s) <= _SAME_S:  # else the number is another one's by now
                log.warning("the training of an earlier start still runs: it is ended")
                process.kill()
                process.wait(_END_S)

    def _said(self) -> Any:
        return json.loads(self._file.read_text(encoding="utf-8"))
