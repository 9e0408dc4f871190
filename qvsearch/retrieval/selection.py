"""The rows of a library that pass filters, and the best or first hits among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qvsearch.errors import NothingToSearch
from qvsearch.library.filtering import passing_rows
from qvsearch.library.names import option
from qvsearch.published.opening import is_large_table
from qvsearch.retrieval.calibration import evidence_of
from qvsearch.retrieval.first_pass import may_lack, rank_all, rankings
from qvsearch.retrieval.hits import best_hits, hits_in_turn, listed, listed_in_turn
from qvsearch.retrieval.options import browsing_order, count_of, least_evidence
from qvsearch.retrieval.snippets import with_snippet
from qvsearch.retrieval.wanted_pages import allowed_in, reaching
from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.choices import Sort
    from qvsearch.library.filters import Filters
    from qvsearch.library.library import Library
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.scoring import EmbeddedTerm
    from qvsearch.types import Hit

    Masks = list[NDArray[np.bool_]]


class Selection(Protocol):
    """The rows of a library that may be hits; false if there are none."""

    def __bool__(self) -> bool:
        """Return whether any row may be a hit."""
        ...

    def best(
        self, terms: Sequence[EmbeddedTerm], options: SearchOptions, *, reranks: bool
    ) -> list[list[Hit]]:
        """Return the best hits of one query in one list or one for each kind.

        They are not cut by relevance yet; a reranker also gets hits below the cut.
        """
        ...

    def first(self, options: SearchOptions) -> list[list[Hit]]:
        """Return the first files without a query, in one list or one for each kind."""
        ...

    def best_in_turn(self, terms: Sequence[EmbeddedTerm], options: SearchOptions) -> Iterator[Hit]:
        """Yield the relevant hits of one query without an end; all ranks are 0."""
        ...

    def all_in_turn(self, sort: Sort) -> Iterator[Hit]:
        """Yield the files without a query and without an end; all ranks are 0."""
        ...


def select(library: Library, filters: Filters) -> Selection:
    """Return the rows of a library that pass the filters.

    Raises NothingToSearch for an empty library, or if nothing can be below a folder of --under.
    """
    if is_large_table(library):
        from qvsearch.retrieval.table_search import select_in_table  # not needed by libraries

        return select_in_table(library, filters)
    return Selected(library, allowed_rows(library, filters), filters)


def allowed_rows(library: Library, filters: Filters) -> NDArray[np.bool_]:
    """Return the mask (size,) of rows that pass the filters; raises as `select` does."""
    check_filled(library)
    mask = passing_rows(library.columns, filters)
    if not mask.any():
        library.columns.check_under(filters.under)
    return mask


def check_filled(library: Library) -> None:
    """Raise NothingToSearch for a library without rows."""
    if len(library):
        return
    if left := sum(run.files for run in library.load_pending()):
        raise NothingToSearch(
            f"nothing in the library {library.folder} can be searched yet: {left:,} files are"
            " not indexed; wait for `qvsearch index`, or run it again if it was interrupted"
        )
    raise NothingToSearch(
        f"the library {library.folder} is empty; fill it with:"
        f" qvsearch index FOLDER{option(library.folder)}"
    )


@dataclass(frozen=True, slots=True)
class Selected:
    """The rows of the mask (size,), which pass the filters, of a library with vectors at hand."""

    library: Library
    mask: NDArray[np.bool_]
    filters: Filters

    def __bool__(self) -> bool:
        """Return whether any row may be a hit."""
        return bool(self.mask.any()) or self._has_pages

    @property
    def _has_pages(self) -> bool:
        """Whether a document that passes has a wanted page, which needs no row of its own."""
        filters = reaching(self.filters)
        if filters.pages is None:
            return False
        return bool(passing_rows(self.library.columns, filters).any())

    def best(
        self, terms: Sequence[EmbeddedTerm], options: SearchOptions, *, reranks: bool
    ) -> list[list[Hit]]:
        """Return the best hits of one query in one list or one for each kind."""
        least = least_evidence(options, reranks=reranks)
        count = count_of(options, self.library.size, reranks=reranks)
        mask = allowed_in(self.library, self.mask, self.filters, terms[0].term)
        masks = self._masks(mask, by_kind=options.by_kind)
        blocks: list[list[Hit]] = []
        matches = None
        # rows are scored: in a large library first only the promising ones
        for ranking in rankings(self.library, terms, mask, exact=options.exact):
            # the best rows become hits: one per file, near-duplicates folded
            blocks = [
                best_hits(self.library, ranking, each, count, least=least, dedupe=options.dedupe)
                for each in masks
            ]
            matches = ranking.terms[0].matches
            # the nearest hits need not be exact if none is relevant
            needed = least if reranks else evidence_of(options.least)
            bounds = map(ranking.bound, masks)
            if not any(
                may_lack(block, count, bound, needed)
                for block, bound in zip(blocks, bounds, strict=True)
            ):
                break
        if matches is None:
            return blocks
        return [
            [with_snippet(self.library, hit, matches, self.filters.pages) for hit in block]
            for block in blocks
        ]

    def first(self, options: SearchOptions) -> list[list[Hit]]:
        """Return the first files without a query, in one list or one for each kind."""
        masks = self._masks(self.mask, by_kind=options.by_kind)
        order = browsing_order(options)
        return [listed(self.library, mask, options.top, order) for mask in masks]

    def best_in_turn(self, terms: Sequence[EmbeddedTerm], options: SearchOptions) -> Iterator[Hit]:
        """Yield the relevant hits of one query without an end; all ranks are 0."""
        mask = allowed_in(self.library, self.mask, self.filters, terms[0].term)
        least, ranking = evidence_of(options.least), rank_all(self.library, terms, mask)
        hits = hits_in_turn(self.library, ranking, mask, least=least, dedupe=options.dedupe)
        matches = ranking.terms[0].matches
        if matches is None:
            return hits
        return (with_snippet(self.library, hit, matches, self.filters.pages) for hit in hits)

    def all_in_turn(self, sort: Sort) -> Iterator[Hit]:
        """Yield the files without a query and without an end; all ranks are 0."""
        return listed_in_turn(self.library, self.mask, sort)

    def _masks(self, mask: NDArray[np.bool_], *, by_kind: bool) -> Masks:
        """Return the mask of each list to be returned: one, or one for each kind with rows."""
        if not by_kind:
            return [mask]
        masks = [mask & (self.library.kinds == code) for code in range(len(Kind))]
        return [each for each in masks if each.any()]
