"""OpenDocument files (.odt, .ods, .odp): text under headings, sheets, slides with their notes."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.dates import date
from qvsearch.media.office.contents import (
    MOST_ROWS,
    Contents,
    Line,
    field,
    keywords,
    sampled,
    section_of,
    table_lines,
)
from qvsearch.media.office.ooxml import WRITTEN
from qvsearch.media.office.package import Package
from qvsearch.media.office.sheets import MOST_COLUMNS
from qvsearch.media.office.xml import Attributes, attribute, parse, texts
from qvsearch.types import NO_METADATA

MOST_SPACES = 100  # that one element stands for

_PARAGRAPHS = ("p", "h")
_APART = {"note": "footnote: ", "annotation": "comment: ", "notes": "notes: "}
_CELLS = ("table-cell", "covered-table-cell")
_UNREAD = ("tracked-changes", "creator", "date", "note-citation", "sequence-decls")


def read(file: BinaryIO) -> Contents:
    """Read an OpenDocument file; raises MediaError."""
    package = Package(file)
    if b"encryption-data" in package.read("META-INF/manifest.xml"):
        raise MediaError("encrypted: it has a password")
    body = _Body()
    parse(package.needed("content.xml"), body.start, body.end, body.text)
    values = texts(package.read("meta.xml"))
    metadata = replace(
        NO_METADATA,
        title=field(values.get("title")),
        author=field(values.get("initial-creator") or values.get("creator")),
        taken=date(values.get("creation-date"), WRITTEN),
        keywords=keywords(values.get("keyword")),
        pictures=package.pictures,
        partial=body.partial,
    )
    return Contents(body.flows, metadata)


class _Body:
    """Gathers the flows of `content.xml`: one for each sheet and slide, one for all other text."""

    def __init__(self) -> None:
        self.flows: list[list[Line]] = [[]]
        self._section: str | None = None
        self._slides = 0
        self._is_workbook = False
        self._open: list[list[str]] = []
        self._prefixes: list[str] = []
        self._tables: list[list[list[str]]] = []
        self._rows = [0, 0]  # of all tables: those that are taken, and all
        self._skipped = 0

    @property
    def partial(self) -> str | None:
        """How many rows of all are taken, None if all are."""
        taken, all_rows = self._rows
        return f"{taken:,} of {all_rows:,} rows" if taken < all_rows else None

    def start(self, name: str, attributes: Attributes) -> None:
        """Begin an element."""
        if self._skipped or name in _UNREAD:
            self._skipped += 1
        elif name in _PARAGRAPHS:
            self._open.append([])
        elif name in _APART:
            self._prefixes.append(_APART[name])
        elif name == "page":
            self._slides += 1
            self._section = f"slide {self._slides}"
            self.flows.append([])
        elif name == "spreadsheet":
            self._is_workbook = True
        elif name == "table":
            self._start_table(attribute(attributes, "name"))
        elif name == "table-row" and self._tables:
            self._tables[-1].append([])
        elif name in _CELLS and self._tables and self._tables[-1]:
            count = min(_count(attribute(attributes, "number-columns-repeated")), MOST_COLUMNS)
            row = self._tables[-1][-1]
            row.extend([""] * min(count, MOST_COLUMNS - len(row)))
        elif name in ("s", "tab", "line-break") and self._open:
            count = min(_count(attribute(attributes, "c")), MOST_SPACES)
            self._open[-1].append({"s": " " * count, "tab": "\t"}.get(name, "\n"))

    def end(self, name: str) -> None:
        """End an element."""
        if self._skipped:
            self._skipped -= 1
        elif name in _PARAGRAPHS and self._open:
            self._put("".join(self._open.pop()), is_heading=name == "h")
        elif name in _APART and self._prefixes:
            self._prefixes.pop()
        elif name == "table" and self._tables:
            self._end_table()

    def text(self, characters: str) -> None:
        """Add characters."""
        if self._open and not self._skipped:
            self._open[-1].append(characters)

    def _start_table(self, name: str | None) -> None:
        if self._is_workbook and not self._tables and name:
            self._section = f"sheet {name}"
        self._tables.append([])

    def _end_table(self) -> None:
        rows = [row for row in self._tables.pop() if any(row)]
        numbers = sampled(len(rows), MOST_ROWS)
        self._rows = [self._rows[0] + len(numbers), self._rows[1] + len(rows)]
        for line in table_lines([rows[number] for number in numbers]):
            self._put(line)
        if self._is_workbook and not self._tables:
            self.flows.append([])
            self._section = None

    def _put(self, line: str, *, is_heading: bool = False) -> None:
        if self._tables and self._tables[-1] and self._tables[-1][-1]:
            cell = self._tables[-1][-1]
            cell[-1] = f"{cell[-1]}\n{line}".strip()
            return
        if is_heading and line.strip() and not self._slides:
            self._section = section_of(line)
            self.flows[-1].append((self._section, ""))
        self.flows[-1].append((self._section, "".join(self._prefixes) + line if line else line))


def _count(text: str | None) -> int:
    return max(1, int(text)) if text is not None and text.isascii() and text.isdecimal() else 1
