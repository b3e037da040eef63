"""Every GPU test and benchmark in one call of at most ten minutes, and one table of what came out.

    python tests/gpu/table.py --json table.json [--replay FILE... --tokenizers DIR] [--only PART,...] [--budget SECONDS]

Each part is a process with a time limit of its own; one that comes to it is interrupted, so that it can still write
what it has, then ended. What is missing is named with its reason. The JSON file is written anew after every part.
Imports neither torch nor the engine: the table appears whatever they do. Exit code 0 where every part passed.
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

    name: str
    limit_s: int
    command: tuple[str, ...]
    lines: Callable[[Any], Iterator[str]]


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


def parts(replay: list[Path], tokenizers: Path | None) -> Iterator[Part]:
    """In the order of their worth; limits add up to less than ten minutes."""
    launch = (sys.executable, "launcher.py", "bench")
    pytest = (sys.executable, "-m", "pytest", "tests/gpu", "-q", "-m", "gpu", "--tb=short", "-p", "no:cacheprovider")
    yield Part("tests", 170, pytest, test_lines)
    yield Part("kernels", 40, (sys.executable, "tests/gpu/kernel_speed.py"), kernel_lines)
    files = (*map(str, replay), "--tokenizers", str(tokenizers), "--drafters", "adaptive")
    for quant in ("none", "nf4"):
        model = ("--device", "cuda", "--quant", quant, "--json", "{out}")
        widths = (*launch, "widths", "--model", "random:llama-3.1-8b", "--context", "64,1024,8192", "--repeats", "7")
        yield Part(f"widths 8B {quant}", 75, (*widths, *model), width_lines)
        if replay and tokenizers:
            forced = (*launch, "replay", *files, "--target", "random:llama-3.1-8b", *model)
            yield Part(f"replay 8B {quant}", 85, forced, replay_lines)
    small = (*launch, "widths", "--model", "random:llama-3.2-1b", "--context", "64,8192", "--repeats", "7")
    yield Part("widths 1B none", 40, (*small, "--device", "cuda", "--json", "{out}"), width_lines)


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
    return result | {"lines": lines, "data": data, "missing": reason}


def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Run every GPU test and benchmark, and print one table.")
    parser.add_argument("--json", type=Path, default=Path("gpu-table.json"), metavar="OUT")
    parser.add_argument("--replay", type=Path, nargs="*", default=[], metavar="FILE")
    parser.add_argument("--tokenizers", type=Path, metavar="DIR")
    parser.add_argument("--only", default="", metavar="PART,...")
    parser.add_argument("--budget", type=float, default=580, metavar="SECONDS")
    given = parser.parse_args()
    started = time.monotonic()
    results: list[dict[str, Any]] = []
    wanted = [word for word in given.only.split(",") if word]
    for part in parts(given.replay, given.tokenizers):
        left = given.budget - (time.monotonic() - started) - 2 * GRACE_S
        if wanted and part.name.split()[0] not in wanted and part.name not in wanted:
            result: dict[str, Any] = {"part": part.name, "lines": [], "missing": "not asked for"}
        elif left <= 0:
            result = {"part": part.name, "lines": [], "missing": "the budget was used up before it"}
        else:
            result = run(part, min(part.limit_s, left))
        results.append(result)
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
        print(f"== {part.name} ({result.get('seconds', 0):.0f} s)", flush=True)
        for line in result["lines"]:
            print(f"   {line}")
        if result["missing"]:
            print(f"   MISSING OR NOT WHOLE: {result['missing']}", flush=True)
    if not given.replay or given.tokenizers is None:
        print("== replay\n   MISSING: give --replay FILE... and --tokenizers DIR")
    print(f"Took {time.monotonic() - started:.0f} s; every figure is in {given.json}")
    return int(any(result["missing"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
