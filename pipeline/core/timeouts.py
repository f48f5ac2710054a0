"""Time limits for files on other machines."""

from typing import Final

DEFAULT_TIMEOUT: Final = 120.0
"""Default of `run.timeout`, in seconds."""

MAX_TIMEOUT: Final = 86_400
"""Largest `run.timeout`, in seconds: one day."""
