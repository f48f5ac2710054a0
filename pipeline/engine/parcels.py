"""Tasks on their way to other processes: pickled, with the parts of which each process keeps one copy sent apart."""

import io
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pipeline.engine.executor import PerProcess

_LEVEL: Final = 1
"""Level of compression: labels shrink to a quarter or less, faster than they are made."""


@dataclass(frozen=True)
class Parcel:
    """A pickled object, compressed."""

    content: bytes
    parts: tuple[str, ...]
    """Names of the `PerProcess` parts that it refers to."""


class Packer:
    """Pickles the tasks of a run; names their `PerProcess` parts, and holds each of these as a parcel of its own."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._parts: dict[str, tuple[PerProcess, Parcel]] = {}  # with the object, so that its `id` stays its own

    def pack(self, content: Any) -> Parcel:
        """Pickle an object, which refers to its `PerProcess` parts by name."""
        file = io.BytesIO()
        pickler = _Pickler(file, self._name)
        pickler.dump(content)
        return Parcel(zlib.compress(file.getbuffer(), _LEVEL), tuple(dict.fromkeys(pickler.names)))

    def name(self, part: PerProcess) -> str | None:
        """Name of a part; None if no task had it."""
        return self._names.get(id(part))

    def parts(self, parcel: Parcel) -> list[PerProcess]:
        """Parts of this process that a parcel needs, also by way of others."""
        return [self._parts[name][0] for name in self.parcels(parcel)]

    def parcels(self, parcel: Parcel) -> dict[str, Parcel]:
        """Parcels of all parts that a parcel needs, also by way of others; each after those that it needs."""
        found: dict[str, Parcel] = {}
        for name in parcel.parts:
            own = self._parts[name][1]
            found |= self.parcels(own) | {name: own}
        return found

    def _name(self, part: PerProcess) -> str:
        """Return the name of a part, which is pickled when it is first met."""
        if id(part) not in self._names:
            file = io.BytesIO()
            pickler = _Pickler(file, self._name, part)
            pickler.dump(part)
            name = self._names[id(part)] = f"part-{len(self._names)}"
            content = zlib.compress(file.getbuffer(), _LEVEL)
            self._parts[name] = part, Parcel(content, tuple(dict.fromkeys(pickler.names)))
        return self._names[id(part)]


class _Pickler(pickle.Pickler):
    """Pickles an object; what a `PerProcess` part in it remembers is not sent."""

    def __init__(self, file: io.BytesIO, name: Callable[[PerProcess], str], top: PerProcess | None = None) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._name = name
        self._top = top
        self.names: list[str] = []

    def persistent_id(self, obj: Any) -> str | None:
        """Return the name of a part; None for what is pickled in place."""
        if not isinstance(obj, PerProcess) or obj is self._top:
            return None
        name = self._name(obj)
        self.names.append(name)
        return name


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, find: Callable[[str], PerProcess]) -> None:
        super().__init__(file)
        self._find = find

    def persistent_load(self, pid: Any) -> PerProcess:
        """Return this process's copy of a part."""
        return self._find(pid)


def unpack(content: bytes, find: Callable[[str], PerProcess]) -> Any:
    """Return the object of a parcel; `find` gives its `PerProcess` parts by name."""
    return _Unpickler(io.BytesIO(zlib.decompress(content)), find).load()
