"""Tables and columns on a terminal or in a pipe; a path is never broken.

Only a command that prints a table imports this module: rich takes its time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from qvsearch.cli.output import safe_text, write
from qvsearch.display import file_url
from qvsearch.types import Snippet

GAP = 2  # between columns
MARKED = "not dim bold"  # words of the query
LEAST_BELOW = 20  # least width of the lines below a path
LEAST_WIDTH = 16  # least width that columns of numbers leave for the others


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    console = new_console()
    safe = [(safe_text(name), safe_text(value)) for name, value in facts]
    print_parts(console, [facts_laid_out(safe, width_of(console))])


def print_paths(names: Sequence[str], rows: Iterable[tuple[Sequence[str], bytes]]) -> None:
    """Print rows of cells and a path under the names of the columns before the path."""
    console = new_console()
    lines = [Row(list(map(safe_text, cells)), link(path)) for cells, path in rows]
    print_parts(console, [laid_out(list(map(Column, names)), lines, width_of(console))])


def print_table(
    names: Sequence[str], rows: Iterable[Sequence[str]], *, whole: Sequence[str] = ()
) -> None:
    """Print rows under their column names.

    No cell of the columns `whole` is broken, if the others still have LEAST_WIDTH.
    """
    console, rows = new_console(), list(rows)
    columns = zip(names, *rows, strict=True)
    taken = sum(max(map(len, cells)) + GAP for cells in columns if cells[0] in whole)
    fits = console.width - taken >= LEAST_WIDTH
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=fits and name in whole)
    for row in rows:
        table.add_row(*(Text(safe_text(cell), overflow="fold") for cell in row))
    print_parts(console, [table])


def link(location: bytes, marks: Sequence[tuple[int, int]] = ()) -> Text:
    """Return a path, short; a terminal opens an absolute one with a click.

    `marks` are `[start, end)` of the path's characters.
    """
    text = Text(style=Style(link=file_url(location)) if location.startswith(b"/") else "")
    shown = os.fsdecode(short_path(location))
    left_out = len(os.fsdecode(location)) - len(shown)
    own = ((max(0, start - left_out), end - left_out) for start, end in marks)
    for part, is_marked in Snippet(shown, tuple(each for each in own if each[1] > 0)).parts:
        text.append(safe_text(part), MARKED if is_marked else "")
    return text


def short_path(location: bytes) -> bytes:
    """Return a path below the current folder as relative to it."""
    with suppress(OSError):  # the current folder may be gone
        return location.removeprefix(os.fsencode(Path.cwd()).rstrip(b"/") + b"/")
    return location


def new_console() -> Console:
    """Return a console like standard output; in a pipe lines are never broken.

    Its file is in memory: rich writes even while it captures, and only `output.write` handles a
    full disk and a reader that has left.
    """
    watched = sys.stdout.isatty()
    width = None if watched else 10_000
    return Console(file=StringIO(), force_terminal=watched, highlight=False, width=width)


def print_parts(console: Console, parts: Sequence[RenderableType]) -> None:
    """Print parts with an empty line between them."""
    with console.capture() as capture:
        for number, part in enumerate(parts):
            if number:
                console.print()
            console.print(part, soft_wrap=isinstance(part, Text))
    text = "".join(f"{each.rstrip()}\n" for each in capture.get().splitlines())
    write(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def width_of(console: Console) -> int:
    """Return the width of a terminal; a pipe has no limit."""
    return console.width if console.is_terminal else sys.maxsize


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


def indent_of(columns: Sequence[Column], rows: Sequence[Row]) -> int:
    """Return the width of the columns before the path."""
    return sum(_widths(columns, rows)) + GAP * len(columns)


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    names = [column.name for column in columns]
    return [
        max(map(cell_len, cells)) for cells in zip(names, *(row.cells for row in rows), strict=True)
    ]


def laid_out(columns: Sequence[Column], rows: Sequence[Row], width: int) -> Text:
    """Return a heading and the rows.

    A path that does not fit into `width` beside its cells gets a line of its own. That may be
    longer: a terminal shows it on several lines, but it is copied as one. Lines below a path are
    cut if their overflow is "ellipsis".
    """
    names = [column.name for column in columns]
    widths = _widths(columns, rows)
    indent = indent_of(columns, rows)
    alone = " " * (widths[0] + GAP)  # before lines that do not fit beside the cells

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
