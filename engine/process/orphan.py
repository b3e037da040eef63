"""A process that ends with the one that started it, however that ends."""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOOKED_S = 0.5


def die_with_parent(name: str = "parent") -> None:
    """An orphan would hold memory and device, and a wedged main thread may not see a pipe's end.

    Linux: the kernel kills this process, even one that is stopped, when the *thread* that started it ends, which is why
    that is always one that lives as long as the pipe. Elsewhere a thread of this `name` watches the parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(os.getppid(),), name=name, daemon=True).start()


def _watch(parent: int) -> None:
    if sys.platform == "win32":
        synchronize, forever = 0x0010_0000, 0xFFFF_FFFF
        handle = ctypes.windll.kernel32.OpenProcess(synchronize, False, parent)
        if not handle:
            return  # not ours to watch: the pipe's end still ends this process
        ctypes.windll.kernel32.WaitForSingleObject(handle, forever)
    else:
        while os.getppid() == parent:
            time.sleep(_LOOKED_S)
    os._exit(0)
