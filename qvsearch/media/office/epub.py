"""E-books (.epub): chapters in their order."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO
from urllib.parse import unquote

from qvsearch.errors import MediaError
from qvsearch.media.dates import date
from qvsearch.media.office.contents import Contents, Line, field, section_of
from qvsearch.media.office.html import read_page
from qvsearch.media.office.ooxml import WRITTEN
from qvsearch.media.office.package import Package
from qvsearch.media.office.xml import attribute, elements, texts
from qvsearch.types import NO_METADATA

_PAGES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
_LOCKED = b"xmlenc#aes"  # of fonts alone there is another name


def read(file: BinaryIO) -> Contents:
    """Read an e-book; raises MediaError."""
    package = Package(file)
    roots = (
        attribute(attributes, "full-path") or ""
        for tag, attributes in elements(package.needed("META-INF/container.xml"))
        if tag == "rootfile"
    )
    place = next(roots, "")
    listing = package.needed(place)
    if _LOCKED in package.read("META-INF/encryption.xml"):
        raise MediaError("encrypted: its shop locks it to a program")
    values = texts(listing)
    metadata = replace(
        NO_METADATA,
        title=field(values.get("title")),
        author=field(values.get("creator")),
        taken=date(values.get("date"), WRITTEN),
        pictures=package.pictures,
    )
    return Contents(list(_chapters(package, place, listing)), metadata)


def _chapters(package: Package, place: str, listing: bytes) -> Iterator[list[Line]]:
    pages: dict[str, str] = {}
    order: list[str] = []
    for tag, attributes in elements(listing):
        if tag == "item" and attribute(attributes, "media-type") in _PAGES:
            target = unquote(attribute(attributes, "href") or "").partition("#")[0]
            name = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
            pages[attribute(attributes, "id") or ""] = name
        elif tag == "itemref":
            order.append(attribute(attributes, "idref") or "")
    # some books list each section as a part of its own, whose page is that of the chapter
    names = dict.fromkeys(pages.get(id_, "") for id_ in order)
    for number, page_name in enumerate(names, start=1):
        if not (data := package.read(page_name)):
            continue
        page = read_page(data)
        for flow in page.flows:
            heading = next((section for section, _ in flow if section), None)
            name = heading or section_of(page.metadata.title or "") or f"chapter {number}"
            yield [(section or name, line) for section, line in flow]
