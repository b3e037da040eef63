"""An end for what a model's maker programmed: a chat template may loop for ever, and nothing else would stop it."""

import ctypes
import threading
import time
from collections.abc import Callable
from typing import TypeVar

AGAIN_S = 0.05  # until the next try, where Python dropped what was raised, as it does within `__del__`

T = TypeVar("T")


class TookTooLong(Exception):
    """Raised in the thread whose time is up, between two steps of its Python code."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns; after so many seconds `TookTooLong` is raised in it, until it ends.

    A single long step in C is not interrupted.
    """
    thread = ctypes.c_ulong(threading.get_ident())
    lock, over = threading.RLock(), False  # `settle` may be cut short while it holds it, and begins again

    def end() -> None:
        while True:
            with lock:
                if over:
                    return
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TookTooLong))
            time.sleep(AGAIN_S)

    def settle() -> None:
        with lock:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    try:
        timer.start()
        return work()
    finally:
        over = True  # before any call: what is raised comes after a call, and would pass it over
        timer.cancel()
        try:
            settle()
        except TookTooLong:  # was on its way
            settle()
