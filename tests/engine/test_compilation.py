"""The drafter is compiled by another process, which ends when nobody waits for it any more."""

import subprocess
import threading
from typing import Any

import pytest

from engine import compilation
from engine.compilation import warm_up


@pytest.fixture(autouse=True)
def nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_done", threading.Event())


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list["subprocess.Popen[bytes]"]:
    """The processes that were started."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        started.append(Popen(*arguments, **options))
        return started[-1]

    Popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    return started


def test_another_process_compiles_and_this_one_loads_what_it_left(
    processes: list["subprocess.Popen[bytes]"],
) -> None:
    for _ in warm_up(elsewhere=True):
        pass
    assert [process.returncode for process in processes] == [0]
    called: list[None] = []
    for _ in warm_up(elsewhere=True, also=lambda: called.append(None)):
        pass
    assert (len(processes), called) == (1, [None])


def test_closing_ends_the_process(processes: list["subprocess.Popen[bytes]"]) -> None:
    steps = warm_up(elsewhere=True)
    next(steps)
    assert processes[0].returncode is None
    steps.close()
    assert processes[0].returncode is not None


@pytest.mark.parametrize("elsewhere", [True, False])
def test_what_cannot_be_compiled_raises_here(monkeypatch: pytest.MonkeyPatch, elsewhere: bool) -> None:
    def fail() -> None:
        raise RuntimeError("no compiler")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no processes")

    monkeypatch.setattr("engine.drafting.adaptive.warm_up", fail)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(RuntimeError, match="no compiler"):
        for _ in warm_up(elsewhere=elsewhere):
            pass
