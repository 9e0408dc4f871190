"""What Word, PowerPoint and Excel files have in common: paragraphs, tables and core properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qvsearch.media.dates import date
from qvsearch.media.office.contents import field, keywords, table_lines
from qvsearch.media.office.package import Package
from qvsearch.media.office.xml import Attributes, attribute, parse, texts
from qvsearch.types import NO_METADATA, Metadata

WRITTEN = range(1980, 2101)  # years of documents

_BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def core_metadata(package: Package) -> Metadata:
    """Return the metadata of an Office file."""
    values = texts(package.read("docProps/core.xml"))
    return replace(
        NO_METADATA,
        title=field(values.get("title")),
        author=field(values.get("creator")),
        taken=date(values.get("created"), WRITTEN),
        keywords=keywords(values.get("keywords")),
        pictures=package.pictures,
    )


class Paragraphs:
    """Gathers the paragraphs and rows of tables of one part, whose elements have the same names.

    `add` is called with each line and the style of its paragraph, None for a row.
    """

    def __init__(self, add: Callable[[str, str | None], None]) -> None:
        self._add = add
        self._open: list[list[str]] = []  # a text box is a paragraph in a paragraph
        self._tables: list[list[list[list[str]]]] = []  # tables of rows of cells of lines
        self._style: str | None = None
        self._in_text = False
        self._skipped = 0  # the depth within what older programs read instead

    def read(self, data: bytes) -> None:
        """Read a part, which may be empty; raises MediaError if it is invalid."""
        if data:
            parse(data, self._start, self._end, self._text)

    def _start(self, name: str, attributes: Attributes) -> None:
        if self._skipped or name == "Fallback":
            self._skipped += 1
        elif name in ("p", "text"):  # the latter is a comment's
            self._open.append([])
            self._style, self._in_text = None, name == "text"
        elif name == "pStyle":
            self._style = attribute(attributes, "val")
        elif name == "outlineLvl":
            self._style = f"outline {attribute(attributes, 'val')}"
        elif name == "t":
            self._in_text = True
        elif name in _BREAKS and self._open:
            self._open[-1].append(_BREAKS[name])
        elif name == "tbl":
            self._tables.append([])
        elif name == "tr" and self._tables:
            self._tables[-1].append([])
        elif name == "tc" and self._tables and self._tables[-1]:
            self._tables[-1][-1].append([])

    def _end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
        elif name == "t":
            self._in_text = False
        elif name in ("p", "text") and self._open:
            self._in_text = False
            self._put("".join(self._open.pop()), self._style)
        elif name == "tbl" and self._tables:
            rows = [["\n".join(cell) for cell in row] for row in self._tables.pop()]
            for line in table_lines(rows):
                self._put(line, None)

    def _text(self, characters: str) -> None:
        if self._in_text and not self._skipped and self._open:
            self._open[-1].append(characters)

    def _put(self, line: str, style: str | None) -> None:
        if self._tables and self._tables[-1] and self._tables[-1][-1]:
            self._tables[-1][-1][-1].append(line)
        else:
            self._add(line, style)


def lines_of(data: bytes) -> list[str]:
    """Return the paragraphs and rows of a part that have a text."""
    lines: list[str] = []
    Paragraphs(lambda line, _: lines.append(line)).read(data)
    return [line for line in lines if line.strip()]
