"""Kernels are compiled on their first call, not when they are imported."""

import subprocess
import sys

from conftest import ROOT

LATE = """
import sys
import pipeline.cli.main, pipeline.jobs.run
print("numba" in sys.modules)
"""


def test_numba_is_not_imported_before_a_kernel_is_called() -> None:
    """Importing numba would be a third of the start-up time of a command."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"
