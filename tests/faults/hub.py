"""A Hub in a process of its own, which a harness kills: `python -m tests.faults.hub PORT NAME FOLDER`.

It sends slowly, and prints each transfer's range, so that a harness knows where a download went on.
"""

import sys
import threading
from pathlib import Path

from tests.fake_hub import running

BYTES_PER_S = 4_000_000


def main(port: int, name: str, folder: Path) -> None:
    with running(port) as hub:
        hub.repositories[name] = folder
        hub.bytes_per_s = BYTES_PER_S
        told = 0
        while not threading.Event().wait(0.05):
            for method, path, span in hub.requests[told:]:
                print(method, path, span or "whole", flush=True)
                told += 1


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
