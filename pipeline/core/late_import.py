"""Names of a module that are imported when they are first used (PEP 562)."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # that of `typing`, whose import would delay the command's handling of signals
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def late_import(owner: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module, `owner`, whose names are imported when they are first used.

    `homes` says by name where it is defined, as for `load`.
    """

    def find(name: str) -> Any:
        if name not in homes:
            msg = f"module {owner!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return load(homes[name])

    return find


def load(home: str) -> Any:
    """Import `package.module:name`, or `package.module` for the module itself."""
    module, _, attribute = home.partition(":")
    return getattr(import_module(module), attribute) if attribute else import_module(module)
