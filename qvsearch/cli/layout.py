"""Lines of columns that end in a path: on a terminal, too, a path is never broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

GAP = 2  # between columns
LEAST_BELOW = 20  # what is below a path is cut to the width that is left, but not to less


@dataclass(frozen=True, slots=True)
class Column:
    """A column before the path."""

    name: str
    style: str = ""
    right: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A line: a cell for each column, the path, and lines below it, with a style for all."""

    cells: Sequence[str]
    path: Text
    below: Sequence[Text] = ()
    style: str = ""


def laid_out(columns: Sequence[Column], rows: Sequence[Row], width: int) -> Text:
    """Return a heading and the rows.

    A path that does not fit into `width` beside its cells gets a line of its own, which may be
    longer than that: a terminal shows it on several, and it is copied as one. What is below a path
    is cut if its overflow is "ellipsis".
    """
    names = [column.name for column in columns]
    widths = [
        max(map(cell_len, cells)) for cells in zip(names, *(row.cells for row in rows), strict=True)
    ]
    indent = sum(widths) + GAP * len(widths)
    alone = " " * (widths[0] + GAP)  # before what does not fit beside the cells

    def beside(cells: Sequence[str], styles: Sequence[str]) -> Text:
        line = Text()
        for column, cell, size, style in zip(columns, cells, widths, styles, strict=True):
            space = " " * (size - cell_len(cell))
            line.append(space + cell if column.right else cell + space, style)
            line.append(" " * GAP)
        return line

    heading = beside(names, [""] * len(names)).append("path")
    heading.stylize("dim")
    lines = [heading]
    for row in rows:
        line = beside(row.cells, [column.style for column in columns])
        if indent + row.path.cell_len > width:
            lines.append(_styled(line, row.style))
            line = Text(alone)
        lines.append(_styled(line.append_text(row.path), row.style))
        for below in row.below:
            if below.overflow == "ellipsis":
                below.truncate(max(LEAST_BELOW, width - indent))
            lead = " " * indent if indent + below.cell_len <= width else alone
            lines.append(Text(lead).append_text(below))
    return Text("\n").join(lines)


def facts_laid_out(facts: Sequence[tuple[str, str]], width: int) -> Text:
    """Return names and values in two columns.

    A value that does not fit is wrapped at its spaces; a path gets a line of its own, whole.
    """
    indent = max(cell_len(name) for name, _ in facts) + GAP
    lines = []
    for name, value in facts:
        line = Text().append(name + " " * (indent - cell_len(name)), "bold")
        if indent + cell_len(value) > width and value.startswith("/"):
            lines += [line, Text(" " * GAP + value)]
            continue
        first, *others = _wrapped(value, max(LEAST_BELOW, width - indent))
        lines.append(line.append(first))
        lines += [Text(" " * indent + each) for each in others]
    return Text("\n").join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text, broken at spaces only: a word that is wider is a line."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and cell_len(f"{lines[-1]} {word}") > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def _styled(line: Text, style: str) -> Text:
    if style:
        line.stylize(style)
    return line
