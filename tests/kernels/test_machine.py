"""What numba does for kernels: it loads no library that they don't need, and rounds a fused operation once."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from numba import njit

from pipeline.kernels import machine  # noqa: F401 (implements `fma` in machine code)
from pipeline.kernels.arithmetic import fma

WITHOUT_BLAS = """
import sys
import numpy as np
from numba import njit
from pipeline.kernels.hashing import smallest_keys
smallest_keys(np.ones((4, 4), bool), (0, 0), 0, 16)
print("scipy.linalg" in sys.modules)
print(njit(lambda a, b: a @ b)(np.eye(3), np.arange(9.0).reshape(3, 3)).sum())
"""


def test_kernels_do_not_import_scipy_linalg_and_other_compiled_code_still_can(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", "-c", WITHOUT_BLAS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["False", "36.0"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fma_is_rounded_once(dtype: type[np.floating]) -> None:
    a, b = dtype(1) + np.finfo(dtype).eps, dtype(1) - np.finfo(dtype).eps
    exact = Fraction(float(a)) * Fraction(float(b)) - 1
    assert a * b - dtype(1) != exact, "rounded twice"
    assert njit(lambda a, b, c: fma(a, b, c))(a, b, dtype(-1)) == exact  # noqa: PLW0108 (only kernels can call it)


def test_fma_outside_of_a_kernel_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="only in compiled code"):
        fma(1.0, 2.0, 3.0)
