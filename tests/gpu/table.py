"""Every GPU test and benchmark in two calls of at most five minutes, and one table of what came out.

    python tests/gpu/table.py --call 1 --json one.json
    python tests/gpu/table.py --call 2 --json two.json --replay FILE... --tokenizers DIR

The first call shows that the kernels are right and what a round costs, the second what drafting gains by it. Each part
is a process with a time limit of its own; one that comes to it is interrupted, so that it can still write what it has,
then ended. What is missing is named with its reason. The JSON file is written anew after every part, and holds no
single measurements, only their medians. Imports neither torch nor the engine: the table appears whatever they do. Exit
code 0 where every part passed. `--device cpu` rehearses it: every part runs, with small models in place of large ones.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GRACE_S = 15  # between interrupting a part and ending it
SHOWN_WIDTHS = (1, 2, 8, 16, 64)


@dataclass(frozen=True)
class Part:
    """`command`: with {out} where it writes its JSON; without, what it prints is its result."""

    call: int
    name: str
    limit_s: int
    command: tuple[str, ...]
    lines: Callable[[Any], Iterator[str]]


@dataclass(frozen=True)
class Models:
    """What the parts run on a kind of device."""

    large: str
    small: str
    quants: tuple[str, ...]
    contexts: str
    limit: str  # recorded conversations of each file
    repeats: str
    patience: int  # how many times as long as on a GPU a part may take


MODELS = {
    "cuda": Models("random:llama-3.1-8b", "random:llama-3.2-1b", ("none", "nf4"), "64,4096", "20", "7", 1),
    "cpu": Models("random:qwen2.5-0.5b", "random:qwen2.5-0.5b", ("none", "int8"), "64", "1", "3", 8),
}


def test_lines(printed: str) -> Iterator[str]:
    """pytest's failures and its last line; tests that were all skipped are no result."""
    if " passed" not in printed and " failed" not in printed:
        raise ValueError(f"no test ran: {printed.strip().splitlines()[-1]}")
    for line in printed.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            yield line[:160]
    yield printed.strip().splitlines()[-1]


def kernel_lines(printed: str) -> Iterator[str]:
    data = json.loads(printed)
    yield f"{data['device_name']}, copies at {data['copy_bytes_per_s'] / 1e9:,.0f} GB/s"
    for row in data["results"]:
        share = f"{row['bandwidth_share']:6.0%} of bandwidth"
        yield f"{row['product']:8} {row['quant']:5} {row['rows']:3} rows {row['us']:9.1f} us {share}"


def width_lines(data: Any) -> Iterator[str]:
    speed = data["bandwidth"]["bytes_per_s"]["median"]
    kind = f"{data['bandwidth']['kind']} {speed / 1e9:,.0f} GB/s" if speed else "bandwidth not measured"
    yield f"{data['model']['device_name']}, {kind}, plain at most {data['limit_tokens_per_s']:,.0f} tokens/s"
    for row in data["results"]:
        if row["arm"] == "slipstream" and row["width"] not in SHOWN_WIDTHS:
            continue
        exact = "" if row["exact"] is None else "exact" if row["exact"] else "not exact"
        milliseconds = row["ms"]["median"]
        yield (
            f"{row['context']:6} cached {row['arm']:12} width {row['width']:2} {milliseconds:8.2f} ms "
            f"T/T(1) {row['ratio']:5.2f} {row['bandwidth_share']:5.0%} of bandwidth {exact}"
        )
    yield from (f"note: {note}" for note in data["notes"])


def replay_lines(data: Any) -> Iterator[str]:
    yield from data["model"]["notes"]
    for row in data["results"]:
        total, share = row["speedup"]["total"], row["drafter_share"]
        yield (
            f"{row['suite']:12} {row['category']:20} {row['drafter']:14} {row['tokens_per_s'] or 0:8.0f} tokens/s "
            f"{f'{total:5.2f} x plain' if total else ''} {f'{share:5.1%} drafting' if share is not None else ''}"
        )
    if not data["complete"]:
        yield "cut short: the figures are those of the conversations that were finished"


def lossless_lines(data: Any) -> Iterator[str]:
    info = data["model"]
    yield f"{info['name']} in {info['dtype']} on {info['device_name']}, tier {info['exact']['tier']}"
    for row in data["arms"]:
        differ = f"{row['differing_answers']} of {row['answers']} answers differ"
        yield f"{row['sampling']:7} {row['drafter']:9} {differ}, {row['tokens_compared']:,} tokens compared"


def speed_lines(data: Any) -> Iterator[str]:
    for arm, figures in data["overall"]["arms"].items():
        yield f"{arm:14} {figures['tokens_per_s']['median'] or 0:8.0f} tokens/s in the median prompt"
    for pair, figures in data["overall"]["ratios"].items():
        yield f"{pair:30} {figures['median']:5.2f} median, {figures['total']:5.2f} in total"


def parts(device: str, replay: list[Path], tokenizers: Path | None) -> Iterator[Part]:
    """In the order of their worth; the limits of a call add up to less than five minutes."""
    models = MODELS[device]
    bench = (sys.executable, "launcher.py", "bench")
    where = ("--device", device, "--json", "{out}")
    pytest = (sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider")
    on_gpu = (*pytest, "-m", "gpu")
    logits = (*pytest, "tests/engine/forward/test_exact_logits.py")
    first = (*on_gpu, "tests/gpu/test_kernels_cuda.py") if device == "cuda" else logits
    yield Part(1, "kernels are right", 110, first, test_lines)
    widths = (*bench, "widths", "--context", models.contexts, "--repeats", models.repeats, *where)
    for quant in models.quants:
        yield Part(1, f"widths {quant}", 60, (*widths, "--model", models.large, "--quant", quant), width_lines)
    same = (*bench, "lossless", "--model", "starter", "--limit", "6", "--max-tokens", "96", *where)
    yield Part(1, "the same tokens", 45, same, lossless_lines)
    if replay and tokenizers:
        files = (*map(str, replay), "--tokenizers", str(tokenizers), "--drafters", "adaptive", "--limit", models.limit)
        for quant in models.quants:
            forced = (*bench, "replay", *files, "--target", models.large, "--quant", quant, *where)
            yield Part(2, f"replay {quant}", 85, forced, replay_lines)
    answers = (*on_gpu, "tests/gpu/test_cuda.py", "tests/gpu/test_faults_cuda.py")
    faults = (*pytest, "tests/engine/process", "-k", "killed or kill_in_the_middle")
    yield Part(2, "answers and faults", 60, answers if device == "cuda" else faults, test_lines)
    arms = ("--arms", "plain-exact,adaptive,transformers", "--limit", "6", "--repeats", "1", "--max-tokens", "96")
    yield Part(2, "beside transformers", 40, (*bench, "speed", "--model", "starter", *arms, *where), speed_lines)
    if device == "cuda":
        yield Part(2, "kernels alone", 30, (sys.executable, "tests/gpu/kernel_speed.py"), kernel_lines)


def run(part: Part, limit_s: float) -> dict[str, Any]:
    """One part's result: its lines for the table, its data, and why it is missing or not whole."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out, printed, errors = (Path(folder) / name for name in ("out.json", "printed", "errors"))
        command = [word.replace("{out}", str(out)) for word in part.command]
        with printed.open("wb") as stdout, errors.open("wb") as stderr:
            process = subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr, start_new_session=True)
            late = not ended(process, limit_s)
            for signum in (signal.SIGINT, signal.SIGKILL):
                if process.poll() is None:
                    os.killpg(process.pid, signum)
                    ended(process, GRACE_S)
        result: dict[str, Any] = {"part": part.name, "seconds": time.monotonic() - started, "exit": process.returncode}
        source = out if "{out}" in part.command else printed
        text = source.read_text("utf-8", "replace") if source.exists() else ""
        last = (errors.read_text("utf-8", "replace").strip().splitlines() or ["nothing on standard error"])[-1]
    reason = f"over its {limit_s:.0f} s" if late else f"exit {process.returncode}" if process.returncode else None
    try:
        data = json.loads(text) if "{out}" in part.command else text
        lines = list(part.lines(data))
    except (ValueError, KeyError, IndexError, TypeError) as exc:
        data, lines, reason = None, [], f"{reason or 'no readable result'} ({exc!r:.80}; {last[:200]})"
    return result | {"lines": lines, "data": without_details(data), "missing": reason}


def without_details(data: Any) -> Any:
    """The data less what stands for single prompts and conversations."""
    if not isinstance(data, dict):
        return data
    return {key: value for key, value in data.items() if key not in ("prompts", "runs", "conversations")}


def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Run every GPU test and benchmark, and print one table.")
    parser.add_argument("--call", type=int, choices=(1, 2), help="both where it is left out")
    parser.add_argument("--device", choices=tuple(MODELS), default="cuda")
    parser.add_argument("--json", type=Path, default=Path("gpu-table.json"), metavar="OUT")
    parser.add_argument("--replay", type=Path, nargs="*", default=[], metavar="FILE")
    parser.add_argument("--tokenizers", type=Path, metavar="DIR")
    parser.add_argument("--only", default="", metavar="PART,...")
    parser.add_argument("--budget", type=float, default=290, metavar="SECONDS", help="of this call (290)")
    given = parser.parse_args()
    started = time.monotonic()
    results: list[dict[str, Any]] = []
    wanted = [word for word in given.only.split(",") if word]
    for part in parts(given.device, given.replay, given.tokenizers):
        if given.call not in (None, part.call):
            continue
        left = given.budget - (time.monotonic() - started) - 2 * GRACE_S
        if wanted and part.name.split()[0] not in wanted and part.name not in wanted:
            result: dict[str, Any] = {"part": part.name, "lines": [], "missing": "not asked for"}
        elif left <= 0:
            result = {"part": part.name, "lines": [], "missing": "the budget was used up before it"}
        else:
            result = run(part, min(part.limit_s * MODELS[given.device].patience, left))
        results.append(result)
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
        print(f"== {part.name} ({result.get('seconds', 0):.0f} s)", flush=True)
        for line in result["lines"]:
            print(f"   {line}")
        if result["missing"]:
            print(f"   MISSING OR NOT WHOLE: {result['missing']}", flush=True)
    if given.call != 1 and (not given.replay or given.tokenizers is None):
        print("== replay\n   MISSING: give --replay FILE... and --tokenizers DIR")
    print(f"Took {time.monotonic() - started:.0f} s; every figure is in {given.json}")
    return int(any(result["missing"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
