"""Tables of hits and of an explanation; only a command that prints one imports this module."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from qvsearch.cli.layout import (
    MARKED,
    Column,
    Row,
    indent_of,
    laid_out,
    link,
    new_console,
    print_facts,
    print_parts,
    print_table,
    short_path,
    width_of,
)
from qvsearch.cli.output import counted, line, place_text, safe_text, segment_text
from qvsearch.display import other_part_text
from qvsearch.library.places import place_name
from qvsearch.times import date_text, time_taken

if TYPE_CHECKING:
    from rich.console import Console

    from qvsearch.cli.terminal import Screen
    from qvsearch.retrieval.explain import Explanation, Weighed
    from qvsearch.retrieval.similar import Similar
    from qvsearch.types import Hit, Moment

SHOWN_MOMENTS = 3  # the best of an item's others; --json has all
SHOWN_SEGMENTS = 10  # of a file that is explained
SNIPPET_WIDTH = 200  # if no terminal is narrower
_SPACES = re.compile(r"\s+")
NO_NAMES: Mapping[Path | None, str] = {}  # of libraries, if there is only one


def print_hits(
    hits: Sequence[Hit],
    cut: float,
    libraries: Mapping[Path | None, str] = NO_NAMES,
    *,
    by_kind: bool = False,
    dated: bool = False,
    screen: Screen | None = None,
) -> None:
    """Print one list, or one for each kind: rank, relevance, kind, size, path, snippet.

    A line separates hits below the relevance `cut` from the others. `dated` adds the day, and
    `libraries`, the name of each by its folder, the library. Names of places are added if there is
    room. On a `screen` there are pictures beside them.
    """
    blocks = [hits]
    if by_kind:
        blocks = [list(block) for _, block in groupby(hits, key=lambda hit: hit.segment.item.kind)]
    headings = [
        Text(f"{block[0].segment.item.kind}s".capitalize(), style="bold") if by_kind else None
        for block in blocks
    ]
    if screen is not None:
        for number, (heading, block) in enumerate(zip(headings, blocks, strict=True)):
            if number:
                line()
            _print_pictures(block, cut, libraries, screen, heading, dated=dated)
        return
    console = new_console()
    parts = []
    for heading, block in zip(headings, blocks, strict=True):
        table = _hits(console, block, cut, libraries, dated=dated)
        parts.append(table if heading is None else heading.append("\n").append_text(table))
    print_parts(console, parts)


def print_heading(text: str, *, first: bool) -> None:
    """Print a query above its hits, with an empty line before it unless it is the first."""
    if not first:
        line()
    print_parts(new_console(), [Text(safe_text(text), style="bold")])


def print_nearest(
    hits: Sequence[Hit],
    libraries: Mapping[Path | None, str] = NO_NAMES,
    screen: Screen | None = None,
) -> None:
    """Print hits that are not relevant enough, dimmed; `libraries` is as for `print_hits`."""
    heading = Text("nothing is clearly relevant; nearest:")
    if screen is not None:
        _print_pictures(hits, 0.0, libraries, screen, heading, "dim")
        return
    console = new_console()
    print_parts(console, [heading, _hits(console, hits, 0.0, libraries, style="dim")])


def _hits(
    console: Console,
    hits: Sequence[Hit],
    cut: float,
    libraries: Mapping[Path | None, str],
    style: str = "",
    *,
    dated: bool = False,
) -> Text:
    columns, rows = _table(hits, cut, libraries, style, dated=dated)
    placed = _with_places(columns, rows, hits)
    if _has_room(placed[0], placed[1], indent_of(columns, rows), width_of(console)):
        columns, rows = placed
    if (place := _first_below(hits, cut)) is not None:
        rows.insert(place, Row([""] * len(columns), _cut_line(cut)))
    return laid_out(columns, rows, width_of(console))


def _print_pictures(
    hits: Sequence[Hit],
    cut: float,
    libraries: Mapping[Path | None, str],
    screen: Screen,
    heading: Text | None,
    style: str = "",
    *,
    dated: bool = False,
) -> None:
    """Print a heading, and hits with their pictures."""
    from qvsearch.cli.picture_list import Entry, print_entries

    if heading is not None:
        print_parts(new_console(), [heading])
    columns, rows = _with_places(*_table(hits, cut, libraries, style, dated=dated), hits)
    first_below = _first_below(hits, cut)
    entries = [
        Entry(
            hit.segment,
            hit.start,
            hit.end,
            columns,
            row,
            _cut_line(cut) if place == first_below else None,
        )
        for place, (hit, row) in enumerate(zip(hits, rows, strict=True))
    ]
    print_entries(entries, screen)


def print_similar_pictures(
    results: Sequence[Similar], screen: Screen, libraries: Mapping[Path | None, str] = NO_NAMES
) -> None:
    """Print similar files with their pictures: rank, score, why it is a near-duplicate, size."""
    from qvsearch.cli.picture_list import Entry, print_entries

    columns = [
        Column(""),
        Column("score", right=True),
        Column("reason"),
        Column("size", "cyan"),
        *[Column("library", "cyan")] * bool(libraries),
    ]
    entries = [
        Entry(
            each.segment,
            each.segment.start,
            each.segment.end,
            columns,
            Row(
                (
                    str(each.rank),
                    f"{each.score:.3f}",
                    each.reason or "",
                    segment_text(each.segment),
                    *([safe_text(libraries[each.library])] if libraries else []),
                ),
                link(each.segment.item.location),
            ),
        )
        for each in results
    ]
    print_entries(entries, screen)


def _table(
    hits: Sequence[Hit],
    cut: float,
    libraries: Mapping[Path | None, str],
    style: str,
    *,
    dated: bool,
) -> tuple[list[Column], list[Row]]:
    """Return the columns of a list, and the row of each hit; those below `cut` are dim."""
    reranked = any(hit.rerank_score is not None for hit in hits)
    scored = not any(math.isnan(hit.relevance) for hit in hits)
    columns = [
        Column("", right=True),
        *[Column("relevance", right=True)] * scored,
        *[Column("rerank", right=True)] * reranked,
        Column("kind", "cyan"),
        Column("size", "cyan"),
        *[Column("date", "cyan")] * dated,
        *[Column("library", "cyan")] * bool(libraries),
    ]
    rows = []
    for hit in hits:
        cells = (
            str(hit.rank),
            *[f"{hit.relevance:.2f}"] * scored,
            *[_probability(hit.rerank_score)] * reranked,
            hit.segment.item.kind.value,
            place_text(hit),
            *[date_text(time_taken(hit.segment))[:10]] * dated,
            *([safe_text(libraries[hit.library])] if libraries else []),
        )
        # a listed file has no relevance, and is below no cut
        row_style = "dim" if hit.relevance < cut else style
        path = link(hit.segment.item.location, hit.path_marks)
        rows.append(Row(cells, path, _below(hit), row_style))
    return columns, rows


def _with_places(
    columns: list[Column], rows: list[Row], hits: Sequence[Hit]
) -> tuple[list[Column], list[Row]]:
    """Return a table with the city and country of each hit, if any hit has them."""
    names = [safe_text(place_name(hit.segment.metadata) or "") for hit in hits]
    if not any(names):
        return columns, rows
    cells = [(*row.cells, name) for row, name in zip(rows, names, strict=True)]
    placed = [replace(row, cells=each) for row, each in zip(rows, cells, strict=True)]
    return [*columns, Column("place", "cyan")], placed


def _has_room(columns: list[Column], rows: list[Row], before: int, width: int) -> bool:
    """Return whether no path gets a line of its own that had none with an indent of `before`."""
    indent = indent_of(columns, rows)
    needs = [sum(each + row.path.cell_len > width for row in rows) for each in (before, indent)]
    return indent <= width and needs[0] == needs[1]


def _first_below(hits: Sequence[Hit], cut: float) -> int | None:
    """Return the place of the first hit below the cut, if there are others above it."""
    shown = sum(not hit.relevance < cut for hit in hits)
    return shown if 0 < shown < len(hits) else None


def _cut_line(cut: float) -> Text:
    return Text(f"── below {cut:.2f} ──", style="dim")


def _probability(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _below(hit: Hit) -> list[Text]:
    """Return the lines below a path: gone, snippet, other moments, near-duplicates."""
    below = [Text("gone: no longer where it was indexed", style="dim")] if hit.gone else []
    if hit.shown is not None:
        snippet = Text(style="dim", overflow="ellipsis")
        for part, is_marked in hit.shown.parts:
            snippet.append(safe_text(_SPACES.sub(" ", part)), MARKED if is_marked else "")
        snippet.truncate(SNIPPET_WIDTH)
        below.append(snippet)
    if hit.moments:
        below.append(Text(f"also {_places(hit.moments[:SHOWN_MOMENTS])}", style="dim"))
    if hit.duplicates:
        more = len(hit.duplicates) - 1
        first = safe_text(short_path(hit.duplicates[0].location))
        below.append(Text(f"like it: {first}" + (f" and {more} more" if more else ""), style="dim"))
    return below


def _places(moments: Sequence[Moment]) -> str:
    """Return places after one another: `00:04-00:07, 00:12-00:13`, or `pages 2, 5`."""
    pages = [str(each.segment.page) for each in moments if each.segment.page is not None]
    if len(pages) == len(moments) > 1:
        return f"pages {', '.join(pages)}"
    return ", ".join(map(other_part_text, moments))


def print_explanation(
    explanation: Explanation, libraries: Mapping[Path | None, str] = NO_NAMES
) -> None:
    """Print why a file is or is not a hit, and the score of each of its segments.

    `libraries` is as for `print_hits`.
    """
    facts = [("file", safe_text(explanation.path))]
    if explanation.library in libraries:
        facts.append(("library", libraries[explanation.library]))
    facts.append(("shown", "yes" if explanation.reason is None else f"no: {explanation.reason}"))
    if explanation.rank is not None and explanation.items is not None:
        others = counted(explanation.items, "file")
        beside = f"would be {explanation.rank:,}, beside {others} that pass the filters"
        facts.append(
            ("rank", beside if explanation.hidden_by else f"{explanation.rank:,} of {others}")
        )
    if explanation.relevance is not None:
        facts.append(
            ("relevance", f"{explanation.relevance:.2f}, the cut is {explanation.cut:.2g}")
        )
    print_facts(facts)
    if not explanation.segments:
        return
    line()
    several = any(len(each.terms) > 1 or each.words for each in explanation.segments)
    names = ["relevance", "score", "best", "median", "baseline"]
    rows: list[tuple[str, ...]] = []
    for each in explanation.segments[:SHOWN_SEGMENTS]:
        place = segment_text(each.segment) or "whole"
        if several:
            rows.append((place, *("" for _ in names)))
        for term in each.terms:
            name = f"  {'not ' if term.weight < 0 else ''}{term.text}" if several else place
            rows.append((name, f"{term.relevance:.2f}", *_level_cells(term)))
        if each.by_words is not None:
            words = safe_text(f"  words: {', '.join(each.words)}")
            rows.append((words, f"{each.by_words:.2f}", *("" for _ in names[1:])))
    print_table(["segment", *names], rows, whole=names)
    if len(explanation.segments) > SHOWN_SEGMENTS:
        line(f"... and {len(explanation.segments) - SHOWN_SEGMENTS:,} more; --json has them all")


def _level_cells(term: Weighed) -> tuple[str, ...]:
    """Return the score of a term, and how all rows of the kind score; empty without a vector."""
    level = term.level
    if level is None:
        return ("", "", "", "")
    return (
        f"{term.score:.3f}",
        f"{level.best:.3f}",
        f"{level.median:.3f} ± {level.spread:.3f}",
        "{:.3f} ± {:.3f}".format(*level.baseline),
    )
