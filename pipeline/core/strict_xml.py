"""XML from strangers: no document types, so no entities to expand and nothing to fetch; no endless files."""

import xml.etree.ElementTree as ET
from typing import Final

from pipeline.core.errors import SceneError

LARGEST_XML: Final = 64 * 2**20
"""Bytes; a Sentinel-2 product's metadata takes less than a hundredth."""


class _NoDocumentType(ET.TreeBuilder):
    """Stops where a document type begins: entities can be declared nowhere else."""

    def doctype(self, *_: object) -> None:
        msg = "it declares a document type, which no product does"
        raise ValueError(msg)


def parse_xml(content: bytes, origin: str) -> ET.Element:
    """Read XML.

    Parameters
    ----------
    content : bytes
        The text.
    origin : str
        Where it comes from, for messages.

    Raises
    ------
    SceneError
        When it is no XML, declares a document type, or is far too large.
    """
    if len(content) > LARGEST_XML:
        msg = f"{origin}: the metadata is larger than {LARGEST_XML // 2**20} MB; this is no product's"
        raise SceneError(msg)
    parser = ET.XMLParser(target=_NoDocumentType())  # noqa: S314
    try:
        parser.feed(content)
        root: ET.Element = parser.close()
    except (ET.ParseError, ValueError, LookupError, RecursionError) as error:
        msg = f"{origin}: the metadata can't be read as XML ({error}); download the product again"
        raise SceneError(msg) from error
    return root


def texts(root: ET.Element, *names: str) -> list[str]:
    """Text of all elements of one of these names, whatever their namespace."""
    return [(element.text or "").strip() for name in names for element in root.iterfind(f".//{{*}}{name}")]


def text(root: ET.Element, *names: str) -> str:
    """Text of the first element of one of these names; empty where there is none."""
    return next((found for found in texts(root, *names) if found), "")


def one_text(root: ET.Element, origin: str, *names: str) -> str:
    """Text of the elements of one of these names, which must agree; empty where there is none.

    Raises
    ------
    SceneError
        When two of them differ.
    """
    found = list(dict.fromkeys(filter(None, texts(root, *names))))
    if len(found) > 1:
        msg = f"{origin}: {names[0]} is given twice, as {found[0][:40]!r} and as {found[1][:40]!r}; download it again"
        raise SceneError(msg)
    return found[0] if found else ""
