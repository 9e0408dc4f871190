"""Answer a query from a library; knows nothing of how a model embeds or how vectors are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from qvsearch.combine import ANSWERED, CUT, evidence_of, relevance_of
from qvsearch.errors import QvsearchError
from qvsearch.filters import Filters
from qvsearch.fingerprint import own_embedder
from qvsearch.firstpass import is_large, rank_all, rank_best
from qvsearch.hits import best_hits
from qvsearch.ranking import ask
from qvsearch.rerank import Rerank, rerank
from qvsearch.terms import Query, parse_query, read_terms
from qvsearch.types import Hit, Kind, Moment, Skipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library import Library
    from qvsearch.ranking import Ranking
    from qvsearch.types import Embedder, Reranker

__all__ = ["Query", "SearchOptions", "answer", "parse_query", "search"]

Found = TypeVar("Found", Hit, Moment)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits, of which items; `top` is of each kind where `by_kind` is asked for.

    Hits of less than `min_relevance` are not shown; 0 shows the ranking whatever it is worth. By
    default they are shown from CUT on, if the best has ANSWERED.
    `dedupe` folds near-duplicates into one hit. `exact` scores every row of a large library, of
    which a first pass otherwise leaves only the best. If no hit is relevant enough, the `nearest`
    ones are returned all the same. Raises QvsearchError for numbers out of range.
    """

    top: int = 10
    filters: Filters = Filters()
    min_relevance: float | None = None
    by_kind: bool = False
    dedupe: bool = True
    rerank: Rerank | None = None
    exact: bool = False
    nearest: int = 0

    def __post_init__(self) -> None:
        """Refuse what shows nothing whatever is found."""
        if self.top < 1:
            raise QvsearchError(f"top is {self.top}; ask for one hit at least")
        if self.nearest < 0:
            raise QvsearchError(f"nearest is {self.nearest}; it is 0 or more")
        if not 0 <= self.least <= 1:
            raise QvsearchError(f"min_relevance is {self.least:g}; it is from 0 to 1")

    @property
    def least(self) -> float:
        """The least relevance of a hit that is shown."""
        return CUT if self.min_relevance is None else self.min_relevance

    @property
    def least_best(self) -> float:
        """The least relevance of the best hit, or none is shown."""
        return ANSWERED if self.min_relevance is None else self.min_relevance


def search(
    library: Library,
    query: Query | str,
    embedder: Embedder | None = None,
    options: SearchOptions | None = None,
    reranker: Reranker | None = None,
) -> list[Hit]:
    """Return the most relevant hits, one an item; none where nothing in the library answers.

    The library's own model is loaded where no embedder is given; a reranker is used where the
    options ask for it. Raises QvsearchError for an empty library, a query that says nothing or a
    query file that cannot be read.
    """
    return answer(
        library,
        parse_query(query) if isinstance(query, str) else query,
        options or SearchOptions(),
        lambda: embedder or own_embedder(library),
        None if reranker is None else lambda: reranker,
    )


def answer(
    library: Library,
    query: Query,
    options: SearchOptions,
    load: Callable[[], Embedder],
    load_reranker: Callable[[], Reranker] | None = None,
    missed: Callable[[Skipped], None] = lambda _: None,
) -> list[Hit]:
    """Do what `search` does, loading models only when they are needed.

    `missed` hears of the hits that could not be shown to the reranker.
    """
    mask = allowed_rows(library, options.filters)
    terms = read_terms(query, library.fingerprint.detail.max_pixels)
    if not mask.any():
        return []
    asked = ask(terms, load())
    judge = options.rerank if load_reranker is not None else None
    # what a reranker is to judge may lie below the cut, where it may rescue it
    least = -np.inf if judge or options.nearest else evidence_of(options.least)
    count = max(options.top, options.nearest, judge.top if judge else 0)
    masks = _blocks(library, mask, by_kind=options.by_kind)

    def found(ranking: Ranking) -> list[list[Hit]]:
        return [
            best_hits(library, ranking, each, count, least=least, dedupe=options.dedupe)
            for each in masks
        ]

    if options.exact or not is_large(library):
        blocks = found(rank_all(library, asked))
    else:
        ranking = rank_best(library, asked, mask)
        blocks = found(ranking)
        bounds = map(ranking.bound, masks)
        # the nearest hits need not be exact where none is relevant
        needed = least if judge else evidence_of(options.least)
        if any(
            _may_lack(block, count, bound, needed)
            for block, bound in zip(blocks, bounds, strict=True)
        ):
            # so many are asked for, or copies, or of one item, that more rows must be judged
            blocks = found(rank_all(library, asked))
    if judge is not None and load_reranker is not None:
        blocks = rerank(blocks, terms, load_reranker(), judge, library.fingerprint, missed)
    found_hits = [hit for block in blocks for hit in block]
    if max((hit.relevance for hit in found_hits), default=0.0) < options.least_best:
        return _nearest(found_hits, options.nearest)
    return [hit for block in blocks for hit in _shown(block, options)]


def _may_lack(block: Sequence[Hit], count: int, bound: float, least: float) -> bool:
    """Whether a row not judged, of evidence `bound` at most, might be among the hits of a list."""
    if bound == -np.inf:
        return False  # all are judged
    block = [hit for hit in block if hit.relevance >= relevance_of(least)]
    if len(block) < count:
        return bound >= least
    return block[-1].relevance < relevance_of(bound)


def allowed_rows(library: Library, filters: Filters) -> NDArray[np.bool_]:
    """Return which rows pass the filters; raises QvsearchError where there is nothing to search."""
    if not library.segments:
        if left := sum(run.files for run in library.load_pending()):
            raise QvsearchError(
                f"nothing in the library {library.folder} can be searched yet: {left:,} files are"
                " not indexed; wait for `qvsearch index`, or run it again if it was interrupted"
            )
        raise QvsearchError(
            f"the library {library.folder} is empty; fill it with: qvsearch index FOLDER"
        )
    mask = library.columns.mask(filters)
    if not mask.any():
        library.columns.check_under(filters.under)
    return mask


def _blocks(library: Library, mask: NDArray[np.bool_], *, by_kind: bool) -> list[NDArray[np.bool_]]:
    """Return the masks of the lists to be shown: one, or one for each kind that has rows."""
    if not by_kind:
        return [mask]
    masks = [mask & (library.kinds == code) for code in range(len(Kind))]
    return [each for each in masks if each.any()]


def _nearest(hits: Sequence[Hit], count: int) -> list[Hit]:
    """Return the first hits of all lists, alone, whatever they are worth."""
    best = sorted(hits, key=lambda hit: -hit.relevance)[:count]
    return [replace(hit, rank=rank, moments=()) for rank, hit in enumerate(best, start=1)]


def _shown(block: Sequence[Hit], options: SearchOptions) -> list[Hit]:
    """Return the hits of a list that are shown, ranked from 1, with the moments that are."""

    def relevant(found: Iterable[Found]) -> list[Found]:
        return [each for each in found if each.relevance >= options.least]

    return [
        replace(hit, rank=rank, moments=tuple(relevant(hit.moments)))
        for rank, hit in enumerate(relevant(block)[: options.top], start=1)
    ]
