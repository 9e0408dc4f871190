"""The rows of a large shared table that have a query's words, as its engine finds them.

The engine's index says which rows have a word. Scores come from the words of the best of these rows
alone, by the statistics of the whole table, and so they are those of a library of the same rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.words import Words
from qvsearch.published.sql import lists_of
from qvsearch.published.stored_words import COLUMNS, StoredWords
from qvsearch.retrieval.counted_files import ALIKE
from qvsearch.retrieval.lexical import have_signs, matches_among
from qvsearch.retrieval.named_files import Having, missing, named_files, possible_names
from qvsearch.retrieval.word_evidence import (
    FEW,
    LEAST_COVERAGE,
    Corpus,
    Matches,
    deciding,
    information,
    matched,
    ranked,
    whole_query,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from qvsearch.library.words import Forms
    from qvsearch.published.engine import Table
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.published.part import Part
    from qvsearch.published.word_counts import WordCounts
    from qvsearch.retrieval.asked_words import AskedWords, Phrase, Quote
    from qvsearch.retrieval.named_files import Named
    from qvsearch.types import Segment, Vectors

READ_ROWS = 2000  # rows whose words are read: as many as may count beside meaning
TOP_ROWS = 16  # rows of the highest BM25 by the engine, among which is the highest
LISTED = 20_000  # files that SQL lists; more are left out after the engine's search


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows that have a phrase: their numbers in the version (n,), and the engine's BM25 (n,)."""

    ids: NDArray[np.int64]
    scores: Vectors


@dataclass(frozen=True, slots=True)
class TableWords:
    """The rows of a table that have some of a query's words, and what all rows with words are.

    The rows of `matches` are numbers of the table's version. Of all but the best of them BM25 is an
    estimate.
    """

    table: Table
    asked: AskedWords
    matches: Matches
    corpus: Corpus

    def best(self, count: int, where: str | None) -> tuple[NDArray[np.int64], Vectors, float]:
        """Return rows (k,) of the highest evidence that count and pass, best first, with it (k,).

        The last value is the evidence of the next one, -inf without.
        """
        rows, evidence = self.matches.rows, self.matches.evidence
        some = np.flatnonzero(_counting(self.matches, self.asked))
        if where is not None and len(some):
            tokens = [token for phrase in self.matches.shown for token in phrase]
            passing = self.table.having(tokens, where=where)["_rowid"].to_numpy().astype(np.int64)
            some = some[np.isin(rows[some], passing)]
        order = some[np.argsort(-evidence[some], kind="stable")]
        following = float(evidence[order[count]]) if len(order) > count else -np.inf
        return rows[order[:count]], evidence[order[:count]], following

    def among(self, library: Part) -> Matches:
        """Return those of some rows of the table that have words of the query, given all theirs."""
        words = library.words.with_forms(self.asked.forms)
        return matches_among(words, library.items, self.corpus, self.asked)


def words_in_table(library: PublishedLibrary, asked: AskedWords) -> TableWords:
    """Return the rows of a table that have words of a query."""
    table, counts = library.table, library.word_counts
    among = counts.rows
    found = _rarer(table, asked, counts)
    weights = {phrase: information(among, len(each.ids)) for phrase, each in found.items()}
    ids = np.unique(np.concatenate([np.empty(0, np.int64), *(each.ids for each in found.values())]))
    coverage, bm25 = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
    for phrase, each in found.items():
        at = np.searchsorted(ids, each.ids)
        coverage[at] += weights[phrase]
        # the engine's idf may count rows that are deleted
        bm25[at] += weights[phrase] * each.scores / each.scores.max(initial=1e-9)
    having = _in_named(table, found, asked.forms)
    named = _named(library, having, weights)
    for phrase, more in missing(having, named).items():
        coverage[np.searchsorted(ids, more)] += weights[phrase]
    coverage /= np.float32(sum(weights.values()) or 1.0)
    mean, top = counts.tokens / max(1, among), float(bm25.max(initial=0.0))
    coverages, behind = ranked(coverage, _unknown(ids), among, {}, _sizes(table))
    corpus = Corpus(among, mean, weights, named, coverages, behind, top, has_all=True)
    rough = matched(ids, bm25, coverage, corpus, asked, np.zeros(len(ids), np.bool_))
    return _exact(table, asked, rough, corpus, _deciding(table, asked, found, among))


def _exact(
    table: Table,
    asked: AskedWords,
    rough: Matches,
    corpus: Corpus,
    decide: Mapping[Phrase, NDArray[np.int64]],
) -> TableWords:
    """Return rows with the true BM25 of those that may count, by their words.

    The rows of `decide` are as good as those with all words, if there are none of these.
    """
    if not len(rough.rows):
        return TableWords(table, asked, rough, corpus)
    decided = np.isin(rough.rows, np.concatenate([[-1], *decide.values()]))
    highest = replace(rough, bm25=np.full_like(rough.bm25, rough.top))
    some = np.flatnonzero(_counting(highest, asked) | (rough.coverage > LEAST_COVERAGE))
    if len(some) > READ_ROWS:
        some = some[np.argpartition(-rough.evidence[some], READ_ROWS)[:READ_ROWS]]
    top = np.argsort(-rough.bm25, kind="stable")[:TOP_ROWS]
    some = np.unique(np.concatenate([some, top, np.flatnonzero(decided)]))
    texts = table.by_ids(rough.rows[some], (*COLUMNS, "item"))
    words = Words([StoredWords(texts)], np.ones(len(some), np.bool_), asked.forms)
    files = _unknown(rough.rows)
    files[some] = texts["item"].to_numpy()
    read = matches_among(words, files[some], corpus, asked)
    bm25 = rough.bm25 * np.median(read.bm25 / np.maximum(rough.bm25[some[read.rows]], 1e-9))
    bm25[some[read.rows]] = read.bm25
    coverage = rough.coverage.copy()
    coverage[some[read.rows]] = read.coverage
    has_all = bool((coverage > 1 - ALIKE).any())
    if not has_all:
        coverage[decided] = 1
    whole = whole_query(asked, corpus.weights) if has_all else ()
    having = rough.rows if len(whole) == 1 else _rows_with(table, whole, asked.forms)
    if len(having) > FEW * corpus.among:
        whole = ()
    coverages, behind = ranked(coverage, files, corpus.among, corpus.named, _sizes(table))
    corpus = replace(
        corpus,
        coverages=coverages,
        behind=behind,
        top=float(bm25.max()),
        has_all=has_all,
        deciding=() if has_all else tuple(decide),
        whole=whole,
    )
    are_whole = np.isin(rough.rows, having) if whole else rough.are_whole
    exact = matched(rough.rows, bm25.astype(np.float32), coverage, corpus, asked, are_whole)
    corpus = replace(corpus, best=float(exact.evidence.max()))
    return TableWords(table, asked, exact, corpus)


def _unknown(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number of its own for the file of each row (k,)."""
    return -2 - np.arange(len(rows))


def _sizes(table: Table) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    """Return what tells how many rows files of a table, ascending, have."""

    def sizes(files: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = table.by_items(files.tolist(), ["item"])["item"].to_numpy()
        return np.bincount(np.searchsorted(files, rows), minlength=len(files))

    return sizes


def _in_named(table: Table, found: Mapping[Phrase, Scored], forms: Forms) -> dict[Phrase, Having]:
    """Return the rows with phrases of files whose first rows, where names are, have a rare one."""
    names = possible_names({phrase: len(each.ids) for phrase, each in found.items()})
    having, firsts = {}, [np.empty(0, np.int64)]
    for phrase in names:
        rows = table.by_ids(found[phrase].ids, ["item", "ordinal"])
        having[phrase] = Having(found[phrase].ids, rows["item"].to_numpy())
        firsts.append(having[phrase].files[rows["ordinal"].to_numpy() == 0])
    files = np.unique(np.concatenate(firsts))
    where = f"({' OR '.join(lists_of('item', map(str, files.tolist())))})"
    for phrase in found.keys() - having.keys() if len(files) else ():
        written = (phrase, *forms.get(phrase, ()))
        rows = [table.having(each, ["item"], where, is_phrase=len(each) > 1) for each in written]
        numbers = [[part[name].to_numpy() for part in rows] for name in ("_rowid", "item")]
        having[phrase] = Having(*(np.concatenate(each).astype(np.int64) for each in numbers))
    return {phrase: each.within(files) for phrase, each in having.items()}


def _named(
    library: PublishedLibrary, having: Mapping[Phrase, Having], weights: Mapping[Phrase, float]
) -> Named:
    """Return the files whose names have phrases that some of their rows lack."""

    def segments_of(rows: NDArray[np.int64]) -> list[Segment]:
        return library.segments_of(library.table.by_ids(rows, ("line", "root", "path")))

    least = LEAST_COVERAGE * sum(weights.values())
    return named_files(having, weights, least, segments_of) if having else {}


def _deciding(
    table: Table, asked: AskedWords, found: Mapping[Phrase, Scored], among: int
) -> dict[Phrase, NDArray[np.int64]]:
    """Return the rows of each phrase that decides a query; those of `found` are known."""
    rows = {
        each: found[each].ids if each in found else _rows_with(table, each, asked.forms)
        for each in asked.deciding
    }
    return {each: rows[each] for each in deciding({k: len(v) for k, v in rows.items()}, among)}


def _rows_with(table: Table, phrase: Phrase, forms: Forms) -> NDArray[np.int64]:
    """Return the rows that have a phrase, none for an empty one."""
    return _having(table, phrase, forms).ids if phrase else np.empty(0, np.int64)


def _having(table: Table, phrase: Phrase, forms: Forms, most: int | None = None) -> Scored:
    """Return rows that have a phrase or another form of it; at most `most` of each."""
    ids, scores = [], []
    for each in (phrase, *forms.get(phrase, ())):
        rows = table.having(each, is_phrase=len(each) > 1, most=most)
        ids.append(rows["_rowid"].to_numpy().astype(np.int64))
        scores.append(rows["_score"].to_numpy().astype(np.float32))
    found, first = np.unique(np.concatenate(ids), return_index=True)
    return Scored(found, np.concatenate(scores)[first])


def _counting(found: Matches, asked: AskedWords) -> NDArray[np.bool_]:
    """Return which rows (k,) count: all of them if only words do."""
    return np.ones(len(found.rows), np.bool_) if asked.alone else found.counted


def _rarer(table: Table, asked: AskedWords, counts: WordCounts) -> dict[Phrase, Scored]:
    """Return rows with phrases, without those of more than half of all rows if others are rarer."""

    def find(phrases: Sequence[Phrase], most: int | None) -> dict[Phrase, Scored]:
        with ThreadPoolExecutor() as pool:  # the engine waits for its storage
            rows = pool.map(lambda each: _having(table, each, asked.forms, most), phrases)
            return dict(zip(phrases, rows, strict=True))

    half, phrases = counts.rows // 2, asked.sought
    some = [each for each in phrases if len(each) > 1 or each[0] not in counts.frequent]
    rarer = {phrase: each for phrase, each in find(some, half + 1).items() if len(each.ids) <= half}
    return rarer or find(phrases, None)


@dataclass(frozen=True, slots=True)
class Narrowed:
    """The files (n,) of a table that have all phrases, None for all, and those that are barred."""

    allowed: NDArray[np.int64] | None
    barred: NDArray[np.int64]

    def where(self, where: str | None) -> str | None:
        """Return an SQL filter that also has the files, unless these are too many to be listed."""
        parts = [] if where is None else [f"({where})"]
        if self.allowed is not None and len(self.allowed) <= LISTED:
            listed = list(lists_of("item", map(str, self.allowed.tolist())))
            parts.append(f"({' OR '.join(listed) or 'false'})")
        if 0 < len(self.barred) <= LISTED:
            listed = list(lists_of("item", map(str, self.barred.tolist())))
            parts.append(f"NOT ({' OR '.join(listed)})")
        return " AND ".join(parts) or None

    def passes(self, items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which files (k,) are among them."""
        mask: NDArray[np.bool_] = ~np.isin(items, self.barred)
        return mask if self.allowed is None else mask & np.isin(items, self.allowed)


def narrowed(library: PublishedLibrary, asked: AskedWords) -> Narrowed:
    """Return the files that have all quotes of a query, and none of those that are lacking."""
    allowed: NDArray[np.int64] | None = None
    for quote in asked.quotes:
        found = _files_with(library, quote)
        allowed = found if allowed is None else np.intersect1d(allowed, found)
    barred = [_files_with(library, each) for each in asked.lacking]
    return Narrowed(allowed, np.unique(np.concatenate([np.empty(0, np.int64), *barred])))


def _files_with(library: PublishedLibrary, quote: Quote) -> NDArray[np.int64]:
    """Return the files that have a quote; the texts of those with its words are read."""
    rows = library.table.having(quote.phrase, ["item"], is_phrase=len(quote.phrase) > 1)
    if quote.pattern is None:
        return np.unique(rows["item"].to_numpy())
    rows = rows.sort_by("_rowid")
    ids, items = rows["_rowid"].to_numpy().astype(np.int64), rows["item"].to_numpy()
    files = [np.empty(0, np.int64)]
    for start in range(0, len(ids), READ_ROWS):
        part = slice(start, start + READ_ROWS)
        texts = library.table.by_ids(ids[part], ("line", "root", "path", "words"))
        segments = zip(library.segments_of(texts), texts["words"].to_pylist(), strict=True)
        have = have_signs(quote.pattern, (replace(each, words=text) for each, text in segments))
        files.append(items[part][have])
    return np.unique(np.concatenate(files))
