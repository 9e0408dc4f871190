"""Word documents (.docx): text under its headings, tables, footnotes and comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.encoding import to_text
from qvsearch.media.office.contents import Contents, Line, section_of
from qvsearch.media.office.drawings import drawn_lines
from qvsearch.media.office.html import MOST_TEXT
from qvsearch.media.office.ooxml import Paragraphs, core_metadata, lines_of
from qvsearch.media.office.package import Package
from qvsearch.media.office.readers import READERS, reader_of
from qvsearch.media.office.xml import attribute, parse

DOCUMENT = "word/document.xml"
MOST_CHUNKS = 20  # whole files within: each may be packed to a thousandth
_APART = {"footnotes": "footnotes", "endnotes": "endnotes", "comments": "comments"}
_CHUNK = "aFChunk"
_BODY_TEXT = "9"  # the outline level of what is no heading


def read(file: BinaryIO) -> Contents:
    """Read a Word document; raises MediaError."""
    return _read(file, with_chunks=True)


def has_chunks(file: BinaryIO) -> bool:
    """Return whether whole files stand in a document; raises MediaError."""
    package = Package(file)
    parts = package.related(_document(package)).values()
    return any(each.type == _CHUNK for each in parts)


def _document(package: Package) -> str:
    parts = package.related("").values()
    return next((each.target for each in parts if each.type == "officeDocument"), DOCUMENT)


def _read(file: BinaryIO, *, with_chunks: bool) -> Contents:
    package = Package(file)
    place = _document(package)
    parts = package.related(place).values()
    related = {each.type: each.target for each in parts}
    headings = _heading_styles(package.read(related.get("styles", "")))
    body: list[Line] = []
    section: str | None = None

    def add(line: str, style: str | None) -> None:
        nonlocal section
        if style is not None and line.strip() and headings.get(style, _outlined(style)):
            section = section_of(line)
            body.append((section, ""))  # a passage had better end before it
        body.append((section, line))

    Paragraphs(add).read(package.needed(place))
    drawn: list[Line] = [("figures", line) for line in drawn_lines(package, place)]
    flows: list[Sequence[Line]] = [body, drawn]
    for type_, name in _APART.items():
        flows.append([(name, line) for line in lines_of(package.read(related.get(type_, "")))])
    if with_chunks:
        chunks = dict.fromkeys(each.target for each in parts if each.type == _CHUNK)
        flows += _chunks(package, chunks, MOST_TEXT - _size(flows))
    return Contents(flows, core_metadata(package))


def _chunks(package: Package, names: Iterable[str], left: int) -> Iterator[Sequence[Line]]:
    """Yield the flows of files that stand in a document; those beyond a size are left out.

    `left` is the most characters of all of them.
    """
    for name in islice(names, MOST_CHUNKS):
        with suppress(MediaError):
            flows = _chunk(package.drawn(name), PurePosixPath(name).suffix.lower())
            if (size := _size(flows)) <= left:
                left -= size
                yield from flows


def _size(flows: Iterable[Sequence[Line]]) -> int:
    return sum(len(line) + 1 for flow in flows for _, line in flow)


def _chunk(data: bytes, suffix: str) -> Sequence[Sequence[Line]]:
    """Return the flows of a whole file that stands in a document; raises MediaError.

    Programs that make a document of a web page leave it so, and Word reads it (ECMA-376, altChunk).
    """
    if READERS.get(suffix) == "word":
        return _read(BytesIO(data), with_chunks=False).flows
    if suffix == ".txt":
        return [[(None, line) for line in to_text(data).splitlines()]]
    reader = reader_of(suffix)
    return () if reader is None else reader.read(BytesIO(data)).flows


def _outlined(style: str) -> bool:
    return style.startswith("outline ") and style != f"outline {_BODY_TEXT}"


def _heading_styles(data: bytes) -> Mapping[str, bool]:
    """Return which styles are headings: their ids are translated, their names are not."""
    found: dict[str, bool] = {}
    style = ""

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal style
        value = (attribute(attributes, "val") or "").lower()
        if name == "style":
            style = attribute(attributes, "styleId") or ""
        elif name == "name" and style:
            found[style] = value.startswith("heading ") or value == "title"
        elif name == "outlineLvl" and style and value != _BODY_TEXT:
            found[style] = True

    if data:
        parse(data, start)
    else:
        found.update({f"Heading{level}": True for level in range(1, 10)})
    return found
