"""The words of a query in a ranking: evidence beside meaning, and which files may be hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qvsearch.library.names import is_table
from qvsearch.retrieval.joined_words import has_words, matches_in
from qvsearch.retrieval.lexical import have_signs, postings_of
from qvsearch.retrieval.scoring import Ranking, ScoredTerm, combine_terms, with_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.library.words import Rows
    from qvsearch.retrieval.asked_words import AskedWords, Phrase, Quote
    from qvsearch.retrieval.query import Term
    from qvsearch.retrieval.scoring import EmbeddedTerm
    from qvsearch.retrieval.word_evidence import Matches
    from qvsearch.types import Vectors

MOST = 2000  # rows of a large library that are scored because of their words


def allowed_by_words(library: Library, asked: AskedWords) -> NDArray[np.bool_] | None:
    """Return the mask (size,) of rows whose files have all quotes and nothing that is lacking.

    None if all rows pass. Raises QvsearchError as `has_words` does.
    """
    if not (asked.quotes or asked.lacking) or not has_words(library, asked):
        return None
    items = library.columns.items
    mask = np.ones(library.size, np.bool_)
    found = []
    for quote in sorted(asked.quotes, key=lambda each: each.pattern is not None):  # texts last
        found.append(_rows_with(library, quote, mask))
        mask &= np.isin(items, items[found[-1].rows])
    for quote in asked.lacking:
        mask &= ~np.isin(items, items[_rows_with(library, quote, mask).rows])
    return mask & _written(library, found)


class _Quoted(NamedTuple):
    """The rows that have a quote, and others that have its words with other signs."""

    rows: Rows
    others: Rows


def _rows_with(library: Library, quote: Quote, mask: NDArray[np.bool_]) -> _Quoted:
    """Return the rows of a mask that have a quote; the texts of those with its words are read."""
    rows = np.sort(postings_of(library.words, quote.phrase)[0])
    rows = rows[mask[rows]]
    if quote.pattern is None:
        return _Quoted(rows, rows[:0])
    words, numbers = library.words, rows.tolist()
    segments = zip(library.segments.stream(numbers), map(words.text, numbers), strict=True)
    have = have_signs(quote.pattern, (replace(each, words=text) for each, text in segments))
    return _Quoted(rows[have], rows[~have])


def _written(library: Library, found: Sequence[_Quoted]) -> NDArray[np.bool_]:
    """Return the mask (size,) without rows that have the words of quotes, but no quote."""
    mask = np.ones(library.size, np.bool_)
    for _, others in found:
        mask[others] = False
    for rows, _ in found:
        mask[rows] = True
    return mask


def written_rows(library: Library, asked: AskedWords) -> NDArray[np.bool_]:
    """Return the mask (size,) without rows that have the words of quotes, but no quote."""
    every = np.ones(library.size, np.bool_)
    if all(each.pattern is None for each in asked.quotes):
        return every
    return _written(library, [_rows_with(library, each, every) for each in asked.quotes])


def hidden_by_words(library: Library, asked: AskedWords, rows: Sequence[int]) -> list[str]:
    """Return why a file, given its rows, is hidden by the quotes of a query."""
    if not (asked.quotes or asked.lacking):
        return []
    own = np.zeros(library.size, np.bool_)
    own[list(rows)] = True

    def has(phrase: Phrase) -> bool:
        return bool(own[postings_of(library.words, phrase)[0]].any())

    def why(quote: Quote) -> str:
        if np.isin(rows, np.concatenate([[-1], *library.without_words()])).all():
            command = "publish" if is_table(library.folder) else "index"
            return f"its words are not stored yet; `qvsearch {command}` adds them"
        if has(quote.phrase):
            return "the file has these words, but with other signs"
        if len(quote.phrase) > 1 and all(has((each,)) for each in quote.phrase):
            return "the file has these words, but not one after another"
        return "the file lacks it"

    def is_there(quote: Quote) -> bool:
        return bool(len(_rows_with(library, quote, own).rows))

    missing = (
        f'"{each.text}" in quotes: {why(each)}' for each in asked.quotes if not is_there(each)
    )
    there = (f"--without {each.text}: the file has it" for each in asked.lacking if is_there(each))
    return [*missing, *there]


def words_in(library: Library, found: Matches, row: int) -> tuple[str, ...]:
    """Return the words of a query that a row or its file's name has, the rarest first."""
    words, file = library.words.with_forms(found.asked.forms), library.columns.items[row]
    ordered = sorted(found.weights, key=lambda each: -found.weights[each])

    def has(phrase: Phrase) -> bool:
        return row in postings_of(words, phrase)[0] or file in found.named.get(phrase, ())

    return tuple(" ".join(each) for each in ordered if has(each))


def matches_of(library: Library, term: Term) -> Matches:
    """Return the rows of a library that have some words of a term, among all that are searched."""
    if term.among is None:
        return matches_in(library, term.asked)
    return term.among.matches_in(library, term.asked)


def rank_by_words(library: Library, term: EmbeddedTerm) -> Ranking:
    """Rank rows by their words alone; raises QvsearchError as `has_words` does."""
    has_words(library, term.term.asked)
    return ranked_by(library, term, matches_of(library, term.term))


def ranked_by(library: Library, term: EmbeddedTerm, found: Matches) -> Ranking:
    """Rank rows with words; others have no evidence, and no row has a score."""
    evidence = np.full(library.size, -np.inf, np.float32)
    evidence[found.rows] = found.evidence
    scores = np.full(library.size, np.nan, np.float32)
    scored = ScoredTerm(term.term, term.vectors, scores, evidence, {}, found)
    return Ranking(evidence, scores, (scored,))


def with_words(
    library: Library, ranking: Ranking, mask: NDArray[np.bool_] | None = None
) -> Ranking:
    """Return a ranking in which rows of the mask answer by the query's words, too."""
    term = ranking.terms[0].term
    if not term.asked.sought or not has_words(library, term.asked):
        return ranking
    return with_matches(library, ranking, matches_of(library, term), mask)


def with_matches(
    library: Library, ranking: Ranking, found: Matches, mask: NDArray[np.bool_] | None = None
) -> Ranking:
    """Return a ranking in which rows of the mask answer by the words that they have, too.

    Only the best MOST of the rows that count by their words do.
    """
    by_words = found.evidence
    some = np.flatnonzero(found.counted)
    if mask is not None:
        some = some[mask[found.rows[some]]]
    if len(some) > MOST:
        some = np.sort(some[np.argpartition(-by_words[some], MOST)[:MOST]])
    rows = found.rows[some]
    ranking = with_rows(library, ranking, rows)
    first, *others = ranking.terms
    evidence = found.lessened(first.evidence)
    if len(some):
        evidence = evidence.copy()
        evidence[rows] = either(evidence[rows], by_words[some])
    changed = replace(first, evidence=evidence, matches=found)
    return combine_terms([changed, *others], ranking.bounds)


def either(meaning: Vectors, words: Vectors) -> Vectors:
    """Return the evidence (n,) that a row answers by its meaning or by its words.

    P = 1 - (1 - P(meaning)) * (1 - P(words)), as if independent.
    """
    log_odds_not = np.logaddexp(0, meaning.astype(np.float64)) + np.logaddexp(0, words)
    evidence: Vectors = np.log(np.expm1(log_odds_not)).astype(np.float32)
    return evidence
