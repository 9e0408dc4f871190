"""Which rows may be hits of a query: those that pass filters and quotes, for pages by its words.

A row of a long document stands for its own page and for those up to the next row, by their words.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.filtering import passing_rows
from qvsearch.library.filters import LAST_PAGE
from qvsearch.library.tokens import tokens
from qvsearch.library.words_file import PAGES
from qvsearch.paged_text import page_texts
from qvsearch.retrieval.joined_words import has_words
from qvsearch.retrieval.word_ranking import allowed_by_words, matches_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.filters import Filters
    from qvsearch.library.library import Library
    from qvsearch.retrieval.query import Term
    from qvsearch.retrieval.word_evidence import Matches


def reaching(filters: Filters) -> Filters:
    """Return filters for wanted pages or later ones: the last page of a document has a row."""
    if filters.pages is None:
        return filters
    return replace(filters, pages=(filters.pages[0], LAST_PAGE))


def allowed_in(
    library: Library, mask: NDArray[np.bool_], filters: Filters, term: Term
) -> NDArray[np.bool_]:
    """Return the rows (size,) of a mask, which pass the filters, that a query's words allow.

    Rows that stand for a wanted page are added if it has the words. Raises as `has_words` does.
    """
    by_words = allowed_by_words(library, term.asked)
    if filters.pages is None or not term.asked.sought or not has_words(library, term.asked):
        return mask if by_words is None else mask & by_words
    rest = passing_rows(library.columns, replace(filters, pages=None))
    if by_words is not None:
        rest &= by_words
    return on_pages(library, rest, filters.pages, matches_of(library, term))


def on_pages(
    library: Library, mask: NDArray[np.bool_], pages: tuple[int, int], found: Matches | None
) -> NDArray[np.bool_]:
    """Return the rows (size,) of a mask that are wanted pages, or stand for one with the words.

    That one has as much of the words as any other page of the row. A row that is a wanted page is
    left out if it has words on other pages alone.
    """
    first, last = pages
    numbers, items = library.columns.pages, library.columns.items
    wanted: NDArray[np.bool_] = mask & (numbers >= first) & (numbers <= last)
    if found is None:
        return wanted
    rows = found.rows if found.asked.alone else found.rows[found.counted]
    rows = np.intersect1d(rows[mask[rows]], library.words.read_by(PAGES))
    for end in (first, last + 1):  # only the last row of a file before an end has pages behind it
        before = rows[numbers[rows] < end]
        for row in dict(zip(items[before].tolist(), before.tolist(), strict=True)).values():
            here, elsewhere = _most_words(library, row, pages, found)
            least = min(elsewhere, 0.0) if wanted[row] else max(elsewhere, 0.0)
            wanted[row] = here >= least
    return wanted


def _most_words(
    library: Library, row: int, pages: tuple[int, int], found: Matches
) -> tuple[float, float]:
    """Return the most information of a query's words on a wanted page of a row, and on another.

    It is -1 if there is none of the words.
    """
    weights = dict.fromkeys(found.asked.sought, 0.0) | found.shown
    most = {True: -1.0, False: -1.0}
    for page, text in page_texts(library.words.text(row) or "", int(library.columns.pages[row])):
        has = f" {' '.join(tokens(text))} "
        here = [weight for phrase, weight in weights.items() if f" {' '.join(phrase)} " in has]
        is_wanted = pages[0] <= page <= pages[1]
        most[is_wanted] = max(most[is_wanted], sum(here) if here else -1.0)
    return most[True], most[False]
