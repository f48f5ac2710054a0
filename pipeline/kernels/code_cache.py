"""Cache of machine code on disk: one file per kernel, argument types and processor, which states what it is for.

It takes the place of numba's own (`njit(cache=True)`), which checks only the module of a kernel, though code of the
kernels that it calls is compiled into it; whose index may lead to code for other types if two processes compile at the
same time; and which stops the run if a file can't be read or written.
"""

import hashlib
import logging
import pickle
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

logger = logging.getLogger(__name__)


class CodeCache(FunctionCache):
    """Machine code of one kernel, in the folder that numba chooses.

    Raises
    ------
    RuntimeError
        If no folder for it is writable.
    """

    def __init__(self, kernel: Callable[..., Any]) -> None:
        super().__init__(kernel)  # type: ignore[no-untyped-call]
        package = kernel.__module__.rpartition(".")[0]
        self._stamp = (numba.__version__, self._impl.locator.get_source_stamp(), _digest(package))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the code for argument types; None if it has to be compiled."""
        target_context.refresh()
        key = self._index_key(sig, target_context.codegen())  # type: ignore[no-untyped-call]
        path = self._path(key)
        try:
            stamp_and_key, code = pickle.loads(path.read_bytes())  # noqa: S301 (as numba does)
            if stamp_and_key == (self._stamp, key):
                return self._impl.rebuild(target_context, code)
        except FileNotFoundError:
            pass
        except Exception as error:  # noqa: BLE001 (unpickling may raise anything)
            logger.info("%s: the cached machine code can't be read (%r); it is compiled again", path, error)
        log_compiling()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write compiled code; log why if that fails."""
        if not self._impl.check_cachable(data):
            return
        key = self._index_key(sig, data.codegen)  # type: ignore[no-untyped-call]
        code = dumps(((self._stamp, key), self._impl.reduce(data)))  # type: ignore[no-untyped-call]
        try:
            self._impl.locator.ensure_cache_path()
            with self._cache_file._open_for_write(str(self._path(key))) as file:  # noqa: SLF001 (renamed when whole)
                file.write(code)
        except OSError as error:
            log_uncached(self.cache_path, f"{error.strerror}")

    def _path(self, key: Any) -> Path:
        """Path of the code for a key: argument types, processor, and bytecode of the kernel."""
        name = f"{self._impl.filename_base}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"
        return Path(self.cache_path) / name


@cache
def _digest(package: str) -> str:
    """Digest of all modules of a package, because a kernel is compiled together with those it calls."""
    modules = sorted((file for file in resources.files(package).iterdir() if file.name.endswith(".py")), key=str)
    return hashlib.sha256(b"".join(module.read_bytes() for module in modules)).hexdigest()


@cache
def log_compiling() -> None:
    """Log once why this run starts slowly."""
    logger.info("compiling kernels, once for each kind of data: this takes up to a minute")


@cache
def log_uncached(folder: str, reason: str) -> None:
    """Log once that machine code is not cached."""
    logger.info("%s: compiled kernels can't be cached here (%s); the next run compiles them again", folder, reason)
