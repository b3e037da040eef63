"""`--check`: shows libraries, folder, model and device, and compares a plain and an adaptive answer token by token."""

import importlib.metadata
import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from app.chat.trainer import cost_of
from app.commands.cli import version
from app.commands.running import Interrupt, generate, load
from app.home import Home
from app.store.database import soundness
from app.view.figures import about, size
from engine.api import EngineAPI
from engine.batch import Options
from engine.events import Finished, ModelInfo

LIBRARIES = ("torch", "transformers", "bitsandbytes", "safetensors", "huggingface_hub", "gradio", "sqlite-utils")
PROMPT = "Repeat this text word for word:\nThe quick brown fox jumps over the lazy dog, and the dog sleeps on."
MAX_TOKENS = 64


def _environment(home: Path, out: TextIO) -> None:
    versions = ", ".join(f"{library} {importlib.metadata.version(library)}" for library in LIBRARIES)
    print(f"slipstream {version()} with Python {platform.python_version()}, {versions}", file=out)
    free = shutil.disk_usage(next(folder for folder in (home, *home.parents) if folder.exists())).free
    print(f"data in {home} ({free / 1e9:.1f} GB free)", file=out)


def _model(info: ModelInfo, out: TextIO) -> None:
    print(
        f"model {info.name}: {info.architecture}, {info.num_parameters:,} parameters, {info.dtype}, "
        f"quantisation {info.quant}, loaded in {info.load_s:.1f} s",
        file=out,
    )
    if info.backend_reason:
        print(info.backend_reason, file=out)
    print(f"device {info.device}: {info.device_name}, {info.threads} threads", file=out)
    if info.exact is not None:
        print(f"exact: tier {info.exact.tier}, widths {', '.join(map(str, info.exact.widths))}", file=out)
    else:
        print("exact: this engine gives no certificate", file=out)
    if info.drafter_pack:
        print(f"drafter pack: {info.drafter_pack}", file=out)
    elif (cost := cost_of(info)) is not None:
        took = f"{about(cost.seconds)} and {size(cost.disk_bytes)} of disk"
        print(f"drafter pack: none; `train-drafter` trains one for this model, which takes {took} here", file=out)
    for note in info.notes:
        print(f"note: {note}", file=out)


def _figures(name: str, end: Finished, out: TextIO) -> None:
    stats = end.stats
    speed = f"{stats.tokens_per_s:.1f} tokens/s" if stats.tokens_per_s is not None else "no round"
    print(
        f"  {name}: {stats.num_tokens} tokens in {stats.rounds} rounds, {speed}, first token after "
        f"{1000 * stats.ttft_s:.0f} ms, ended by {end.stop_reason}",
        file=out,
    )


def run(engine: EngineAPI, options: Options, home: Home, out: TextIO) -> int:
    """Print the report; returns 0 if both modes gave the same tokens, else 1. Failures of the engine and a damaged
    database raise."""
    _environment(home.data, out)
    print(soundness(home.database), file=out)
    load(engine, replace(options.spec, reprobe=True))
    if engine.info is not None:
        _model(engine.info, out)
    asked = options.updated(
        {"max_tokens": min(options.template.max_tokens, MAX_TOKENS), "temperature": 0.0, "exactness": "exact"}
    )
    request = asked.request_for(PROMPT)
    print("self-test, greedy:", file=out)
    interrupt = Interrupt()
    plain = generate(engine, request.with_mode("plain"), interrupt)
    _figures("plain", plain, out)
    adaptive = generate(engine, request.with_mode("adaptive"), interrupt)
    _figures("adaptive", adaptive, out)
    if interrupt.seen:
        raise KeyboardInterrupt
    if not plain.token_ids:
        print("The self-test failed: the model answered nothing.", file=out)
        return 1
    if plain.token_ids != adaptive.token_ids or plain.stop_reason != adaptive.stop_reason:
        print("The self-test failed: the plain and the adaptive answer differ.", file=out)
        return 1
    print(f"All is well: {len(plain.token_ids)} of {len(adaptive.token_ids)} tokens identical.", file=out)
    return 0
