"""How much RAM is free, and sizes in words. No torch."""

from pathlib import Path

import psutil

GB = 10**9
_CGROUP = Path("/sys/fs/cgroup")  # where Linux keeps a container's limits


def free_ram() -> int:
    """Bytes of RAM that can be had without swapping, a container's limit included."""
    free: int = psutil.virtual_memory().available
    try:
        if (limit := (_CGROUP / "memory.max").read_text().strip()) != "max":
            free = min(free, int(limit) - int((_CGROUP / "memory.current").read_text()) + _reclaimable())
    except (OSError, ValueError):
        return free  # no such limit on this system
    return max(0, free)


def _reclaimable() -> int:
    """File pages in a container's account, which the kernel gives back when asked."""
    for line in (_CGROUP / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def gigabytes(num_bytes: int) -> str:
    """A size for people."""
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB // 10 else f"{num_bytes / 10**6:.0f} MB"
