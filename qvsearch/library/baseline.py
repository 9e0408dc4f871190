"""The vectors of generic queries, and each row's cosines with them: its background."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import open_file, write_file
from qvsearch.library.manifest import BaselineFile, Damaged, baseline_path, check_size, check_sum
from qvsearch.library.sidecar import Background
from qvsearch.types import Stored
from qvsearch.vectors.encoding import Form, slices
from qvsearch.vectors.store import FaissStore, index_file

if TYPE_CHECKING:
    from qvsearch.types import Vectors

LARGEST_BASELINE = 64  # queries: they give a row's mean to an eighth of its spread
DECIMALS = 4  # of a background: finer than cosines of half-precision vectors


@dataclass(frozen=True, slots=True)
class Baseline:
    """The vectors (m, dim) of generic queries, their file's sha256, and the file once committed."""

    vectors: Vectors
    sha256: str
    file: BaselineFile | None = None


def new_baseline(vectors: Vectors, dim: int) -> Baseline:
    """Return a baseline of 1 to LARGEST_BASELINE unit rows; raises QvsearchError otherwise."""
    if not 0 < len(vectors) <= LARGEST_BASELINE:
        raise QvsearchError(f"a baseline has 1 to {LARGEST_BASELINE} queries, not {len(vectors)}")
    store = FaissStore(_form(dim))
    store.add(vectors)
    digest = hashlib.sha256(b"".join(index_file([store])))
    return Baseline(store.fetch(range(len(store))), digest.hexdigest())


def open_baseline(folder: Path, file: BaselineFile, dim: int) -> Baseline:
    """Return a committed baseline; raises Damaged, or OSError if it cannot be read."""
    path = baseline_path(folder, file.name)
    if not 0 < file.rows <= LARGEST_BASELINE:
        raise Damaged(path, f"a baseline has 1 to {LARGEST_BASELINE} queries, not {file.rows}")
    with open_file(path) as source:
        check_size(path, file.seal, os.fstat(source.fileno()).st_size)
        data = source.read(_form(dim).header_size + LARGEST_BASELINE * _form(dim).row_size)
    check_sum(path, file.seal, data)
    try:
        store = FaissStore.from_bytes(data, _form(dim), file.rows)
    except QvsearchError as error:
        raise Damaged(path, str(error)) from error
    return Baseline(store.fetch(range(file.rows)), file.seal.sha256, file)


def write_baseline(folder: Path, name: str, baseline: Baseline) -> Baseline:
    """Write the file of a baseline into a library."""
    store = FaissStore(_form(baseline.vectors.shape[1]))
    store.add(baseline.vectors)
    seal = write_file(baseline_path(folder, name), *index_file([store]))
    return replace(baseline, file=BaselineFile(name, len(store), seal))


def measure(store: FaissStore, baseline: Baseline | None, start: int = 0) -> Vectors:
    """Return mean and standard deviation (n, 2) of each row's cosines with the baseline.

    The rows are those of the store from `start` on; NaN without a baseline.
    """
    backgrounds = np.full((len(store), 2), np.nan, dtype=np.float32)
    if baseline is not None:
        with np.errstate(all="ignore"):  # a damaged row is reported by the search
            for some in slices(len(store), start):
                scores = store.fetch(some) @ baseline.vectors.T
                backgrounds[some, 0] = scores.mean(axis=1)
                backgrounds[some, 1] = scores.std(axis=1)
    return backgrounds[start:].round(DECIMALS)


def _form(dim: int) -> Form:
    return Form(dim, Stored.FLOAT16)


def as_array(backgrounds: Iterable[Background]) -> Vectors:
    """Return the backgrounds of sidecar lines as (n, 2), NaN for None."""
    pairs = [(np.nan, np.nan) if each is None else each for each in backgrounds]
    return np.array(pairs, dtype=np.float32).reshape(-1, 2)


def as_lines(backgrounds: Vectors) -> list[Background]:
    """Return backgrounds (n, 2) for sidecar lines, None for NaN."""
    return [
        None if mean != mean else (round(mean, DECIMALS), round(spread, DECIMALS))
        for mean, spread in backgrounds.tolist()
    ]
