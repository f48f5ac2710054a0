"""Memory of the process: its peak, and releasing what is free."""

import ctypes
import sys
from pathlib import Path

if sys.platform != "win32":
    import resource


def peak_rss() -> int | None:
    """Peak resident memory of this process in bytes; None if the system does not report it.

    Linux: `VmHWM`, because `ru_maxrss` is inherited through `exec` (getrusage(2)), so a small process started by a
    large one would report the peak of the large one.
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
    """Return free heap memory to the operating system (glibc keeps it otherwise)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
