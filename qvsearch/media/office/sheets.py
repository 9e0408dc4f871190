"""Workbooks (.xlsx): the rows of each sheet, with the results of formulas.

The rows of a large sheet are a sample. The others are dropped from its XML before that is parsed,
which takes a hundred times as long as finding their ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.office.contents import MOST_ROWS, Contents, Line, sampled, table_lines
from qvsearch.media.office.drawings import drawn_lines
from qvsearch.media.office.ooxml import core_metadata, lines_of
from qvsearch.media.office.package import Package
from qvsearch.media.office.sheet_values import CellFormats, shared_strings, value_text
from qvsearch.media.office.xml import Attributes, attribute, elements, parse, relation

WORKBOOK = "xl/workbook.xml"
MOST_COLUMNS = 256  # of a row; a sheet has up to 16,384

_ROW = re.compile(rb"<(?:\w+:)?row[\s>/]")
_LAST_ROW_END = re.compile(rb"</(?:\w+:)?sheetData>")
_COLUMN = re.compile(r"[A-Z]{1,3}")


def read(file: BinaryIO) -> Contents:
    """Read a workbook; raises MediaError."""
    package = Package(file)
    place = _place(package)
    parts = package.related(place)
    by_type = {each.type: each.target for each in parts.values()}
    strings = shared_strings(package.read(by_type.get("sharedStrings", "")))
    formats = CellFormats(package.read(by_type.get("styles", "")))
    sheets = [
        (_section(attributes), part.target)
        for tag, attributes in elements(package.needed(place))
        if tag == "sheet"
        and (part := parts.get(relation(attributes) or "")) is not None
        and part.type == "worksheet"
    ]
    flows: dict[int, list[Line]] = {}
    counts = [0, 0]
    # the largest one last: it has the rows that the others leave
    order = sorted(range(len(sheets)), key=lambda number: package.size(sheets[number][1]))
    for number in order:
        section, target = sheets[number]
        share = (MOST_ROWS - counts[0]) // (len(sheets) - len(flows))
        rows, count = _rows(package.read(target), strings, formats, share)
        counts = [counts[0] + len(rows), counts[1] + count]
        lines = [*table_lines(rows), *drawn_lines(package, target)]
        for each in package.related(target).values():
            if each.type == "comments":
                lines += [f"comment: {line}" for line in lines_of(package.read(each.target))]
        flows[number] = [(section, line) for line in lines]
    return _with_metadata(package, [flows[number] for number in sorted(flows)], counts)


def has_formats(file: BinaryIO) -> bool:
    """Return whether a workbook shows some numbers otherwise than it stores them."""
    package = Package(file)
    parts = package.related(_place(package)).values()
    styles = next((each.target for each in parts if each.type == "styles"), "")
    return CellFormats(package.read(styles)).show_others


def _place(package: Package) -> str:
    related = package.related("").values()
    return next((each.target for each in related if each.type == "officeDocument"), WORKBOOK)


def _section(sheet: Attributes) -> str:
    is_hidden = attribute(sheet, "state") in ("hidden", "veryHidden")
    return f"sheet {attribute(sheet, 'name')}" + (" (hidden)" if is_hidden else "")


def _with_metadata(package: Package, flows: list[list[Line]], counts: list[int]) -> Contents:
    if not flows:
        raise MediaError("it has no sheets")
    metadata = core_metadata(package)
    if counts[0] < counts[1]:
        metadata = replace(metadata, partial=f"{counts[0]:,} of {counts[1]:,} rows")
    return Contents(flows, metadata)


def _rows(
    data: bytes, strings: Sequence[bytes], formats: CellFormats, most: int
) -> tuple[list[list[str]], int]:
    """Return at most about `most` rows of a sheet, evenly, and how many it has."""
    starts = [match.start() for match in _ROW.finditer(data)]
    if not starts or most <= 0:
        return [], len(starts)
    cells = _Cells(strings, formats)
    parse(_pieces(data, starts, most), cells.start, cells.end, cells.text)
    return cells.rows, len(starts)


def _pieces(data: bytes, starts: Sequence[int], most: int) -> Iterator[bytes]:
    """Yield a sheet's XML without the rows that are not in the sample."""
    yield data[: starts[0]]
    close = _LAST_ROW_END.search(data, starts[-1])
    ends = [*starts[1:], close.start() if close else len(data)]
    for number in sampled(len(starts), most):
        yield data[starts[number] : ends[number]]
    yield data[ends[-1] :]


class _Cells:
    """Gathers the values of cells by rows."""

    def __init__(self, strings: Sequence[bytes], formats: CellFormats) -> None:
        self.rows: list[list[str]] = []
        self._strings, self._formats = strings, formats
        self._type = self._style = ""
        self._column = 0
        self._value: list[str] | None = None
        self._skipped = False

    def start(self, name: str, attributes: Attributes) -> None:
        """Begin an element."""
        if name == "row":
            self.rows.append([])
        elif name == "c" and self.rows:
            place = _COLUMN.match(attributes.get("r", ""))
            self._column = _column(place[0]) if place else len(self.rows[-1])
            self._type, self._style = attributes.get("t", "n"), attributes.get("s", "")
            self._value = []
        elif name in ("f", "rPh"):  # a formula, or how a word is spoken
            self._skipped = True

    def end(self, name: str) -> None:
        """End an element."""
        if name in ("f", "rPh"):
            self._skipped = False
        if name != "c" or self._value is None or self._column >= MOST_COLUMNS:
            return
        value = "".join(self._value)
        text = value_text(value, self._type, self._style, self._formats, self._strings)
        row = self.rows[-1]
        row.extend([""] * (self._column - len(row)))
        row[self._column :] = [text]
        self._value = None

    def text(self, characters: str) -> None:
        """Add characters."""
        if self._value is not None and not self._skipped:
            self._value.append(characters)


def _column(letters: str) -> int:
    """Return the number of a column from 0: A, B, ... Z, AA."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1
