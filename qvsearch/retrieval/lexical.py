"""The rows that have the words of a query, with their BM25."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.tokens import tokens, with_signs
from qvsearch.library.words import searchable
from qvsearch.library.words_file import PAGES
from qvsearch.paged_text import page_texts
from qvsearch.retrieval.counted_files import ALIKE
from qvsearch.retrieval.named_files import Having, are_among, missing, named_files, possible_names
from qvsearch.retrieval.word_evidence import (
    FEW,
    LEAST_COVERAGE,
    Corpus,
    deciding,
    information,
    matched,
    ranked,
    whole_query,
)

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from qvsearch.library.words import Words
    from qvsearch.retrieval.asked_words import AskedWords, Phrase
    from qvsearch.retrieval.named_files import Named
    from qvsearch.retrieval.word_evidence import Matches
    from qvsearch.types import Segment, Vectors

    Rows = NDArray[np.int64]
    Counts = NDArray[np.int64]
    Files = NDArray[np.int64]  # by number
    _Postings = dict[Phrase, tuple[Rows, Counts]]

K1, B = 1.2, 0.75  # Robertson and Zaragoza 2009
MOST_PAGED = 50  # rows of long documents whose pages are compared


def matches(
    words: Words, files: Files, segments: Mapping[int, Segment], asked: AskedWords
) -> Matches:
    """Return the rows of a library that have some of the words.

    `files` (size,) are the numbers of the rows' files, and `segments` those of rows.
    """
    numbered, counts = words.lengths()
    among = len(numbered)
    found = _rarer(words, asked.sought, among)
    weights = {phrase: information(among, len(rows)) for phrase, (rows, _) in found.items()}
    mean = float(counts.mean()) if len(counts) else 1.0
    named = _named(found, files, segments, weights)
    rows, bm25, coverage = _summed(words, files, found, named, weights, mean)
    top, has_all = float(bm25.max(initial=0.0)), bool((coverage > 1 - ALIKE).any())
    decide: tuple[Phrase, ...] = ()
    if not has_all:
        some = {each: found.get(each) or postings_of(words, each) for each in asked.deciding}
        decide = deciding({each: len(some[each][0]) for each in some}, among)
        coverage = _decided(words, decide, rows, coverage)
    whole = whole_query(asked, weights) if has_all else ()
    having = postings_of(words, whole)[0] if len(whole) > 1 else rows
    if len(having) > FEW * among:
        whole = ()
    are_whole = np.isin(rows, having) if whole else np.zeros(len(rows), np.bool_)
    coverages, behind = ranked(
        coverage, files[rows], among, named, lambda some: _sizes(files, some)
    )
    all_rows = Corpus(among, mean, weights, named, coverages, behind, top, has_all, decide, whole)
    return matched(rows, bm25, coverage, all_rows, asked, are_whole)


def matches_among(words: Words, files: Files, all_rows: Corpus, asked: AskedWords) -> Matches:
    """Return those of some rows that have some of the words, as they stand among all rows.

    `files` (size,) are the numbers of the rows' files.
    """
    found = {phrase: postings_of(words, phrase) for phrase in all_rows.weights}
    rows, bm25, coverage = _summed(
        words, files, found, all_rows.named, all_rows.weights, all_rows.mean
    )
    coverage = _decided(words, all_rows.deciding, rows, coverage)
    are_whole = _are_whole(words, all_rows.whole, rows)
    return matched(rows, bm25, coverage, all_rows, asked, are_whole)


def _named(
    found: _Postings,
    files: Files,
    segments: Mapping[int, Segment],
    weights: Mapping[Phrase, float],
) -> Named:
    """Return the files whose names have phrases that some of their rows lack."""
    names = possible_names({phrase: len(rows) for phrase, (rows, _) in found.items()})
    if not names:
        return {}
    some = np.unique(np.concatenate([files[found[each][0]] for each in names]))
    having = {phrase: Having(rows, files[rows]).within(some) for phrase, (rows, _) in found.items()}
    least = LEAST_COVERAGE * sum(weights.values())
    return named_files(
        having, weights, least, lambda rows: map(segments.__getitem__, rows.tolist())
    )


def _sizes(files: Files, some: Files) -> Counts:
    """Return how many rows some files, ascending, have."""
    places = np.searchsorted(some, files[are_among(files, some)])
    return np.bincount(places, minlength=len(some))


def _are_whole(words: Words, whole: Phrase, rows: Rows) -> NDArray[np.bool_]:
    """Return which rows (k,) have these words one after another."""
    return np.isin(rows, postings_of(words, whole)[0]) if whole else np.zeros(len(rows), np.bool_)


def _summed(
    words: Words,
    files: Files,
    found: _Postings,
    named: Named,
    weights: Mapping[Phrase, float],
    mean: float,
) -> tuple[Rows, Vectors, Vectors]:
    """Return the rows (k,) with some phrases, their BM25 (k,) and their coverage (k,).

    `mean` is the mean number of tokens of all rows.
    """
    numbered, counts = words.lengths()
    size = int(numbered.max(initial=-1)) + 1
    lengths = np.zeros(size, np.float32)
    lengths[numbered] = counts
    norm = K1 * (1 - B + B * lengths / max(1.0, mean))
    score, has = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for phrase, (rows, often) in _with_named(files, found, named).items():
        score[rows] += weights[phrase] * often * (K1 + 1) / (often + norm[rows])
        has[rows] += weights[phrase]
    _within_pages(words, files, found, named, weights, has)
    rows = np.flatnonzero(has)
    return rows, score[rows], has[rows] / np.float32(sum(weights.values()) or 1.0)


def _with_named(files: Files, found: _Postings, named: Named) -> _Postings:
    """Return postings in which rows with any phrase also have those of their files' names, once."""
    having = {phrase: Having(rows, files[rows]) for phrase, (rows, _) in found.items()}
    added = dict(found)
    for phrase, more in missing(having, named).items():
        rows, often = found[phrase]
        added[phrase] = np.concatenate([rows, more]), np.concatenate([often, np.ones_like(more)])
    return added


def _decided(words: Words, decide: Sequence[Phrase], rows: Rows, coverage: Vectors) -> Vectors:
    """Return the coverage (k,) of rows; those with a phrase that decides have everything."""
    if not decide:
        return coverage
    decided = np.concatenate([postings_of(words, each)[0] for each in decide])
    whole: Vectors = np.where(np.isin(rows, decided), np.float32(1), coverage)
    return whole


def _within_pages(
    words: Words,
    files: Files,
    found: _Postings,
    named: Named,
    weights: Mapping[Phrase, float],
    has: Vectors,
) -> None:
    """Lower what rows of long documents have (size,) to the most that one of their pages has.

    What is on no page, such as the file's name, counts on each. Rows with less than LEAST_COVERAGE
    answer no query; of more than MOST_PAGED, those with most are compared.
    """
    total = sum(weights.values())
    rows = words.read_by(PAGES)
    rows = rows[has[rows] > LEAST_COVERAGE * total] if len(found) > 1 else rows[:0]
    written = {each: [f" {' '.join(way)} " for way in words.ways(each)] for each in found}
    for row in rows[np.argsort(-has[rows], kind="stable")[:MOST_PAGED]].tolist():
        pages = [f" {' '.join(tokens(text))} " for _, text in page_texts(words.text(row) or "", 0)]
        names = {each for each, numbers in named.items() if files[row] in numbers}
        here = [
            names | {each for each in found if any(map(page.__contains__, written[each]))}
            for page in pages
        ]
        shown = {each for page in here for each in page}
        most = max(sum(weights[each] for each in page) for page in here)
        has[row] += most - sum(weights[each] for each in shown)


def postings_of(words: Words, phrase: Phrase) -> tuple[Rows, Counts]:
    """Return the rows that have a phrase, and how often each has it, or 1 for several words."""
    if len(phrase) == 1:
        return words.postings(phrase[0])
    rows = words.phrase(phrase)
    return rows, np.ones_like(rows)


def have_signs(pattern: re.Pattern[str], segments: Iterable[Segment]) -> NDArray[np.bool_]:
    """Return which rows (n,), given their segments with their texts, have a quote's pattern."""
    texts = map(with_signs, searchable(segments))
    return np.array([pattern.search(text) is not None for text in texts], np.bool_)


def _rarer(words: Words, phrases: Sequence[Phrase], size: int) -> _Postings:
    """Return postings without those of more than half of all rows, if others are rarer."""
    some = (each for each in phrases if len(each) > 1 or 2 * words.at_least(each[0]) <= size)
    found = {each: postings_of(words, each) for each in some}
    rarer = {phrase: each for phrase, each in found.items() if 2 * len(each[0]) <= size}
    return rarer or {each: found.get(each) or postings_of(words, each) for each in phrases}
