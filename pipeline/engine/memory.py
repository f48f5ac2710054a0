"""What the process has taken so far."""

import ctypes
import sys
from pathlib import Path

if sys.platform != "win32":
    import resource


def peak_rss() -> int | None:
    """Most memory this process has held at once, in bytes; None where the system does not tell.

    Linux's `VmHWM` is asked first: `ru_maxrss` is handed on by the parent through `exec` (getrusage(2)),
    so a small process started by a large one would report the large one's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def release_memory() -> None:
    """Give memory that nobody uses any more back to the system, where the C library would keep it (glibc)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
