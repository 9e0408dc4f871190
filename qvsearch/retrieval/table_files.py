"""Files of a shared table: where they are, which are most like another, and what all score."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.published.schema import vectors_of
from qvsearch.retrieval.calibration import evidence_by_kind
from qvsearch.retrieval.scoring import combined_evidence
from qvsearch.retrieval.table_levels import best_of_kind
from qvsearch.types import KIND_CODES, Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.retrieval.table_candidates import Asked
    from qvsearch.types import Vectors

SPARE = 64  # rows beside four times the files: moments of one file, and the file itself
MOST = 8192  # rows of each kind and vector, after which a short list is final


def locations(library: PublishedLibrary, where: str | None) -> dict[int, bytes]:
    """Return the path of each file that passes an SQL filter, by its number in the table."""
    first = "ordinal = 0" if where is None else f"ordinal = 0 AND ({where})"
    rows = library.table.scan(["item", "root", "path"], first)
    fields = (rows[name].to_pylist() for name in ("item", "root", "path"))
    roots = {name: library.place(name) for name in rows["root"].unique().to_pylist()}
    return {
        item: os.path.join(roots[root], path) if path else roots[root]
        for item, root, path in zip(*fields, strict=True)
    }


def nearest_files(
    library: PublishedLibrary, vectors: Vectors, kinds: Collection[Kind], count: int
) -> Library:
    """Return a library in memory of the files most like any of some vectors (m, dim).

    It has at least `count` of them, if there are so many, with all of their rows.
    """
    taken = 4 * count + SPARE
    while True:
        found = [
            best_of_kind(library.table, vectors, KIND_CODES[kind], taken, None, exact=False)
            for kind in kinds
        ]
        scores = np.concatenate([each.scores for each in found])
        items = np.concatenate([each.items for each in found])[np.argsort(-scores, kind="stable")]
        distinct = list(dict.fromkeys(items.tolist()))
        is_all = all(each.bound == -np.inf for each in found)
        if len(distinct) >= count or is_all or taken >= MOST:
            return library.gathered(library.table.by_items(distinct[:count]))
        taken *= 4


@dataclass(frozen=True, slots=True)
class Scores:
    """The files of a table (n,): their numbers, and the highest evidence of a row of each."""

    items: NDArray[np.int64]
    evidence: Vectors


def score_files(asked: Asked) -> Scores:
    """Score all files that a query may find; every vector is read, some at a time."""
    parts = [_by_words(asked), *(() if asked.is_by_words else _by_meaning(asked))]
    items, evidence = (np.concatenate(each) for each in zip(*parts, strict=True))
    passes = asked.files.passes(items)
    files, file_of_row = np.unique(items[passes], return_inverse=True)
    best = np.full(len(files), -np.inf, np.float32)
    np.maximum.at(best, file_of_row, evidence[passes])
    return Scores(files, best)


def _by_meaning(asked: Asked) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Yield the files (n,) of rows and their evidence (n,), without that of words."""
    for batch in asked.library.table.batches(["item", "kind", "vector"], asked.where):
        vectors, kinds = vectors_of(batch), batch["kind"].to_numpy()
        rows_of = {code: np.flatnonzero(kinds == code) for code in KIND_CODES.values()}
        parts = []
        for each in asked.terms:
            scores = (vectors @ each.embedded.vectors.T).max(axis=1, initial=-1)
            evidence = evidence_by_kind(scores, rows_of, each.levels)
            parts.append((each.embedded.term, asked.lessened(each, evidence)))
        yield batch["item"].to_numpy(), combined_evidence(parts)


def _by_words(asked: Asked) -> tuple[NDArray[np.int64], Vectors]:
    """Return the files (n,) of rows that count because of their words, and their evidence (n,)."""
    ids, evidence, _ = asked.by_words(len(asked.library), KIND_CODES.values())
    table = asked.library.table
    if asked.is_by_words and asked.filters.pages is None:
        return table.by_ids(ids, ["item"])["item"].to_numpy(), evidence
    working = asked.working(table.by_ids(ids, asked.columns))
    return working.library.items[working.mask], working.ranking.evidence[working.mask]
