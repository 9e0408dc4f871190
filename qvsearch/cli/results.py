"""How the hits of a search are printed, and the exit code that they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvsearch.cli import output
from qvsearch.cli.records import hit_record
from qvsearch.errors import INCOMPLETE, NOTHING_FOUND
from qvsearch.library.names import option
from qvsearch.retrieval.pipeline import allowed_rows
from qvsearch.types import Hit, Sort

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.media.clips import Clip
    from qvsearch.retrieval.pipeline import SearchOptions


@dataclass(frozen=True, slots=True)
class Way:
    """How hits are printed; `save` cuts their moments out, and returns a clip for each hit."""

    json: bool
    paths: bool
    print0: bool
    quiet: bool
    save: Callable[[Sequence[Hit]], list[Clip | None]] | None = None

    @property
    def is_table(self) -> bool:
        """Whether a person reads them."""
        return not (self.json or self.paths or self.print0)


def show_hits(
    found: list[Hit],
    opened: Library,
    which: SearchOptions,
    way: Way,
    query: tuple[int, str] | None = None,
) -> int:
    """Print the hits of a query, with its number if there are many, and return the exit code."""
    best = max((hit.relevance for hit in found), default=0.0)
    hits = [] if best < which.least_best else found
    saved: list[Clip | None] = [None] * len(hits) if way.save is None else way.save(hits)
    if way.json:
        number = {} if query is None else {"query": query[0]}
        output.write_json(
            number | hit_record(hit, opened.folder, None if clip is None else clip.path)
            for hit, clip in zip(hits, saved, strict=True)
        )
    elif not way.is_table:
        output.write_paths(hits, b"\0" if way.print0 else b"\n")
    else:
        _print_tables(hits or found, bool(hits), which, query)
        for clip in filter(None, saved):
            output.line(f"{'saved' if clip.is_new else 'saved before'}: {clip.path}")
    if not hits:
        _hint_nothing(opened, which, way, nearest=bool(found))
        return NOTHING_FOUND
    if way.save is not None and not all(map(_is_whole, hits, saved)):
        return INCOMPLETE
    return 0


def _is_whole(hit: Hit, clip: Clip | None) -> bool:
    """Return whether a hit has its clip, with sound, if it is a moment of a video."""
    return hit.start is None if clip is None else not clip.lost


def _print_tables(
    hits: list[Hit], relevant: bool, which: SearchOptions, query: tuple[int, str] | None
) -> None:
    """Print hits, or the nearest ones, below the query if there are many."""
    if not hits and query is None:
        return
    from qvsearch.cli.tables import print_heading, print_hits, print_nearest
    from qvsearch.retrieval.calibration import ANSWERED, CUT

    if query is not None:
        number, text = query
        print_heading(f"{number}: {text}", first=number == 1)
    if hits and not relevant:
        print_nearest(hits)
    elif hits:
        best = max(hit.relevance for hit in hits)
        cut = CUT if best >= ANSWERED else 1.0
        dated = math.isnan(best) or which.sort is Sort.DATE
        cut = cut if which.by_relevance else 0.0
        print_hits(hits, cut, by_kind=which.by_kind, dated=dated)


def _hint_nothing(opened: Library, which: SearchOptions, way: Way, *, nearest: bool) -> None:
    if nearest or not output.is_watched(way.quiet):
        return
    if allowed_rows(opened, which.filters).any():
        output.hint("nothing is clearly relevant; --all shows what comes nearest")
    else:
        output.hint(
            f"no file passes the filters; see: qvsearch status --fields{option(opened.folder)}"
        )
