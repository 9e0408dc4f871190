"""Baseline scores: the bank of generic queries, and each row's cosines with it (its background)."""

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
from qvsearch.library.manifest import BankFile, Damaged, bank_path, check_size, check_sum
from qvsearch.library.sidecar import Background
from qvsearch.types import Stored
from qvsearch.vectors.encoding import Form, slices
from qvsearch.vectors.store import FaissStore, index_file

if TYPE_CHECKING:
    from qvsearch.types import Vectors

LARGEST_BANK = 64  # queries: they give a row's mean to an eighth of its spread
DECIMALS = 4  # of a background: finer than cosines of half-precision vectors


@dataclass(frozen=True, slots=True)
class Bank:
    """The vectors (m, dim) of generic queries, their file's sha256, and the file once committed."""

    vectors: Vectors
    sha256: str
    file: BankFile | None = None


def new_bank(vectors: Vectors, dim: int) -> Bank:
    """Return a bank of 1 to LARGEST_BANK unit rows; raises QvsearchError for anything else."""
    if not 0 < len(vectors) <= LARGEST_BANK:
        raise QvsearchError(f"a bank has 1 to {LARGEST_BANK} queries, not {len(vectors)}")
    store = FaissStore(_form(dim))
    store.add(vectors)
    digest = hashlib.sha256(b"".join(index_file([store])))
    return Bank(store.fetch(range(len(store))), digest.hexdigest())


def open_bank(folder: Path, file: BankFile, dim: int) -> Bank:
    """Return a committed bank; raises Damaged, or OSError if it cannot be read."""
    path = bank_path(folder, file.name)
    if not 0 < file.rows <= LARGEST_BANK:
        raise Damaged(path, f"a bank has 1 to {LARGEST_BANK} queries, not {file.rows}")
    with open_file(path) as source:
        check_size(path, file.seal, os.fstat(source.fileno()).st_size)
        data = source.read(_form(dim).header_size + LARGEST_BANK * _form(dim).row_size)
    check_sum(path, file.seal, data)
    try:
        store = FaissStore.from_bytes(data, _form(dim), file.rows)
    except QvsearchError as error:
        raise Damaged(path, str(error)) from error
    return Bank(store.fetch(range(file.rows)), file.seal.sha256, file)


def write_bank(folder: Path, name: str, bank: Bank) -> Bank:
    """Write the file of a bank into a library."""
    store = FaissStore(_form(bank.vectors.shape[1]))
    store.add(bank.vectors)
    seal = write_file(bank_path(folder, name), *index_file([store]))
    return replace(bank, file=BankFile(name, len(store), seal))


def measure(store: FaissStore, bank: Bank | None, start: int = 0) -> Vectors:
    """Return mean and standard deviation (n, 2) of each row's cosines with the bank.

    The rows are those of the store from `start` on; NaN without a bank.
    """
    backgrounds = np.full((len(store), 2), np.nan, dtype=np.float32)
    if bank is not None:
        with np.errstate(all="ignore"):  # a damaged row is reported by the search
            for some in slices(len(store), start):
                scores = store.fetch(some) @ bank.vectors.T
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
