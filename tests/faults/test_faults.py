"""Twenty faults, against the real processes; `python -m tests.faults` does more of them."""

import random
import sys
from collections.abc import Iterator

import pytest

from tests.faults.__main__ import Ledger, one_fault
from tests.faults.faults import FAULTS, close_tab, full_disk, hold_engine
from tests.faults.running import Slipstream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the faults are made by Linux's means")
SEED = 20
CHOSEN = (*FAULTS, hold_engine, close_tab, full_disk)  # each kind, and three that need no start at another moment


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Slipstream, Ledger]]:
    slipstream = Slipstream(tmp_path_factory.mktemp("faults") / "home")
    slipstream.start()
    yield slipstream, Ledger(slipstream)
    slipstream.end()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(20), ids=lambda number: f"{number}-{CHOSEN[number].__name__}")
def test_it_answers_after_a_fault_and_nothing_is_lost(running: tuple[Slipstream, Ledger], number: int) -> None:
    slipstream, ledger = running
    if slipstream.status() is None:  # the fault before broke it
        slipstream.end()
        slipstream.start()
    one_fault(slipstream, CHOSEN[number], number, random.Random(f"{SEED} {number}"), ledger)
