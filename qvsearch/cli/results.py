"""Prints the hits of one query, or of many queries of a file."""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qvsearch.choices import Sort
from qvsearch.cli import output
from qvsearch.cli.hit_csv import HitCsv
from qvsearch.errors import ExitCode, NothingToSearch, QvsearchError
from qvsearch.gallery.cards import hit_sections
from qvsearch.library.names import option
from qvsearch.records.library import hit_record
from qvsearch.retrieval.selection import select
from qvsearch.types import Hit

if TYPE_CHECKING:
    from qvsearch.cli.options import PrintOptions
    from qvsearch.cli.several import OpenLibraries
    from qvsearch.cli.take_options import Use
    from qvsearch.cli.terminal import Screen
    from qvsearch.cli.viewing import View
    from qvsearch.library.library import Library
    from qvsearch.retrieval.pipeline import SearchOptions
    from qvsearch.retrieval.query import Query

LONGEST = (1 << 16) - 1  # bytes of a line; the model reads some thousand words


def show_hits(
    opened: OpenLibraries,
    wanted: SearchOptions,
    printing: PrintOptions,
    table: HitCsv,
    uses: Sequence[Use],
    view: View,
    results: list[Hit],
    query: tuple[int, str] | None = None,
) -> int:
    """Print the hits of a query and return the exit code.

    `table` prints them with `--csv`. Each of `uses` does something with them before, e.g. saves
    their moments. `query` is the number and the text of one of many queries.
    """
    best = max((hit.relevance for hit in results), default=0.0)
    hits = [] if best < wanted.least_best else results
    used = [use(hits) for use in uses] if hits else []
    if printing.json or printing.csv:
        number = {} if query is None else {"query": query[0]}
        records = (
            number | hit_record(hit, opened.folder_of(hit), *(each.fields[place] for each in used))
            for place, hit in enumerate(hits)
        )
        if printing.json:
            output.write_json(records)
        else:
            table.write(records)
    elif not printing.is_table:
        output.write_paths(hits, b"\0" if printing.print0 else b"\n")
    else:
        _print_tables(hits or results, bool(hits), wanted, query, opened.columns, view.screen)
        for line in (line for each in used for line in each.lines):
            output.line(line)
    is_well = view.finish(
        opened.libraries,
        [(hit.segment, hit.start) for hit in hits],
        partial(hit_sections, hits, by_kind=wanted.by_kind),
        printing.is_table,
    )
    if not hits:
        if not results:
            hint_nothing(opened.libraries, wanted, printing.quiet)
        return ExitCode.NOTHING_FOUND
    is_whole = is_well and all(each.is_whole for each in used)
    return ExitCode.DONE if is_whole else ExitCode.INCOMPLETE


def answer_all(
    source: bytes | None,
    parse: Callable[[str], Query],
    answers: Callable[[Iterable[Query]], Iterator[list[Hit] | QvsearchError]],
    show: Callable[[list[Hit], tuple[int, str]], int],
) -> int:
    """Show the hits of each query of a file, or of standard input, and return one exit code.

    A query that cannot be understood, or whose file cannot be read, is reported and left out.
    """
    codes: set[int] = set()
    waiting: deque[tuple[int, str]] = deque()

    def fail(number: int, error: QvsearchError) -> None:
        output.fail(f"query {number}: {error}")
        codes.add(ExitCode.INCOMPLETE)

    def queries() -> Iterator[Query]:
        for number, text in _read_lines(source):
            if text is None:
                fail(number, QvsearchError(f"it is longer than {LONGEST:,} bytes"))
                continue
            try:
                query = parse(text)
            except QvsearchError as error:
                fail(number, error)
            else:
                waiting.append((number, text))
                yield query

    for results in answers(queries()):
        number, text = waiting.popleft()
        if isinstance(results, QvsearchError):
            fail(number, results)
        else:
            codes.add(show(results, (number, text)))
    if ExitCode.INCOMPLETE in codes:
        return ExitCode.INCOMPLETE
    return min(codes, default=ExitCode.NOTHING_FOUND)


def _read_lines(source: bytes | None) -> Iterator[tuple[int, str | None]]:
    """Yield the number, from 1, and the text of each line that holds a query, or None if too long.

    Without a source it is standard input, whose lines are read one by one as they arrive.
    """
    if source is None:
        if sys.stdin.isatty():
            output.hint("one query a line; Ctrl-D ends")
        yield from _numbered(sys.stdin.buffer, "standard input")
        return
    name = os.fsdecode(source)
    with Path(name).open("rb") as file:
        yield from _numbered(file, name)


def _numbered(file: IO[bytes], name: str) -> Iterator[tuple[int, str | None]]:
    number, is_empty = 0, True
    while line := file.readline(LONGEST + 1):
        number += 1
        text: str | None = os.fsdecode(line).strip("\r\n\ufeff")
        if len(line) > LONGEST and not line.endswith(b"\n"):
            text = None
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST)
        if text is None or text.strip():
            is_empty = False
            yield number, text
    if is_empty:
        raise QvsearchError(f"there is no query in {name}; write one a line")


def _print_tables(
    hits: list[Hit],
    relevant: bool,
    wanted: SearchOptions,
    query: tuple[int, str] | None,
    libraries: Mapping[Path | None, str],
    screen: Screen | None,
) -> None:
    """Print hits, or the nearest ones, below the query if there are many.

    `libraries` has the names of several libraries; with a single one it is empty.
    """
    if not hits and query is None:
        return
    from qvsearch.cli.hit_tables import print_heading, print_hits, print_nearest
    from qvsearch.retrieval.calibration import ANSWERED, CUT

    if query is not None:
        number, text = query
        print_heading(f"{number}: {text}", first=number == 1)
    if hits and not relevant:
        print_nearest(hits, libraries, screen)
    elif hits:
        best = max(hit.relevance for hit in hits)
        cut = CUT if best >= ANSWERED else 1.0
        dated = math.isnan(best) or wanted.sort is Sort.DATE
        cut = cut if wanted.by_relevance else 0.0
        print_hits(hits, cut, libraries, by_kind=wanted.by_kind, dated=dated, screen=screen)


def hint_nothing(libraries: Sequence[Library], wanted: SearchOptions, quiet: bool) -> None:
    """Print on a terminal why there is no hit."""
    if not output.is_watched(quiet):
        return
    if any(_passes(each, wanted) for each in libraries):
        output.hint("nothing is clearly relevant; --all shows what comes nearest")
    else:
        names = " or".join(option(each.folder) for each in libraries)
        output.hint(f"no file passes the filters; see: qvsearch status --fields{names}")


def _passes(library: Library, wanted: SearchOptions) -> bool:
    """Return whether a file of the library passes the filters."""
    try:
        return bool(select(library, wanted.filters))
    except NothingToSearch:
        return False
