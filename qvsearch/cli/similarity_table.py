"""The matrix of similarity, as a table for a person and as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from qvsearch.choices import Metric
from qvsearch.cli.layout import GAP, new_console, print_parts
from qvsearch.display import safe_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.tasks.similarity import Similarity
    from qvsearch.types import Vectors

WIDEST = 60  # cells of a name; also in a pipe, since an input may be a whole page
NUMBER = 6  # cells of -0.123
LEAST_HEADING = 12  # cells of a name above a column; with less, columns are numbered
STYLES = ("dim", "", "cyan", "green", "bold green")  # from the least alike to the most


def print_similarity(result: Similarity, metric: Metric, *, itself: bool) -> None:
    """Print a row for each row of the matrix, in blocks of columns that fit.

    If the rows are compared with `itself`, rows and columns have the same numbers. A number is the
    place of an input among all of its side, from 0, as in `--json` and in messages.
    """
    console = new_console()
    rows = list(map(_shown, result.rows.names))
    columns = list(map(_shown, result.columns.names))
    widest = min(max(map(cell_len, rows)), WIDEST, console.width // 2)
    space = console.width - widest
    heading = min(max(map(cell_len, columns)), WIDEST, space // len(columns) - GAP)
    is_numbered = heading < min(LEAST_HEADING, max(map(cell_len, columns)))
    numbers = list(map(str, result.columns.index))
    parts = []
    if is_numbered:
        heading = max(NUMBER, len(numbers[-1]))
        if itself:
            lead = len(numbers[-1])
            rows = [f"{number:>{lead}} {name}" for number, name in zip(numbers, rows, strict=True)]
            widest = min(widest + lead + 1, console.width // 2)
            space = console.width - widest
        else:
            parts.append(_legend(numbers, columns, console.width))
        columns = numbers
    heading = max(heading, NUMBER)
    fitting = max(1, space // (heading + GAP))
    levels = _levels(result.values, metric, itself=itself)
    for first in range(0, len(columns), fitting):
        some = slice(first, first + fitting)
        parts.append(
            _block(rows, columns[some], result.values[:, some], levels[:, some], widest, heading)
        )
    print_parts(console, parts)


def csv_of(result: Similarity) -> bytes:
    """Return the matrix as CSV, with the names of columns above and of rows before.

    Names are exact, for the programs that read them; `write_lines` makes them harmless to see.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *map(os.fsdecode, result.columns.names)])
    for name, values in zip(result.rows.names, result.values.tolist(), strict=True):
        writer.writerow([os.fsdecode(name), *(f"{value:.6f}" for value in values)])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _block(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Vectors,
    levels: NDArray[np.int64],
    widest: int,
    heading: int,
) -> Text:
    """Return a table of some columns."""
    head = Text(" " * widest)
    for name in columns:
        short = _short(name, heading)
        head.append(" " * (GAP + heading - cell_len(short)) + short)
    head.stylize("dim")
    lines = [head]
    for name, numbers, styles in zip(rows, values.tolist(), levels.tolist(), strict=True):
        line = Text(set_cell_size(_short(name, widest), widest))
        for number, level in zip(numbers, styles, strict=True):
            line.append(" " * GAP + f"{round(number, 3) + 0.0:>{heading}.3f}", STYLES[level])
        lines.append(line)
    return Text("\n").join(lines)


def _legend(numbers: Sequence[str], names: Sequence[str], width: int) -> Text:
    lead = len(numbers[-1])
    lines = [
        Text(f"{number:>{lead}}  {_short(name, min(WIDEST, width - lead - GAP))}")
        for number, name in zip(numbers, names, strict=True)
    ]
    return Text("\n").join(lines)


def _levels(values: Vectors, metric: Metric, *, itself: bool) -> NDArray[np.int64]:
    """Return the place of each value's style: five equal steps from the least alike to the most."""
    counted = np.ones(values.shape, np.bool_)
    if itself and values.size > 1:
        np.fill_diagonal(counted, val=False)
    low, high = values[counted].min(), values[counted].max()
    share = (values - low) / max(high - low, 1e-6)
    if metric is Metric.EUCLIDEAN:
        share = 1 - share
    levels: NDArray[np.int64] = (share.clip(0, 1) * len(STYLES)).astype(np.int64)
    return levels.clip(0, len(STYLES) - 1)


def _shown(name: bytes) -> str:
    """Return a name on one line; a path below the current folder is relative to it."""
    text = os.fsdecode(name)
    if text.startswith("/"):
        below = os.path.relpath(text)
        text = text if below.startswith("..") else below
    return safe_text(" ".join(text.split()) if not text.startswith("/") else text)


def _short(name: str, width: int) -> str:
    """Return a name of at most so many cells: words lose their end, a path its middle."""
    if cell_len(name) <= width:
        return name
    if "/" not in name or " " in name:
        return set_cell_size(name, width - 1).rstrip() + "…"
    tail = name[-(width - 1) :]
    while cell_len(tail) > width - 1:
        tail = tail[1:]
    return "…" + tail
