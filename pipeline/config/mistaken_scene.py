"""Detect a scene (file, folder or address) that was passed in place of a config."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Final

from pipeline.core.regular_files import read_start

_KINDS: Final = {
    b"II*\0": "a raster (TIFF)",
    b"MM\0*": "a raster (TIFF)",
    b"II+\0": "a raster (BigTIFF)",
    b"MM\0+": "a raster (BigTIFF)",
    b"\0\0\0\x0cjP": "a raster (JPEG 2000)",
    b"\xff\x4f\xff\x51": "a raster (JPEG 2000)",
    b"\xff\xd8\xff": "a raster (JPEG)",
    b"\x89PNG": "a raster (PNG)",
    b"\x89HDF": "an HDF5 or NetCDF file",
    b"CDF": "a NetCDF file",
    b"\x0e\x03\x13\x01": "an HDF4 file",
    b"EHFA_HEADER": "a raster (Erdas Imagine)",
    b"PK": "a zip",
    b"\x1f\x8b": "an archive (gz)",
    b"<VRTDataset": "a raster (VRT)",
    b"<?xml": "an XML file",
}
"""Kind of file by its first bytes."""

_MAX_JSON_BYTES: Final = 16 * 2**20
"""Largest number of bytes read from a JSON file; the kind of a larger one is unknown."""

_ADDRESS: Final = re.compile(r"(^|/)([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")
"""Scheme of an address, with at least one slash: `Path` collapses two slashes into one."""


def scene_named_as_config(path: Path) -> str | None:
    """Message for a scene passed in place of a config, with the command that writes one; None for other files."""
    name = str(path)
    kind = _kind(path)
    if not os.path.lexists(path) and (_ADDRESS.match(name) or name.startswith("/vsi")):
        name = _ADDRESS.sub(r"\1\2://", name)
        kind = "an address"
    if not kind:
        return None
    return (
        f"{name}: this is {kind}, not a config; to write one for a scene: terrazzo init {shlex.quote(name)} > my.yaml"
    )


def _kind(path: Path) -> str:
    """Kind of a file or folder that can't be a config, or an empty string."""
    try:
        if path.is_dir():
            return "a folder"
        head = read_start(path, 2**16)
    except (OSError, ValueError):
        return ""
    kind = next((kind for start, kind in _KINDS.items() if head.lstrip(b"\xef\xbb\xbf \r\n").startswith(start)), "")
    if not kind and b"\0" in head:
        kind = "a binary file"
    return kind or (_kind_of_json(path) if head.lstrip().startswith(b"{") else "")


def _kind_of_json(path: Path) -> str:
    """Kind of a STAC or GeoJSON file; empty for other JSON, as a config may be JSON."""
    try:
        found = json.loads(read_start(path, _MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return ""
    if "stac_version" in found:
        return "a STAC item"
    return f"a GeoJSON {found['type']}" if str(found.get("type")).startswith("Feature") else ""
