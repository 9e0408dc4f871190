"""The words of charts, diagrams and text boxes, which are parts of their own in Office files."""

from __future__ import annotations

from qvsearch.media.office.ooxml import lines_of
from qvsearch.media.office.package import Package
from qvsearch.media.office.xml import Attributes, parse


def drawn_lines(package: Package, name: str) -> list[str]:
    """Return the words that are drawn on a slide, a sheet or a document, by the name of its part.

    A sheet has its text boxes and charts in drawings.
    """
    related = list(package.related(name).values())
    lines = []
    for drawing in [each.target for each in related if each.type == "drawing"]:
        lines += lines_of(package.read(drawing))
        related += package.related(drawing).values()
    for each in related:
        if each.type == "diagramData":
            lines += lines_of(package.read(each.target))
        elif each.type == "chart":
            data = package.read(each.target)
            lines += [*lines_of(data), *_labels(data)]
    return lines


def _labels(data: bytes) -> list[str]:
    """Return the names of a chart's series and categories in one line; there may be none."""
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
    return list(filter(None, ["; ".join(filter(None, labels))]))
