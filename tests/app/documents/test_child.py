"""The process that reads a file is bounded by the system, and does not outlive the one that started it."""

import os
import signal
import subprocess
import sys

import pytest

from app.documents.limits import MEMORY_LIMIT, TIME_LIMIT_S
from app.documents.process import command, environment
from tests.turns import wait_until
from tests.worker_process import is_running

PARENT = """
import subprocess
import time
from app.documents.process import command, environment
print(subprocess.Popen(command("pdf"), env=environment()).pid, flush=True)
time.sleep(600)
"""
CONFINED = """
import resource
from app.documents.child import confine
confine()
print(resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_CORE)[0])
try:
    bytearray({size})
except MemoryError:
    print("refused")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_the_reader_ends_with_the_process_that_started_it() -> None:
    """Its input stays open here, as if it were in the middle of a file."""
    reading, writing = os.pipe()
    code = [sys.executable, "-c", PARENT]
    parent = subprocess.Popen(code, stdin=reading, stdout=subprocess.PIPE, text=True, env=environment())
    os.close(reading)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    try:
        assert is_running(pid)
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_running(pid))
    finally:
        parent.kill()
        parent.stdout.close()
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
        os.close(writing)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep these limits in part")
def test_the_reader_is_bounded_by_the_system() -> None:
    code = CONFINED.format(size=3 * MEMORY_LIMIT)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    cpu_s, core, refused = said.stdout.split()
    assert TIME_LIMIT_S < int(cpu_s) < 2 * TIME_LIMIT_S
    assert (core, refused) == ("0", "refused")


def test_the_reader_is_told_who_started_it() -> None:
    assert command("pdf")[-2:] == ["pdf", str(os.getpid())]
