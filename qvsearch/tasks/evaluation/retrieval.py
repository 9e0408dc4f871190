"""Measures how well queries find their documents."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.indexing.batching import Embedded as EmbeddedFile
from qvsearch.indexing.batching import embed_files
from qvsearch.media.workers import Decoders
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.retrieval.query import read_item
from qvsearch.retrieval.reranking import joined
from qvsearch.tasks.evaluation.embedded_sets import Embedded, embed_all, embed_entries
from qvsearch.tasks.evaluation.metrics import mean_estimates, ranking_values
from qvsearch.tasks.evaluation.nearest import VectorFile, nearest
from qvsearch.tasks.evaluation.results import (
    Cost,
    EvaluateOptions,
    Result,
    Setting,
    grouped,
    row_size,
    settings,
)
from qvsearch.tasks.evaluation.sets import Entry, RetrievalSet
from qvsearch.tasks.extras import needed
from qvsearch.tasks.inputs import decode_options_of, first_reason, read_inputs
from qvsearch.types import EmbedInput, Kind, Skipped, kind_of

if TYPE_CHECKING:
    from qvsearch.tasks.evaluation.metrics import Numbers
    from qvsearch.tasks.inputs import TaskInput
    from qvsearch.types import DecodeOptions, Embedder, Reranker, Segment


def evaluate_retrieval(
    found: RetrievalSet, embedder: Embedder, options: EvaluateOptions
) -> Iterator[Result | Skipped]:
    """Yield the measures of queries, by setting; see `evaluate`."""
    needed("ir_measures", "ir-measures", "qvsearch evaluate")
    if not found.queries:
        raise QvsearchError(f"{found.name} has no query with a relevant document")
    if found.windows is not None and options.reranker is not None:
        raise QvsearchError("--rerank does not score moments of videos; leave it out")
    with VectorFile(embedder.dim) as file:
        documents = _Documents(file)
        if _embed_documents(found, documents, embedder, options):
            yield from documents.skipped
            yield from _results(found, documents, embedder, options)


def _results(
    found: RetrievalSet, documents: _Documents, embedder: Embedder, options: EvaluateOptions
) -> Iterator[Result | Skipped]:
    reranker = None if options.reranker is None else options.reranker()
    for number, (task, instruction) in enumerate(options.instructions.items()):
        own = instruction or QUERY_INSTRUCTION
        queries = embed_all(found.queries, own, embedder, options, "queries")
        if queries is None:
            return
        if not number:  # a bad query is bad with each instruction
            yield from queries.skipped
        measured = _Measured(found, documents, queries)
        if reranker is not None:
            measured.reranking = _Reranking(
                reranker, found, documents, own, options, decode_options_of(embedder)
            )
        for setting in settings(embedder, options, task):
            yield from measured.results(setting)
            if options.stop():
                return


@dataclass(slots=True)
class _Documents:
    """The names of embedded documents and their vectors, row i for name i."""

    file: VectorFile
    names: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    queries: set[str] = field(default_factory=set)  # that are documents of the same id
    moments: list[tuple[str, float]] = field(default_factory=list)  # a video, and a middle
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0  # of a document


def _embed_documents(
    found: RetrievalSet, documents: _Documents, embedder: Embedder, options: EvaluateOptions
) -> bool:
    """Embed all documents; return whether it was not interrupted."""
    count = sum(1 for _ in found.documents)
    started = time.monotonic()
    done = (
        _embed_whole(found, documents, embedder, options, count)
        if found.windows is None
        else _embed_moments(found, documents, embedder, options, count)
    )
    documents.seconds = (time.monotonic() - started) / max(1, done)
    if done == count and not documents.names:
        reason = first_reason(documents.skipped)
        raise QvsearchError(f"no document of {found.name} could be embedded{reason}")
    return done == count


def _embed_whole(
    found: RetrievalSet,
    documents: _Documents,
    embedder: Embedder,
    options: EvaluateOptions,
    count: int,
) -> int:
    """Embed each document as one input; return how many were tried."""
    tried = 0
    outcomes = embed_entries(found.documents, None, embedder, options, "documents", count)
    queries = {each.name: each.source for each in found.queries}
    entries = iter(found.documents)  # read once more: there may be too many for the memory
    for outcome in outcomes:
        tried += 1
        entry = next(entries)
        if isinstance(outcome, Skipped):
            documents.skipped.append(outcome)
        elif isinstance(entry, Entry):  # a Skipped entry has no vector
            documents.file.add(outcome)
            documents.names.append(entry.name)
            documents.kinds[entry.name] = entry.kind or kind_of_input(entry.source)
            query = queries.get(entry.name)
            if query is not None and _is_query(entry.source, query):
                documents.queries.add(entry.name)
    return tried


def _embed_moments(
    found: RetrievalSet,
    documents: _Documents,
    embedder: Embedder,
    options: EvaluateOptions,
    count: int,
) -> int:
    """Embed the moments of each video as `index` cuts them; return how many videos were tried."""
    entries: dict[bytes, Entry] = {}
    jobs, tried = [], 0
    for entry in found.documents:
        try:
            if isinstance(entry, Skipped) or entry.source.video is None:
                raise QvsearchError("it is not a video")
            jobs.append(read_item(entry.source.video))
            entries[entry.source.video] = entry
        except QvsearchError as error:
            name = entry.path if isinstance(entry, Skipped) else entry.source.name
            documents.skipped.append(Skipped(name, str(error)))
            tried += 1
    with Decoders() as decoders:
        decoded = decoders.decode(jobs, decode_options_of(embedder))
        for outcome in embed_files(decoded, lambda: embedder, options.stop):
            tried += 1
            options.progress(f"videos {tried:,} of {count:,}")
            if not isinstance(outcome, EmbeddedFile):
                documents.skipped.append(outcome)
                continue
            video = entries[outcome.item.location].name
            for segment, vector in zip(outcome.segments, outcome.vectors, strict=True):
                middle = _middle(segment)
                documents.file.add(vector)
                documents.names.append(f"{video} {middle:.3f}")
                documents.moments.append((video, middle))
    return tried


def _middle(segment: Segment) -> float:
    return ((segment.start or 0.0) + (segment.end or 0.0)) / 2


def _is_query(document: TaskInput, query: TaskInput) -> bool:
    """Return whether a document is a query, perhaps after a title."""
    same_text = (document.text or "").endswith(query.text or "")
    return document.files == query.files and same_text


def kind_of_input(source: TaskInput) -> str:
    """Return the kind of an input by its files."""
    if source.video is not None:
        return Kind.VIDEO.value
    if source.images:
        return (kind_of(source.images[0]) or Kind.IMAGE).value
    return Kind.TEXT.value


class _Measured:
    """The measures of embedded queries and documents, by setting."""

    def __init__(self, found: RetrievalSet, documents: _Documents, queries: Embedded) -> None:
        self._found, self._documents, self._queries = found, documents, queries
        if not queries.rows.size:
            reason = first_reason(queries.skipped)
            raise QvsearchError(f"no query of {found.name} could be embedded{reason}")
        self._entries = [self._with_kind(found.queries[row]) for row in queries.rows]
        self._relevant = [self._grades(entry) for entry in self._entries]
        self.reranking: _Reranking | None = None

    def results(self, setting: Setting) -> Iterator[Result]:
        """Yield the result of a setting, and the reranked one."""
        rows = self._documents.file.rows()
        found = nearest(self._queries.vectors, rows, setting.dim, setting.store)
        yield self._result(setting, found, None)
        if self.reranking is not None:
            again = self.reranking.reordered(self._entries, found)
            if again is not None:
                yield self._result(replace(setting, reranked=True), again, self.reranking.seconds)

    def _result(self, setting: Setting, found: Numbers, seconds: float | None) -> Result:
        rankings = [
            self._names(query.name, grades, ranking)
            for query, grades, ranking in zip(
                self._entries, self._relevant, found.tolist(), strict=True
            )
        ]
        values = ranking_values(rankings, self._relevant)
        return Result(
            self._found.name,
            setting,
            queries=len(self._entries),
            documents=len(self._documents.names),
            metrics=mean_estimates(values),
            cost=Cost(self._documents.seconds, self._queries.seconds, seconds, row_size(setting)),
            groups=grouped(
                self._entries,
                lambda some: mean_estimates({name: each[some] for name, each in values.items()}),
            ),
            unjudged=self._found.unjudged,
        )

    def _names(self, query: str, grades: Mapping[str, int], ranking: Sequence[int]) -> list[str]:
        """Return the names of documents, without the query itself unless it is relevant."""
        itself = query if query in self._documents.queries and query not in grades else None
        names = self._documents.names
        return [names[row] for row in ranking if names[row] != itself]

    def _grades(self, query: Entry) -> Mapping[str, int]:
        """Return the grades of a query's documents; a moment has the grade 1."""
        if self._found.windows is None:
            return self._found.relevant[query.name]
        windows = self._found.windows[query.name]
        grades = {}
        for name, (video, middle) in zip(
            self._documents.names, self._documents.moments, strict=True
        ):
            if any(start <= middle < end for start, end in windows.get(video, ())):
                grades[name] = 1
        return grades or {"a moment that was not embedded": 1}

    def _with_kind(self, query: Entry) -> Entry:
        """Return a query of which `kind` is its column's, or the kind of its documents."""
        if query.kind is not None or self._found.windows is not None:
            return query
        known = self._documents.kinds
        kinds = {known[name] for name in self._found.relevant[query.name] if name in known}
        return replace(query, kind=kinds.pop() if len(kinds) == 1 else None)


class _Reranking:
    """Reorders the first documents of queries by P(yes) of the reranker alone.

    Each pair is scored once, whatever the setting that found it.
    """

    def __init__(
        self,
        reranker: Reranker,
        found: RetrievalSet,
        documents: _Documents,
        instruction: str,
        options: EvaluateOptions,
        decoding: DecodeOptions,
    ) -> None:
        self._reranker, self._found, self._documents = reranker, found, documents
        self._instruction, self._options, self._decoding = instruction, options, decoding
        self._scores: dict[tuple[str, int], float] = {}
        self.seconds = 0.0  # of a query

    def reordered(self, queries: Sequence[Entry], rankings: Numbers) -> Numbers | None:
        """Return the rankings (q, n) with their first documents by falling score.

        Returns None after an interruption.
        """
        started = time.monotonic()
        top = rankings[:, : self._options.rerank_top]
        wanted = [
            [row for row in first if (query.name, row) not in self._scores]
            for query, first in zip(queries, top.tolist(), strict=True)
        ]
        self._score(queries, wanted)
        if self._options.stop():
            return None
        if not self.seconds:  # later settings find mostly pairs with a score
            self.seconds = (time.monotonic() - started) / len(queries)
        again = rankings.copy()
        for place, (query, first) in enumerate(zip(queries, top.tolist(), strict=True)):
            scores = np.array([self._scores.get((query.name, row), -1.0) for row in first])
            again[place, : len(first)] = top[place][np.argsort(-scores, kind="stable")]
        return again

    def _score(self, queries: Sequence[Entry], wanted: Sequence[Sequence[int]]) -> None:
        """Score the pairs of each query with rows of documents."""
        sources = self._sources({row for rows in wanted for row in rows})
        chain = (
            source
            for query, rows in zip(queries, wanted, strict=True)
            if rows
            for source in (query.source, *(sources[row] for row in rows))
        )
        inputs = read_inputs(chain, self._decoding)
        for number, (query, rows) in enumerate(zip(queries, wanted, strict=True), 1):
            if self._options.stop():
                return
            self._options.progress(f"reranking: queries {number:,} of {len(queries):,}")
            if not rows:
                continue
            source, *shown = (next(inputs) for _ in range(len(rows) + 1))
            pairs = [
                (row, each)
                for row, each in zip(rows, shown, strict=True)
                if isinstance(each, EmbedInput)
            ]
            if isinstance(source, Skipped) or not pairs:
                continue
            own = replace(source, instruction=source.instruction or self._instruction)
            scores = self._reranker.score(joined([own]), [each for _, each in pairs])
            for (row, _), score in zip(pairs, scores, strict=True):
                self._scores[query.name, row] = score

    def _sources(self, rows: set[int]) -> dict[int, TaskInput]:
        """Return the inputs of some rows; only these are in memory."""
        numbers = {self._documents.names[row]: row for row in rows}
        return {
            numbers[each.name]: each.source
            for each in self._found.documents
            if isinstance(each, Entry) and each.name in numbers
        }
