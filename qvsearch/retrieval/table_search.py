"""The rows of a shared table that pass filters, and the best or first hits among them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.choices import Sort
from qvsearch.errors import NothingToSearch, QvsearchError
from qvsearch.library.columns import newest
from qvsearch.library.filtering import FILTERS, passing_rows
from qvsearch.library.filters import Filters
from qvsearch.published.filters import FIELDS, where_of
from qvsearch.published.library import joined
from qvsearch.published.schema import row_key
from qvsearch.retrieval.calibration import evidence_of
from qvsearch.retrieval.first_pass import may_lack
from qvsearch.retrieval.hits import best_hits, files_of, listed
from qvsearch.retrieval.options import browsing_order, count_of, least_evidence
from qvsearch.retrieval.snippets import with_snippet
from qvsearch.retrieval.table_candidates import asked_in
from qvsearch.retrieval.table_files import locations
from qvsearch.retrieval.wanted_pages import reaching
from qvsearch.types import KIND_CODES, Kind

if TYPE_CHECKING:
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.scoring import EmbeddedTerm
    from qvsearch.retrieval.table_candidates import Asked, Working
    from qvsearch.types import Hit

SPARE = 64  # candidates beside twice the hits of a list: near-duplicates and moments of one file
MOST = 8192  # candidates of a kind and term, after which a list that might lack a hit is final
MOST_HITS = 10_000  # of one list, whose vectors have to be in memory
FIRST = 240  # hits of an endless list that are computed at first


def select_in_table(library: PublishedLibrary, filters: Filters) -> TableSelection:
    """Return the rows of a table that pass; raises NothingToSearch as `select` does."""
    selection = TableSelection(library, filters, where_in(library, filters))
    if not selection:
        for folder in filters.under:
            where = where_in(library, Filters(under=(folder,)))
            if not os.path.lexists(folder) and not _any(library, where):
                raise NothingToSearch(
                    f"--under {os.fsdecode(folder)} is neither on the disk nor in the library;"
                    " check the spelling"
                )
    return selection


def where_in(library: PublishedLibrary, filters: Filters) -> str | None:
    """Return the SQL condition of filters in a table; None if all rows pass.

    Raises QvsearchError for a filter that the table has no column for.
    """
    for column in library.table.lacking.names:
        if column in FIELDS and getattr(filters, FIELDS[column]) not in (None, ()):
            raise QvsearchError(
                f"{library.table.address} is of an older version, and has no column for"
                f" {FILTERS[FIELDS[column]].option}; publish a library into it once more"
            )
    place = filters.place
    if place is not None and place.circle is None and library.outdated:
        raise QvsearchError(
            f"{library.table.address} does not have the countries of files by"
            f" {', '.join(library.outdated)} yet; publish these libraries once more, or give a city"
        )
    return where_of(filters, {name: library.place(name) for name in library.names})


def _any(library: PublishedLibrary, where: str | None) -> bool:
    return bool(len(library.table.scan(["kind"], where, limit=1)))


@dataclass(frozen=True, slots=True)
class TableSelection:
    """The rows of a table that pass filters; `where` is their SQL condition, None for all."""

    library: PublishedLibrary
    filters: Filters
    where: str | None

    def __bool__(self) -> bool:
        """Return whether any row may be a hit."""
        return _any(self.library, where_in(self.library, reaching(self.filters)))

    def best(
        self, terms: Sequence[EmbeddedTerm], options: SearchOptions, *, reranks: bool
    ) -> list[list[Hit]]:
        """Return the best hits of one query in one list or one for each kind."""
        count = count_of(options, len(self.library), reranks=reranks)
        if count > MOST_HITS:
            raise QvsearchError(
                f"a shared table lists at most {MOST_HITS:,} hits, not {count:,}; see --top"
            )
        asked = asked_in(self.library, terms, self.filters, self.where, exact=options.exact)
        lists = [[code] for code in self._codes] if options.by_kind else [self._codes]
        blocks = [_hits(asked, codes, count, options, reranks=reranks) for codes in lists]
        return [each for each in blocks if each or not options.by_kind]

    def first(self, options: SearchOptions) -> list[list[Hit]]:
        """Return the first files without a query, in one list or one for each kind."""
        order = browsing_order(options)
        if not options.by_kind:
            return [self._listed(options.top, order)]
        kinds = [kind for kind, code in KIND_CODES.items() if code in self._codes]
        parts = [
            select_in_table(self.library, replace(self.filters, kinds=frozenset({kind})))
            for kind in kinds
        ]
        return [part._listed(options.top, order) for part in parts if part]

    def best_in_turn(self, terms: Sequence[EmbeddedTerm], options: SearchOptions) -> Iterator[Hit]:
        """Yield the relevant hits of one query, at most MOST_HITS; all ranks are 0."""

        def best(count: int) -> list[Hit]:
            some = replace(options, top=count, nearest=0, by_kind=False)
            return self.best(terms, some, reranks=False)[0]

        return _in_turn(best)

    def all_in_turn(self, sort: Sort) -> Iterator[Hit]:
        """Yield the files without a query, at most MOST_HITS; all ranks are 0."""
        return _in_turn(lambda count: self._listed(count, sort))

    @property
    def _codes(self) -> list[int]:
        """The kinds that the filters allow."""
        return [KIND_CODES[kind] for kind in Kind if kind in (self.filters.kinds or Kind)]

    def _listed(self, count: int, sort: Sort) -> list[Hit]:
        """Return the first files, newest first or by path."""
        # a few more: some rows that pass in SQL may fail the filters themselves
        keys = self._first_keys(count + SPARE, sort)
        library = self.library.gathered(self.library.table.by_rows(keys))
        return listed(library, passing_rows(library.columns, self.filters), count, sort)

    def _first_keys(self, count: int, sort: Sort) -> list[str]:
        """Return the key of the first row of each of the first files."""
        table = self.library.table
        if sort is Sort.PATH:
            places = locations(self.library, self.where)
            items = sorted(places, key=places.__getitem__)[:count]
        else:
            rows = table.scan(["item", "time", "wall"], self.where)
            numbers, first = np.unique(rows["item"].to_numpy(), return_index=True)
            times, wall = (rows[name].to_numpy()[first] for name in ("time", "wall"))
            items = numbers[newest(times, wall, count)].tolist()
        return [row_key(item, 0) for item in items]


def _hits(
    asked: Asked, codes: Sequence[int], count: int, options: SearchOptions, *, reranks: bool
) -> list[Hit]:
    """Return the best hits of some kinds, from as many candidates as they need."""
    least = least_evidence(options, reranks=reranks)
    needed = least if reranks else evidence_of(options.least)

    def hits_of(working: Working) -> list[Hit]:
        library, ranking = working.library, working.ranking
        mask = working.mask & np.isin(library.kinds, codes)
        hits = best_hits(library, ranking, mask, count, least=least, dedupe=options.dedupe)
        if (matches := ranking.terms[0].matches) is None:
            return hits
        return [with_snippet(library, hit, matches, asked.filters.pages) for hit in hits]

    copies = asked.copies() if any(each.embedded.term.segments for each in asked.terms) else None
    taken = 2 * count + SPARE
    while True:
        found = asked.candidates(taken, codes)
        working = asked.working(found.rows if copies is None else joined([found.rows, copies]))
        hits = hits_of(working)
        bound = max(found.bounds.values(), default=-np.inf)
        if taken >= MOST or not may_lack(hits, count, bound, needed):
            break
        taken *= 4
    # all moments and passages of the files that are shown
    items = {
        number
        for hit in hits
        for item in files_of(hit)
        if item.kind is not Kind.IMAGE
        for number in asked.library.numbers_of(item)
    }
    if not items:
        return hits
    others = asked.library.table.by_items(items, asked.columns)
    return hits_of(asked.working(joined([working.rows, others])))


def _in_turn(first: Callable[[int], list[Hit]]) -> Iterator[Hit]:
    """Yield the hits of longer and longer lists, each once."""
    shown: set[bytes] = set()
    count = FIRST
    while True:
        hits = first(count)
        for hit in hits:
            if hit.segment.item.location not in shown:
                shown.update(item.location for item in files_of(hit))
                yield replace(hit, rank=0)
        if len(hits) < count or count == MOST_HITS:
            return
        count = min(4 * count, MOST_HITS)
