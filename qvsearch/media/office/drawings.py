"""The words of charts, diagrams and text boxes, which are parts of their own in Office files."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import islice
from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.office.ooxml import lines_of
from qvsearch.media.office.package import Package
from qvsearch.media.office.xml import Attributes, parse

MOST_LABELS = 500  # of a chart; those of more are the rows of a table
# the folders in which all programs put them
_DRAWN = re.compile(r"/(charts|diagrams|drawings)/[^/]*\.xml$")


def drawn_lines(package: Package, name: str) -> list[str]:
    """Return the words that are drawn on a slide, a sheet or a document, by the name of its part.

    A sheet has its text boxes and charts in drawings. Those that cannot be read are left out.
    """
    related = list(package.related(name).values())
    lines: list[str] = []
    for drawing in [each.target for each in related if each.type == "drawing"]:
        with suppress(MediaError):
            lines += lines_of(package.drawn(drawing))
            related += package.related(drawing).values()
    for each in related:
        with suppress(MediaError):
            if each.type == "diagramData":
                lines += lines_of(package.drawn(each.target))
            elif each.type == "chart":
                data = package.drawn(each.target)
                lines += [*lines_of(data), *_labels(data)]
    return lines


def has_drawings(file: BinaryIO) -> bool:
    """Return whether an Office file has charts, diagrams or text boxes; raises MediaError."""
    return any(map(_DRAWN.search, Package(file).names))


def _labels(data: bytes) -> list[str]:
    """Return the first names of a chart's series and categories in one line, if it has any."""
    labels: dict[str, None] = {}
    depth, value = 0, [""]  # of `strCache`, which has the texts of cells; a text so far

    def start(name: str, _: Attributes) -> None:
        nonlocal depth
        depth += name == "strCache"
        value[:] = [""]

    def end(name: str) -> None:
        nonlocal depth
        depth -= name == "strCache"
        if depth and name == "v":
            labels["".join(value).strip()] = None

    if data:
        parse(data, start, end, value.append)
    line = "; ".join(islice(filter(None, labels), MOST_LABELS))
    return [line] if line else []
