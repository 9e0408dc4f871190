"""What it is worth that rows have the words of a query: the evidence that they answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.retrieval.asked_words import AskedWords, Phrase, has_number
from qvsearch.retrieval.calibration import ANSWERED, evidence_of
from qvsearch.retrieval.counted_files import ALIKE, shares

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from qvsearch.retrieval.named_files import Named
    from qvsearch.types import Vectors

    Rows = NDArray[np.int64]
    Counts = NDArray[np.int64]
    Files = NDArray[np.int64]  # by number

# log-odds that a row answers, fitted to libraries of other words, names and scenes than those that
# tests/bench/words_ranking.py measures: of rows with all of the query's words, and of others
ALL, ALL_ROWS, ALL_EQUAL = 1.16, 0.35, -1.41
SOME, SOME_ROWS, SOME_EQUAL, COVERED = -4.82, 0.12, -0.15, 4.6
WHOLE = -0.6  # least of rows that have the query as it is written, as the names of folders may
FEW = 0.2  # of all rows, which they may be at most
TIE = 0.5  # from the best BM25 score to none
MEANT = 0.0  # least log-odds of rows that have all words, if these very words are wanted
LEAST_COVERAGE = 0.6  # with less the evidence is negative, even among ten million rows


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a query needs of all rows that have words, `among` of them with `mean` tokens each.

    `weights` has the information of each phrase, in nats, and `named` the files whose names have a
    phrase that some of their rows lack. `coverages` (k,) are those of all rows that have some of
    the phrases, ascending, and `behind` (k,) tells how many rows have at least as much. `top` is
    the highest BM25 of any row, `best` the highest evidence, if it is known. `has_all` is true if a
    row has every phrase; otherwise one of `deciding` is as good. `whole` are the query's words, if
    rows that have them as they are written are few enough.
    """

    among: int
    mean: float
    weights: Mapping[Phrase, float]
    named: Named
    coverages: Vectors
    behind: NDArray[np.float64]
    top: float
    has_all: bool
    deciding: tuple[Phrase, ...] = ()
    whole: Phrase = ()
    best: float = -np.inf


@dataclass(frozen=True)
class Matches:
    """The rows (k,) that have some of a query's words, ascending, with arrays (k,).

    `bm25` is their score. `coverage` is the share of the query's information (idf) that a row has,
    0 to 1, and `equal` the number of rows with at least as much, where a file that is counted once
    is one (see `shares`). If no row has all of it, one with a rare number or quote of the query
    counts as one that has. `among` is the number of all rows with words. `weights` has the
    information of each phrase, in nats, and `named` the files whose names have a phrase that some
    of their rows lack. `top` is the highest BM25 of any row. `elsewhere` is the highest evidence of
    rows that are not among these. `is_meant` is true if these very words are wanted, and
    `are_phrases` if all are in quotes. `is_number` is true if a number is among them, and some row
    has them all. `are_whole` marks the rows that have the query as it is written. `asked` are the
    words of the query.
    """

    rows: Rows
    bm25: Vectors
    coverage: Vectors
    equal: NDArray[np.float64]
    among: int
    weights: Mapping[Phrase, float]
    named: Named
    top: float
    is_meant: bool
    are_phrases: bool
    is_number: bool
    are_whole: NDArray[np.bool_]
    elsewhere: float = -np.inf
    asked: AskedWords = AskedWords()

    @cached_property
    def shown(self) -> dict[Phrase, float]:
        """The weights of all phrases, and of other forms of them; do not mutate."""
        shown = dict(self.weights)
        for phrase, weight in self.weights.items():
            for form in self.asked.forms.get(phrase, ()):
                shown[form] = shown.get(form, 0.0) + weight
        return shown

    @cached_property
    def evidence(self) -> Vectors:
        """The log-odds (k,) that a row answers, by its words alone; do not mutate."""
        if not len(self.rows):
            return np.empty(0, np.float32)
        rows, equal = np.log(self.among), np.log(self.equal)
        has_all = self._has_all
        some = SOME + COVERED * self.coverage + SOME_ROWS * rows + SOME_EQUAL * equal
        evidence = np.where(has_all, ALL + ALL_ROWS * rows + ALL_EQUAL * equal, some)
        if self.is_meant:
            wanted = has_all | self.are_phrases  # a file has all phrases, each of its rows has some
            evidence = np.where(wanted, np.maximum(evidence, MEANT + TIE), evidence)
        evidence -= TIE * (1 - self.bm25 / self.top)
        evidence = np.where(self.are_whole, np.maximum(evidence, WHOLE), evidence)
        rounded: Vectors = evidence.astype(np.float32)
        return rounded

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """Whether each row (k,) counts by its words; do not mutate.

        It does if it is likelier than not that these answer. With all words of the query, a
        relevance that answers is enough.
        """
        least: NDArray[np.float64] = np.where(self._has_all, evidence_of(ANSWERED), 0.0)
        return self.evidence > least

    @property
    def _has_all(self) -> NDArray[np.bool_]:
        return self.coverage > 1 - ALIKE

    @property
    def best(self) -> float:
        """The highest evidence of any row, also of those that are not among these."""
        return float(self.evidence.max(initial=self.elsewhere))

    def lessened(self, evidence: Vectors) -> Vectors:
        """Return the evidence (n,) of rows by meaning, given that others have the words.

        None exceeds that of the best row with the words, and the order stays. A number means
        nothing: if it is found, P(meaning) counts with the probability that this is not the answer.
        """
        best = self.best
        if best <= 0:
            return evidence
        exact = evidence.astype(np.float64)
        if not self.is_number:
            capped: Vectors = (-np.logaddexp(-exact, -best)).astype(np.float32)
            return capped
        log_p = -np.logaddexp(0, -exact) - np.logaddexp(0, best)
        less: Vectors = (log_p - np.log1p(-np.exp(log_p))).astype(np.float32)
        return less

    def evidence_of(self, row: int) -> float | None:
        """Return the evidence of a row; None if it has none of the words."""
        place = self._place(row)
        return None if place is None else float(self.evidence[place])

    def is_counted(self, row: int) -> bool:
        """Return whether a row counts by its words."""
        place = self._place(row)
        return place is not None and bool(self.counted[place])

    def _place(self, row: int) -> int | None:
        place = int(np.searchsorted(self.rows, row))
        return place if place < len(self.rows) and self.rows[place] == row else None


def matched(
    rows: Rows,
    bm25: Vectors,
    coverage: Vectors,
    all_rows: Corpus,
    asked: AskedWords,
    are_whole: NDArray[np.bool_],
) -> Matches:
    """Return rows (k,) with their BM25 (k,) and coverage (k,), as they stand among all rows.

    `are_whole` (k,) marks those that have the query as it is written.
    """
    return Matches(
        rows,
        bm25,
        coverage,
        all_rows.behind[np.searchsorted(all_rows.coverages, coverage - ALIKE)],
        all_rows.among,
        all_rows.weights,
        all_rows.named,
        all_rows.top,
        asked.are_meant,
        not asked.tokens,
        all_rows.has_all and any(map(has_number, all_rows.weights)),
        are_whole,
        all_rows.best,
        asked=asked,
    )


def ranked(
    coverage: Vectors,
    files: Files,
    among: int,
    named: Named,
    sizes: Callable[[Files], Counts],
) -> tuple[Vectors, NDArray[np.float64]]:
    """Return `coverages` and `behind` of a Corpus, given the coverage (k,) and file (k,) of rows.

    `among` and `named` are as in a Corpus, and `sizes` returns how many rows files have.
    """
    counted = np.ones(len(coverage))
    some = np.flatnonzero(coverage > LEAST_COVERAGE)
    if 2 * len(some) <= among:
        by_name = np.concatenate([np.empty(0, np.int64), *named.values()])
        counted[some] = shares(files[some], coverage[some], by_name, sizes)
    order = np.argsort(coverage, kind="stable")
    return coverage[order], np.append(np.cumsum(counted[order][::-1])[::-1], 0.0)


def information(among: int, rows: int) -> float:
    """Return the information (idf), in nats, of a phrase that so many rows have among all."""
    return float(np.log1p((among - rows + 0.5) / (rows + 0.5)))


def deciding(counts: Mapping[Phrase, int], among: int) -> tuple[Phrase, ...]:
    """Return those of some phrases whose rows, so many among all, are likelier than not meant."""
    return tuple(
        each
        for each, count in counts.items()
        if count and ALL + ALL_ROWS * np.log(among) + ALL_EQUAL * np.log(count) > 0
    )


def whole_query(asked: AskedWords, weights: Mapping[Phrase, float]) -> Phrase:
    """Return the words of a query as they are written; none if some are frequent or in quotes."""
    is_rare = all((token,) in weights for token in asked.tokens)
    return asked.tokens if is_rare and not asked.phrases else ()
