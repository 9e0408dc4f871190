"""Presentations (.pptx): slides in the order of the show, each with its notes and comments."""

from __future__ import annotations

from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.office.contents import Contents, Line
from qvsearch.media.office.drawings import drawn_lines
from qvsearch.media.office.ooxml import core_metadata, lines_of
from qvsearch.media.office.package import Package, Related
from qvsearch.media.office.xml import attribute, elements, relation

PRESENTATION = "ppt/presentation.xml"
_BESIDE = {"notesSlide": "notes: ", "comments": "comment: "}


def read(file: BinaryIO) -> Contents:
    """Read a presentation; raises MediaError."""
    package = Package(file)
    related = package.related("").values()
    place = next((each.target for each in related if each.type == "officeDocument"), PRESENTATION)
    parts = package.related(place)
    order = [
        parts[id_].target
        for tag, attributes in elements(package.needed(place))
        if tag == "sldId" and (id_ := relation(attributes)) in parts
    ]
    flows = [_slide(package, name, number) for number, name in enumerate(order, start=1)]
    if not flows:
        raise MediaError("it has no slides")
    return Contents(flows, core_metadata(package))


def _slide(package: Package, name: str, number: int) -> list[Line]:
    data = package.read(name)
    section = f"slide {number}"
    if any(
        tag == "sld" and attribute(attributes, "show") == "0" for tag, attributes in elements(data)
    ):
        section += " (hidden)"
    lines = [*lines_of(data), *drawn_lines(package, name)]
    for each in package.related(name).values():
        if each.type in _BESIDE:
            lines += _beside(package, each, number)
    return [(section, line) for line in lines]


def _beside(package: Package, part: Related, number: int) -> list[str]:
    """Return the lines of notes or comments, without the number of the slide."""
    lines = [line for line in lines_of(package.read(part.target)) if line.strip() != str(number)]
    return [f"{_BESIDE[part.type]}{line}" for line in lines]
