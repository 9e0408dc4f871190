"""Some rows of each kind of a shared table, which represent all; cached by version."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.cache import cache_folder, file_name, keep, read, trim
from qvsearch.library.rows import SAMPLE
from qvsearch.published.schema import vectors_of
from qvsearch.types import KIND_CODES, Stored
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.store import FaissStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from numpy.typing import NDArray

    from qvsearch.published.engine import Table
    from qvsearch.types import Vectors

MOST_BYTES = 1 << 30  # of all samples in the cache; one of 2048 numbers has 50 MB
_NAMES = ("keys", "kinds", "backgrounds", "vectors", "counts")


@dataclass(frozen=True)
class TableSample:
    """About SAMPLE rows of each kind: their `keys` in the table, `kinds` and `backgrounds` (n, 2).

    `counts` has the number of all rows of each kind, by its place in Kind; `store` the vectors. Do
    not mutate the arrays.
    """

    keys: NDArray[np.bytes_]
    kinds: NDArray[np.uint8]
    backgrounds: Vectors
    counts: NDArray[np.int64]
    store: FaissStore

    @cached_property
    def by_kind(self) -> list[NDArray[np.int64]]:
        """The places of each kind's rows, ascending."""
        return [np.flatnonzero(self.kinds == code) for code in KIND_CODES.values()]

    def vectors(self, rows: Iterable[int]) -> Vectors:
        """Return the vectors of some places (len(rows), dim), float32."""
        return self.store.fetch(list(rows))


def sample_of(table: Table) -> TableSample:
    """Return the sample of a table's present version, from the cache if it is there.

    Raises QvsearchError if the table cannot be read.
    """
    path = cache_folder("tables") / file_name(
        str(table.address), table.version, table.about, SAMPLE
    )
    dim = table.about.fingerprint.dim
    if (known := _read(read(path), dim)) is not None:
        return known
    parts = [table.sample(code, SAMPLE) for code in KIND_CODES.values()]
    counts = [table.count(f"kind = {code}") for code in KIND_CODES.values()]
    keys = np.array([key for each in parts for key in each["row"].to_pylist()], "S")
    order = np.argsort(keys, kind="stable")  # an engine returns rows in no order
    sample = _of(
        {
            "keys": keys[order],
            "kinds": np.repeat(np.arange(len(parts), dtype=np.uint8), list(map(len, parts)))[order],
            "backgrounds": np.concatenate([_backgrounds(each) for each in parts])[order],
            "vectors": np.concatenate([vectors_of(each) for each in parts])[order],
            "counts": np.array(counts, np.int64),
        },
        dim,
    )
    body = io.BytesIO()
    np.savez(
        body,
        keys=sample.keys,
        kinds=sample.kinds,
        backgrounds=sample.backgrounds,
        vectors=sample.store.codes.astype(np.float16),
        counts=sample.counts,
    )
    keep(path, body.getvalue())
    trim(path.parent, most_bytes=MOST_BYTES)
    return sample


def _backgrounds(rows: pa.Table) -> Vectors:
    columns = [rows[name].to_numpy() for name in ("mean", "spread")]
    return np.stack(columns, axis=1).astype(np.float32)


def _read(body: bytes | None, dim: int) -> TableSample | None:
    if body is None:
        return None
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as file:
            return _of({name: file[name] for name in _NAMES}, dim)
    except (EOFError, KeyError, OSError, ValueError, zipfile.BadZipFile):
        return None


def _of(arrays: dict[str, NDArray[Any]], dim: int) -> TableSample:
    form = Form(dim, Stored.FLOAT16)
    codes = form.encode(arrays["vectors"].reshape(-1, dim).astype(np.float32))
    store = FaissStore.of_codes(codes, form)
    return TableSample(
        arrays["keys"], arrays["kinds"], arrays["backgrounds"], arrays["counts"], store
    )
