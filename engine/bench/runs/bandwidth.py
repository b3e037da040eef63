"""How fast this machine reads memory, the yardstick of a forward pass that reads all its weights."""

import time

import torch

from engine.models.hardware import choose_device

_BUFFER = 2**30  # bytes; the largest caches hold a third of that
_SHARE = 8  # at most this part of the free memory is taken


class Bandwidth:
    """Reads on a processor, with the threads that torch has now; elsewhere copies, each byte read and written once."""

    def __init__(self, device: torch.device) -> None:
        self.kind = "read" if device.type == "cpu" else "copy"
        self._device = device
        size = min(_BUFFER, choose_device(str(device)).free_bytes // _SHARE)
        self._source = torch.ones(size // 4, dtype=torch.float32, device=device)
        self._target = None if self.kind == "read" else torch.empty_like(self._source)
        self.sample()  # warm-up

    def sample(self) -> float:
        """Bytes per second, once. Synchronises with the device."""
        self._wait()
        started = time.perf_counter()
        if self._target is None:
            self._source.sum()
            moved = self._source.nbytes
        else:
            self._target.copy_(self._source)
            moved = 2 * self._source.nbytes
        self._wait()
        return moved / (time.perf_counter() - started)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
