"""What a reader gets of a library: every row, with the scores of a search."""

from dataclasses import replace

import numpy as np

from qvsearch.library.failures import read_failures
from qvsearch.library.library import Library
from qvsearch.library.manifest import (
    Damaged,
    columns_path,
    read_committed,
    write_manifest,
)
from qvsearch.library.repair import check


def nearest_rows(stored, query, k, allowed=None):
    """Return up to k (row, cosine) of a library or a store, best first, ties by row.

    Only rows whose `allowed` is true are answers; rows beyond its end are not.
    """
    return best_rows(stored.scores(query), k, allowed)


def best_rows(scores, k, allowed=None):
    """Return up to k (row, cosine) of the scores of all rows, as `nearest_rows` does."""
    if allowed is not None:
        scores = scores.copy()
        rows = np.arange(len(scores))
        scores[~np.isin(rows, np.flatnonzero(allowed))] = -np.inf
    order = np.argsort(-scores, kind="stable")[:k].tolist()
    return [(row, float(scores[row])) for row in order if scores[row] > -np.inf]


def make_older(folder, below=1 << 60):
    """Make a library what older versions wrote: shards of fewer rows than that have no facts."""
    state = read_committed(folder)
    files = [replace(each, facts=None) if each.rows < below else each for each in state.files]
    write_manifest(folder, replace(state, files=tuple(files)))
    for each in files:
        if each.facts is None:
            columns_path(folder, each.name).unlink(missing_ok=True)


def forget_words(folder):
    """Make a library one that an older version wrote: no row has words."""
    before = read_committed(folder)
    files = tuple(replace(file, words=None) for file in before.files)
    write_manifest(folder, replace(before, files=files, generation=before.generation + 1))
    with Library.open(folder).lock():
        pass  # which sweeps
    assert not list(folder.glob("segments/*.words"))


def rows(folder):
    """Return the bytes of each row's vector by the row's segment, having searched for some."""
    return _rows(Library.open(folder))


def _rows(library):
    numbers = list(library.segments)
    vectors = library.vectors(numbers)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for place in sorted({0, len(numbers) // 2, len(numbers) - 1} if numbers else ()):
        scores = library.scores(units[place])
        assert np.abs(scores[numbers] - units @ units[place]).max() < 1e-2
        assert best_rows(scores, 1)[0][0] == numbers[place]
    stored = [vector.tobytes() for vector in vectors]
    return dict(zip(library.segments.values(), stored, strict=True))


def view(folder):
    """Return all that is in a sound library; else why there is none."""
    if not Library.exists(folder):
        return "no library"
    try:
        library = Library.open(folder)
    except Damaged:
        return "damaged"
    assert check(folder) == []
    bank = None if library.baseline is None else library.baseline.tobytes()
    return _rows(library), bank, read_failures(folder), library.rules
