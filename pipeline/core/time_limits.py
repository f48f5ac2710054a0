"""How long another machine may take to answer."""

from typing import Final

TIMEOUT: Final = 120.0
"""Seconds, unless said otherwise."""


LONGEST: Final = 86_400
"""Seconds that may be said: a day."""
