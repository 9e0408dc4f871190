"""The rows that show a query's own file: the same bytes, a copy, or a file of the same shot."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.duplicates.rule import COPY_SHARE, PROPORTION, chance_share, traits
from qvsearch.duplicates.shots import is_one_shot, names_in_shot
from qvsearch.library.aliases import aliases
from qvsearch.retrieval.calibration import evidence_of
from qvsearch.retrieval.scoring import combine_terms, with_rows
from qvsearch.types import item_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.duplicates.rule import Floats
    from qvsearch.library.library import Library
    from qvsearch.retrieval.scoring import Ranking, ScoredTerm
    from qvsearch.types import Segment, Vectors

SURE = evidence_of(0.995)
NEAREST = 64  # rows of each kind, by cosine, that may be copies
# Neither a hash nor a vector is reliable alone, as for near-duplicates. The instruction of a query
# lowers the cosine of a copy. The row that scores highest may differ in more bits, e.g. if it is
# cropped by a tenth. Unlike photos differ in at least 0.62 of the bits that differ by chance.
COPY_COSINE, BEHIND, FIRST_SHARE = 0.86, 0.05, 0.45


def with_copies(library: Library, ranking: Ranking) -> Ranking:
    """Return a ranking with the rows that show a query's own file before all others."""
    for place, term in enumerate(ranking.terms):
        if not term.term.segments:
            continue
        rows = _copies(library, term)
        ranking = with_rows(library, ranking, rows)
        scored = ranking.terms[place]
        evidence = scored.evidence.copy()
        evidence[rows] = max(SURE, float(evidence.max()) + 1)
        terms = list(ranking.terms)
        terms[place] = replace(scored, evidence=evidence)
        ranking = combine_terms(terms, ranking.bounds)
    return ranking


def _copies(library: Library, scored: ScoredTerm) -> NDArray[np.int64]:
    """Return the rows that are a copy of a term's file, ascending."""
    sources, nearest = scored.term.segments, _nearest(library, scored.scores)
    contents = {segment.content_hash for segment in sources}
    rows = np.concatenate([_own(library, sources[0]), *nearest])
    copies = [row for row in rows.tolist() if library.segments[row].content_hash in contents]
    for some in nearest:  # texts have no hash
        scores = scored.scores[some]
        shares = _shares(sources, [library.segments[row] for row in some.tolist()])
        alike = (shares < COPY_SHARE) & (scores > scores.max(initial=-1) - BEHIND)
        alike |= (shares < FIRST_SHARE) & (np.arange(len(some)) == 0)
        copies += some[alike & (scores > COPY_COSINE)][:1].tolist()
    return np.unique(np.array(copies + _of_their_shots(library, copies), np.int64))


def _own(library: Library, source: Segment) -> NDArray[np.int64]:
    """Return the rows of the file at the source's path, even if its content has changed."""
    names = aliases(source.item.location, library.roots)
    numbers = [
        item_number(root, os.path.relpath(name, root) if name != root else b"")
        for root in library.roots
        for name in names
        if name == root or name.startswith(os.path.join(root, b""))
    ]
    return np.flatnonzero(np.isin(library.columns.items, numbers))


def _of_their_shots(library: Library, rows: Iterable[int]) -> list[int]:
    """Return the rows of files that are of one shot with a file of the rows."""
    files = {segment.item: segment for segment in map(library.segments.__getitem__, rows)}
    found = []
    for item, segment in files.items():
        numbers = [item_number(item.root, name) for name in names_in_shot(item.path)]
        others = np.flatnonzero(np.isin(library.columns.items, numbers)).tolist()
        found += [row for row in others if is_one_shot(segment, library.segments[row])]
    return found


def _nearest(library: Library, scores: Vectors) -> list[NDArray[np.int64]]:
    """Return the NEAREST rows of each kind by cosine, best first."""
    nearest = []
    for rows in library.by_kind:
        some = rows[scores[rows] > -np.inf]
        if len(some) > NEAREST:
            some = np.sort(some[np.argpartition(-scores[some], NEAREST)[:NEAREST]])
        nearest.append(some[np.argsort(-scores[some], kind="stable")])
    return nearest


def _shares(sources: Sequence[Segment], others: Sequence[Segment]) -> Floats:
    """Return (n,) for each other segment the least share of hash bits that differ from a source's.

    It is infinite for pictures of other proportions, and for pages: those of one layout have one
    hash, though their texts differ. Pictures are compared with moments of videos too.
    """
    of = traits([*sources, *others])
    i, j = np.divmod(np.arange(len(sources) * len(others)), max(1, len(others)))
    j += len(sources)
    share = chance_share(of, i, j)
    unlike = np.abs(of.proportion[i] - of.proportion[j]) > PROPORTION
    share[unlike | of.page[i] | of.page[j]] = np.inf
    least: Floats = share.reshape(len(sources), len(others)).min(axis=0)
    return least
