"""Feed every boundary with what nobody should send: `python -m tests.fuzz --inputs 100000 [--only NAME ...]`.

Prints for each how many inputs it took, in how long; exit 1 where one broke a promise, whose simplest input is printed.
"""

import argparse
import logging
import sys
import time
import traceback

from tests.fuzz.boundaries import BOUNDARIES
from tests.fuzz.boundary import try_inputs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000, help="for each boundary")
    parser.add_argument("--only", action="append", choices=[boundary.name for boundary in BOUNDARIES])
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    failed = 0
    for boundary in BOUNDARIES:
        if args.only and boundary.name not in args.only:
            continue
        began = time.monotonic()
        try:
            said = f"{try_inputs(boundary, args.inputs, args.seed):,} inputs"
        except Exception:  # of whatever broke
            failed += 1
            said = "BROKEN"
            traceback.print_exc()
        print(f"{boundary.name:15} {said:>18} in {time.monotonic() - began:7.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
