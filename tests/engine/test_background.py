"""Work in the background takes a step at a time, and none while it is paused."""

import threading
from collections.abc import Generator

from engine.background import Background

PATIENCE_S = 20.0


class Steps:
    """Steps that each wait for `go`, and note what happened."""

    def __init__(self, number: int = 100) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.done = 0
        self.closed = threading.Event()
        self._number = number

    def __call__(self) -> Generator[None, None, None]:
        try:
            for _ in range(self._number):
                self.begun.release()
                assert self.go.acquire(timeout=PATIENCE_S)
                self.done += 1
                yield
        finally:
            self.closed.set()


def test_a_pause_waits_for_one_step_and_none_follows_until_its_end() -> None:
    steps = Steps()
    background = Background(steps())
    background.start()
    assert steps.begun.acquire(timeout=PATIENCE_S)
    entered, leave = threading.Event(), threading.Event()

    def answer() -> None:
        with background.paused():
            entered.set()
            leave.wait(PATIENCE_S)

    thread = threading.Thread(target=answer)
    thread.start()
    assert not entered.wait(0.05), "the step has not ended"
    steps.go.release()
    assert entered.wait(PATIENCE_S)
    steps.go.release()
    assert not steps.begun.acquire(timeout=0.05), "a step in the middle of an answer"
    assert steps.done == 1
    leave.set()
    assert steps.begun.acquire(timeout=PATIENCE_S)
    steps.go.release()
    thread.join()
    assert steps.begun.acquire(timeout=PATIENCE_S)
    steps.go.release()
    background.stop()
    assert steps.closed.is_set()


def test_it_can_be_stopped_while_paused_and_before_it_began() -> None:
    steps = Steps()
    background = Background(steps())
    with background.paused():
        background.start()
        background.stop()
    assert steps.done == 0
    never = Background(Steps()())
    never.stop()


def test_it_ends_by_itself() -> None:
    steps = Steps(2)
    steps.go.release(2)
    background = Background(steps())
    background.start()
    assert steps.closed.wait(PATIENCE_S)
    background.stop()
    assert steps.done == 2
