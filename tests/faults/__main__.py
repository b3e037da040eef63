"""Break a running Slipstream on purpose, again and again: `python -m tests.faults --times 500 [--seed N]`.

Every fault happens while an answer is written by the starter model, with the real processes. Afterwards the application
must answer, everything that was stored must be there, and at most two seconds of the running answer may be missing.
Prints a table; exit 1 where a promise was broken. Linux.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.faults.faults import FAULTS, Fault, Outcome
from tests.faults.running import Broken, Slipstream, traces, until

PROMPT = "Repeat this text word for word, number {number}:\n" + "The quick brown fox jumps over the lazy dog. " * 12


class Ledger:
    """What was stored and must stay."""

    def __init__(self, slipstream: Slipstream) -> None:
        self._slipstream = slipstream
        self._kept: dict[int, str] = {}

    def check(self) -> None:
        """Compare what is there with what was; raises `Broken`."""
        rows = dict(self._slipstream.rows("SELECT id, text FROM messages WHERE status <> 'streaming'"))
        gone = [id for id, text in self._kept.items() if rows.get(id) != text]
        if gone:
            raise Broken(f"messages {gone} are gone or changed")
        if self._slipstream.rows("PRAGMA quick_check") != [("ok",)]:
            raise Broken("the database is damaged")
        self._kept = rows


def one_fault(
    slipstream: Slipstream, fault: Fault, number: int, rng: random.Random, ledger: Ledger
) -> tuple[Outcome, float]:
    """Let one fault happen; what became of the answer, and seconds until the next one was answered."""
    sent = slipstream.send(PROMPT.format(number=number))
    outcome = fault(slipstream, sent, rng)
    began = time.monotonic()
    until(lambda: slipstream.status() == "ready", "the page stands after the fault")
    text, status, error = slipstream.send(f"Say after me: again {number}").wait_until_stored()
    if status != "complete" or not text:
        raise Broken(f"the next answer is {status}: {error}")
    recovered_s = time.monotonic() - began
    ledger.check()
    if found := traces(slipstream):
        raise Broken(f"a person saw a traceback: {found[0]}")
    if outcome.lost:
        raise Broken(f"{outcome.lost} characters are missing that were shown two seconds before")
    return outcome, recovered_s


def run(times: int, seed: int, only: str | None, home: Path, json_file: Path | None) -> list[dict[str, Any]]:
    """Let so many faults happen, of every kind in turn; one row for each kind. Each is in the file as it is known."""
    chosen = [fault for fault in FAULTS if only in (None, fault.__name__)]
    slipstream = Slipstream(home)
    results: dict[str, list[tuple[Outcome, float]]] = defaultdict(list)
    broken: dict[str, list[str]] = defaultdict(list)
    slipstream.start()
    try:
        ledger = Ledger(slipstream)
        for number in range(times):
            fault = chosen[number % len(chosen)]
            rng = random.Random(f"{seed} {number}")
            try:
                results[fault.__name__].append(one_fault(slipstream, fault, number, rng, ledger))
                print(
                    f"{number + 1} of {times}: {fault.__name__}, {results[fault.__name__][-1][1]:.1f} s",
                    file=sys.stderr,
                )
            except Broken as exc:
                broken[fault.__name__].append(f"seed {seed}, number {number}: {exc}")
                print(f"{number + 1} of {times}: {fault.__name__} BROKEN: {exc}", file=sys.stderr)
                slipstream.end()
                slipstream.said.write_bytes(b"")
                slipstream.start()
            if json_file is not None:
                json_file.write_text(json.dumps(table(results, broken), indent=1), encoding="utf-8")
    finally:
        slipstream.end()
    return table(results, broken)


def table(results: dict[str, list[tuple[Outcome, float]]], broken: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {
            "fault": name,
            "times": len(results[name]) + len(broken[name]),
            "broken": broken[name],
            "lost": sum(outcome.lost for outcome, _ in results[name]),
            "recovered_s": [round(seconds, 1) for _, seconds in results[name]],
            "statuses": sorted({outcome.status for outcome, _ in results[name]}),
        }
        for name in (fault.__name__ for fault in FAULTS)
        if results[name] or broken[name]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=[fault.__name__ for fault in FAULTS])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(args.times, args.seed, args.only, Path(folder) / "home", args.json)
    print(f"{'fault':18} {'times':>5} {'broken':>6} {'lost':>4} {'recovered in s, median':>23} {'longest':>8}  answers")
    for row in rows:
        seconds = row["recovered_s"] or [float("nan")]
        print(
            f"{row['fault']:18} {row['times']:5} {len(row['broken']):6} {row['lost']:4} "
            f"{statistics.median(seconds):23.1f} {max(seconds):8.1f}  {', '.join(row['statuses'])}"
        )
    return 1 if any(row["broken"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
