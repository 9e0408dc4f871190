"""Which files of a library differ from what a table has of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch import cache
from qvsearch.formats import pack_arrays, unpack_arrays
from qvsearch.published.schema import FORM

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from qvsearch.published.engine import Table


_CACHE = "published"  # the folder
_CACHE_FILES = 16
_MARKS = {"items": "<i8", "ordinals": "<i4", "digests": "<i8", "later": "<i8"}


@dataclass(frozen=True, slots=True)
class RowMarks:
    """Rows (n,) as they are compared: `items` and `ordinals` name them, `digests` tell contents.

    `later` is `later_mark` of the columns that tables of older versions lack.
    """

    items: NDArray[np.int64]
    ordinals: NDArray[np.int32]
    digests: NDArray[np.int64]
    later: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Differences:
    """Numbers of files, each sorted.

    `changed` are in both, with other rows; `shrunk` are those of them that had more rows before.
    `reworded` are in both with the same rows, but other words or columns of an older version.
    `doubled` have a row twice, which only two runs of one publisher at the same time can leave;
    they are also `added`, since they must be deleted first.
    """

    added: NDArray[np.int64]
    changed: NDArray[np.int64]
    shrunk: NDArray[np.int64]
    reworded: NDArray[np.int64]
    removed: NDArray[np.int64]
    doubled: NDArray[np.int64]
    unchanged: int


def differences(library: RowMarks, table: RowMarks) -> Differences:
    """Return how the rows of a library differ from those that the table has of it."""
    doubled = doubled_items(table)
    left = ~np.isin(table.items, doubled)
    table = RowMarks(
        table.items[left], table.ordinals[left], table.digests[left], table.later[left]
    )
    here, own, words, counts = _by_item(library)
    there, others, their_words, before = _by_item(table)
    at_here = np.isin(here, there, assume_unique=True)
    at_there = np.isin(there, here, assume_unique=True)
    differ = (own[at_here] != others[at_there]) | (counts[at_here] != before[at_there])
    reworded = (words[at_here] != their_words[at_there]) & ~differ
    both = here[at_here]
    return Differences(
        added=here[~at_here],
        changed=both[differ],
        shrunk=both[before[at_there] > counts[at_here]],
        reworded=both[reworded],
        removed=np.union1d(there[~at_there], doubled[~np.isin(doubled, here)]),
        doubled=doubled,
        unchanged=int(len(both) - differ.sum() - reworded.sum()),
    )


def marks_in(table: Table, where: str) -> RowMarks:
    """Return the rows of a table that pass an SQL filter."""
    kinds = {"item": np.int64, "ordinal": np.int32, "digest": np.int64}
    kinds |= {"form": np.int64, "length": np.int64, "text_hash": np.int64}
    parts = list(table.batches(list(kinds), where))
    items, ordinals, digests, forms, lengths, texts = (
        np.concatenate([np.empty(0, kind), *(_numbers(part.column(n)) for part in parts)])
        for n, kind in kinds.items()
    )
    return RowMarks(items, ordinals, digests, later_mark(forms, lengths, texts))


def later_mark(
    form: NDArray[np.int64] | int, lengths: NDArray[np.int64], texts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return numbers (n,) for the form of later columns, numbers of tokens and hashes of texts."""
    return ((np.int64(1) << 32) * form + lengths) ^ texts


def _numbers(column: pa.Array) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = column.fill_null(-1).to_numpy()
    return numbers


def doubled_items(rows: RowMarks) -> NDArray[np.int64]:
    """Return the files that have a row twice."""
    order = np.lexsort((rows.ordinals, rows.items))
    items, ordinals = rows.items[order], rows.ordinals[order]
    same = (items[1:] == items[:-1]) & (ordinals[1:] == ordinals[:-1])
    return np.unique(items[1:][same])


def _by_item(
    rows: RowMarks,
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
    """Return the files, hashes of the digests and the later columns of each, and its rows."""
    items, first, counts = np.unique(
        rows.items[order := np.argsort(rows.items, kind="stable")],
        return_index=True,
        return_counts=True,
    )
    if not len(items):
        return items, np.empty(0, np.uint64), np.empty(0, np.uint64), counts
    digests, later = (
        np.add.reduceat(_mixed(each[order], rows.ordinals[order]), first)
        for each in (rows.digests, rows.later)
    )
    return items, digests, later, counts


def _mixed(digests: NDArray[np.int64], ordinals: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Return a hash of each row whose sum over a file tells rows apart (SplitMix64's mixing)."""
    mixed = digests.view(np.uint64) ^ (ordinals.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def keep_marks(token: str, marks: RowMarks) -> None:
    """Cache what a table has under a token, so that the next run need not read it there."""
    folder = cache.cache_folder(_CACHE)
    arrays = {name: getattr(marks, name).astype(kind) for name, kind in _MARKS.items()}
    cache.keep(folder / cache.file_name(_CACHE, token, FORM), b"".join(pack_arrays(arrays)))
    cache.trim(folder, most_files=_CACHE_FILES)


def read_marks(token: str) -> RowMarks | None:
    """Return what a table has under a token, if it is cached."""
    data = cache.read(cache.cache_folder(_CACHE) / cache.file_name(_CACHE, token, FORM))
    if not token or data is None:
        return None
    types = {name: np.dtype(kind) for name, kind in _MARKS.items()}
    return RowMarks(**unpack_arrays(data, types))
