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
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


class Run:
    """So many faults, of every kind in turn, on several applications at a time, since a fault is mostly waiting."""

    def __init__(self, times: int, seed: int, only: str | None, json_file: Path | None) -> None:
        self._chosen = [fault for fault in FAULTS if only in (None, fault.__name__)]
        self._times, self._seed, self._json_file = times, seed, json_file
        self._numbers: Iterator[int] = iter(range(times))
        self._one_at_a_time = threading.Lock()
        self._results: dict[str, list[tuple[Outcome, float]]] = defaultdict(list)
        self._broken: dict[str, list[str]] = defaultdict(list)

    def at(self, folder: Path, lanes: int) -> list[dict[str, Any]]:
        """Let them happen; one row for each kind. Each is in the file as soon as it is known."""
        with ThreadPoolExecutor(lanes) as pool:
            try:
                for lane in [pool.submit(self._lane, folder / f"home-{number}") for number in range(lanes)]:
                    lane.result()
            finally:  # Ctrl-C: no lane begins another fault
                with self._one_at_a_time:
                    self._numbers = iter(())
        return table(self._results, self._broken)

    def _lane(self, home: Path) -> None:
        slipstream, stands = Slipstream(home), False
        ledger = Ledger(slipstream)
        try:
            while (number := self._next()) is not None:
                fault, began = self._chosen[number % len(self._chosen)], time.monotonic()
                try:
                    if not stands:
                        slipstream.start()
                        stands = True
                    done = one_fault(slipstream, fault, number, random.Random(f"{self._seed} {number}"), ledger)
                except Exception as exc:  # of whatever broke
                    self._note(number, fault, began, f"{type(exc).__name__}: {exc}")
                    slipstream.end()
                    slipstream.said.write_bytes(b"")
                    stands = False
                else:
                    self._note(number, fault, began, done)
        finally:
            slipstream.end()

    def _next(self) -> int | None:
        with self._one_at_a_time:
            return next(self._numbers, None)

    def _note(self, number: int, fault: Fault, began: float, what: tuple[Outcome, float] | str) -> None:
        name, seconds = fault.__name__, time.monotonic() - began
        with self._one_at_a_time:
            if isinstance(what, str):
                self._broken[name].append(f"seed {self._seed}, number {number}: {what}")
                said = f"BROKEN: {what}"
            else:
                self._results[name].append(what)
                said = f"{what[0].status}, answers after {what[1]:.1f} s"
            print(f"{number + 1} of {self._times}, {seconds:.0f} s: {name}, {said}", file=sys.stderr, flush=True)
            if self._json_file is not None:
                self._json_file.write_text(json.dumps(table(self._results, self._broken), indent=1), encoding="utf-8")


def table(results: dict[str, list[tuple[Outcome, float]]], broken: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {
            "fault": name,
            "times": len(results[name]) + len(broken[name]),
            "broken": broken[name],
            "lost": sum(outcome.lost for outcome, _ in results[name]),
            "recovered_s": [round(seconds, 1) for _, seconds in results[name]],
            "statuses": dict(sorted(Counter(outcome.status for outcome, _ in results[name]).items())),
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
    parser.add_argument("--lanes", type=int, default=2, help="applications at a time (default: 2)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = Run(args.times, args.seed, args.only, args.json).at(Path(folder), args.lanes)
    print(f"{'fault':18} {'times':>5} {'broken':>6} {'lost':>4} {'recovered in s, median':>23} {'longest':>8}  answers")
    for row in rows:
        seconds = row["recovered_s"] or [float("nan")]
        statuses = ", ".join(f"{status} {times}" for status, times in row["statuses"].items())
        print(
            f"{row['fault']:18} {row['times']:5} {len(row['broken']):6} {row['lost']:4} "
            f"{statistics.median(seconds):23.1f} {max(seconds):8.1f}  {statuses}"
        )
    return 1 if any(row["broken"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
