"""The words of a query in a ranking: evidence beside meaning, and which files may be hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.names import is_table
from qvsearch.published.opening import is_published
from qvsearch.retrieval.lexical import matches, postings_of
from qvsearch.retrieval.scoring import Ranking, ScoredTerm, combine_terms, with_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.asked_words import AskedWords, Phrase
    from qvsearch.retrieval.lexical import Matches
    from qvsearch.retrieval.scoring import EmbeddedTerm
    from qvsearch.types import Vectors

MOST = 2000  # rows of a large library that are scored because of their words


def has_words(library: Library, asked: AskedWords) -> bool:
    """Return whether rows are found by words; false for a shared table of an older version.

    Raises QvsearchError for such a table if the query depends on them.
    """
    if not is_published(library) or library.has_words:
        return True
    if asked.phrases or asked.lacking or asked.alone:
        raise QvsearchError(
            f"the shared table {library.folder} has no index of words yet; publish a library into"
            " it once more, or leave out quotes, --without and --words-only"
        )
    return False


def allowed_by_words(library: Library, asked: AskedWords) -> NDArray[np.bool_] | None:
    """Return the mask (size,) of rows whose files have all phrases and nothing that is lacking.

    None if all rows pass. Raises QvsearchError as `has_words` does.
    """
    if not (asked.phrases or asked.lacking) or not has_words(library, asked):
        return None
    words, items = library.words, library.columns.items
    mask = np.ones(library.size, np.bool_)
    for phrase in asked.phrases:
        mask &= np.isin(items, items[postings_of(words, phrase)[0]])
    for phrase in asked.lacking:
        mask &= ~np.isin(items, items[postings_of(words, phrase)[0]])
    return mask


def hidden_by_words(library: Library, asked: AskedWords, rows: Sequence[int]) -> list[str]:
    """Return why a file, given its rows, is hidden by the phrases of a query."""
    if not (asked.phrases or asked.lacking):
        return []
    words = library.words

    def has(phrase: Phrase) -> bool:
        return bool(np.isin(postings_of(words, phrase)[0], rows).any())

    def why(phrase: Phrase) -> str:
        if np.isin(rows, np.concatenate([[-1], *library.without_words()])).all():
            command = "publish" if is_table(library.folder) else "index"
            return f"its words are not stored yet; `qvsearch {command}` adds them"
        if len(phrase) > 1 and all(has((each,)) for each in phrase):
            return "the file has these words, but not one after another"
        return "the file lacks it"

    missing = (
        f'"{" ".join(each)}" in quotes: {why(each)}' for each in asked.phrases if not has(each)
    )
    there = (f"--without {' '.join(each)}: the file has it" for each in asked.lacking if has(each))
    return [*missing, *there]


def words_in(library: Library, found: Matches, row: int) -> tuple[str, ...]:
    """Return the words of a query that a row or its file's name has, the rarest first."""
    ordered = sorted(found.weights, key=lambda each: -found.weights[each])
    file = library.columns.items[row]

    def has(phrase: Phrase) -> bool:
        return row in postings_of(library.words, phrase)[0] or file in found.named.get(phrase, ())

    return tuple(" ".join(each) for each in ordered if has(each))


def matches_in(library: Library, asked: AskedWords) -> Matches:
    """Return the rows of a library that have some of the words."""
    return matches(library.words, library.columns.items, library.segments, asked)


def rank_by_words(library: Library, term: EmbeddedTerm) -> Ranking:
    """Rank rows by their words alone; raises QvsearchError as `has_words` does."""
    has_words(library, term.term.asked)
    return ranked_by(library, term, matches_in(library, term.term.asked))


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
    asked = ranking.terms[0].term.asked
    if not asked.sought or not has_words(library, asked):
        return ranking
    return with_matches(library, ranking, matches_in(library, asked), mask)


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
