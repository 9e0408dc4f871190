"""The options of a search: which hits it returns, and how many."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from qvsearch.choices import RerankScope, Sort
from qvsearch.errors import QvsearchError
from qvsearch.library.filters import Filters
from qvsearch.retrieval.calibration import ANSWERED, CUT, evidence_of

RERANK_TOP = 20
MOST_SORTED = 1000  # hits, the most relevant ones, that are put in another order


@dataclass(frozen=True, slots=True)
class Rerank:
    """Which of the first `top` hits a reranker scores, and its time limit in seconds."""

    scope: RerankScope = RerankScope.AUTO
    top: int = RERANK_TOP
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Which hits are returned, and how many; with `by_kind` `top` is the number for each kind.

    Hits below `min_relevance` are left out; 0 returns the whole ranking. By default they are
    returned from CUT on, if the best hit has ANSWERED. `dedupe` folds near-duplicates into one hit.
    `exact` scores every row of a large library; by default a first pass picks the rows to score. If
    no hit is relevant enough, the `nearest` ones are returned. `sort` is the order of all relevant
    hits, of which the first `top` are returned (default: by relevance, without a query by date).
    Raises QvsearchError for numbers out of range.
    """

    top: int = 10
    filters: Filters = Filters()
    min_relevance: float | None = None
    by_kind: bool = False
    dedupe: bool = True
    rerank: Rerank | None = None
    exact: bool = False
    nearest: int = 0
    sort: Sort | None = None

    def __post_init__(self) -> None:
        """Raise QvsearchError for numbers out of range."""
        if self.top < 1:
            raise QvsearchError(f"top is {self.top}; it must be at least 1")
        if self.nearest < 0:
            raise QvsearchError(f"nearest is {self.nearest}; it must be at least 0")
        if not 0 <= self.least <= 1:
            raise QvsearchError(f"min_relevance is {self.least:g}; it must be from 0 to 1")

    @property
    def lists(self) -> bool:
        """Whether files can be listed without a query: there are filters or an order."""
        return self.filters != Filters() or self.sort is not None

    @property
    def by_relevance(self) -> bool:
        """Whether the hits of a query are ordered by relevance."""
        return self.sort in (None, Sort.RELEVANCE)

    @property
    def least(self) -> float:
        """The least relevance of a hit that is shown."""
        return CUT if self.min_relevance is None else self.min_relevance

    @property
    def least_best(self) -> float:
        """The least relevance that the best hit must have for any hit to be shown."""
        return ANSWERED if self.min_relevance is None else self.min_relevance


def least_evidence(options: SearchOptions, *, reranks: bool) -> float:
    """Return the least evidence of a row that becomes a hit before the cut."""
    return -math.inf if reranks or options.nearest else evidence_of(options.least)


def count_of(options: SearchOptions, rows: int, *, reranks: bool) -> int:
    """Return how many hits of each list are needed, of which some may not be returned."""
    reranked = options.rerank.top if reranks and options.rerank is not None else 0
    sortable = 0 if options.by_relevance else MOST_SORTED
    return min(max(options.top, options.nearest, reranked, sortable), rows)


def browsing_order(options: SearchOptions) -> Sort:
    """Return the order of files without a query; raises QvsearchError for relevance."""
    if options.sort is Sort.RELEVANCE:
        raise QvsearchError("nothing is relevant without a query; sort by date or path")
    return options.sort or Sort.DATE


def parse_rerank(
    scope: RerankScope | None, top: int | None, budget: str | None, reranker: str | None
) -> Rerank | None:
    """Return the options of reranking; None without any.

    Raises QvsearchError for a time limit that is no time, and for options without a scope.
    """
    seconds = parse_budget(budget)
    if scope is not None:
        return Rerank(scope, RERANK_TOP if top is None else top, seconds)
    for option, value in (
        ("--rerank-top", top),
        ("--rerank-budget", budget),
        ("--reranker", reranker),
    ):
        if value is not None:
            raise QvsearchError(f"{option} has no effect without --rerank; add --rerank")
    return None


def parse_budget(text: str | None, option: str = "--rerank-budget") -> float | None:
    """Return the seconds of `5s`, `1.5` or `2m`; raises QvsearchError for anything else."""
    if text is None:
        return None
    parts = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*(s|m?)", text.strip(), re.ASCII)
    if parts is None:
        raise QvsearchError(f"{option} {text!r} is no time; write 5s, 1.5s or 2m")
    return float(parts[1]) * (60 if parts[2] == "m" else 1)
