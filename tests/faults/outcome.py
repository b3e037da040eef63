"""What became of the answer that a fault struck, and what it may not cost."""

import random
import time
from dataclasses import dataclass

from tests.faults.running import Broken, Sent, until

LOST_S = 2.0  # of the running answer may be missing


@dataclass
class Outcome:
    """What a fault did to the answer that was being written."""

    seen: str  # by the page: all of it must be stored
    stored: str
    status: str

    @property
    def lost(self) -> int:
        """Characters that should be there and are not."""
        same = 0
        for shown, kept in zip(self.seen, self.stored, strict=False):
            if shown != kept:
                break
            same += 1
        return len(self.seen) - same


def midway(sent: Sent, rng: random.Random, lost_s: float = LOST_S) -> str:
    """Let the answer be written for a while; what the page had been shown so long before."""
    until(lambda: sent.growing() or sent.stored()[1] != "streaming", "the answer has words")
    time.sleep(rng.uniform(0, 1.5))
    seen = sent.growing()
    time.sleep(lost_s)
    return seen


def ended(sent: Sent, seen: str, *statuses: str) -> Outcome:
    text, status, error = sent.wait_until_stored()
    if status not in (*statuses, "complete"):
        raise Broken(f"the answer is {status}, expected {statuses}: {error}")
    if error and ("Traceback" in error or ".py" in error):
        raise Broken(f"the failure is no sentence: {error}")
    return Outcome(seen, text, status)
