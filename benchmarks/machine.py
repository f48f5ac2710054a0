"""Tell the machine and the versions that a result was measured with.

Measures nothing but the memory that is free before a run.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("terrazzo", "numpy", "rasterio", "scikit-learn", "numba", "scipy")


def describe_machine() -> dict[str, Any]:
    """Give the processor, its cores, the memory and the system.

    Returns
    -------
    dict
        Nothing that names the machine or its user.

    """
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": _physical_memory(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def describe_versions() -> dict[str, str | None]:
    """Give the versions of Python and of the packages that matter.

    Returns
    -------
    dict
        None for a package that is not installed (Terrazzo itself may run from
        its checkout).

    """
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def available_memory() -> int | None:
    """Give the bytes that a new process can have without swapping.

    Returns
    -------
    int or None
        The physical memory where the system tells no better; None where it
        tells nothing.

    """
    table = Path("/proc/meminfo")
    if table.is_file():
        for line in table.read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) * 1024
    return _physical_memory()


def _physical_memory() -> int | None:
    """Give the bytes of memory that the machine has."""
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_model() -> str:
    """Give the name of the processor."""
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text(encoding="utf-8").splitlines():
            name, _, model = line.partition(":")
            if name.strip() == "model name":
                return model.strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()
    return platform.processor() or platform.machine()
