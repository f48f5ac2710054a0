"""Safe XML parser for metadata from outside: no document types (so no entities), and a size limit."""

import xml.etree.ElementTree as ET
from typing import Final

from pipeline.core.errors import SceneError

MAX_XML_BYTES: Final = 64 * 2**20
"""Largest size of an XML file in bytes; Sentinel-2 metadata takes less than a hundredth of it."""


class _NoDocumentType(ET.TreeBuilder):
    """Tree builder that refuses document types, the only part of XML that can declare entities."""

    def doctype(self, *_: object) -> None:
        msg = "it declares a document type, which product metadata never does"
        raise ValueError(msg)


def parse_xml(content: bytes, origin: str) -> ET.Element:
    """Parse XML metadata; messages name its `origin`, a file or address.

    Raises
    ------
    SceneError
        If it is not XML, declares a document type, or is too large.
    """
    if len(content) > MAX_XML_BYTES:
        msg = f"{origin}: larger than {MAX_XML_BYTES // 2**20} MB; metadata of a product is smaller, check the file"
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
    """Texts of all elements with one of these names, in any namespace."""
    return [(element.text or "").strip() for name in names for element in root.iterfind(f".//{{*}}{name}")]


def text(root: ET.Element, *names: str) -> str:
    """Text of the first non-empty element with one of these names, or an empty string."""
    return next((value for value in texts(root, *names) if value), "")


def one_text(root: ET.Element, origin: str, *names: str) -> str:
    """Common text of all elements with one of these names, or an empty string.

    Raises
    ------
    SceneError
        If their texts differ.
    """
    found = list(dict.fromkeys(filter(None, texts(root, *names))))
    if len(found) > 1:
        msg = f"{origin}: {names[0]} is given twice, as {found[0][:40]!r} and as {found[1][:40]!r}; download it again"
        raise SceneError(msg)
    return found[0] if found else ""
