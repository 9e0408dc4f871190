"""Shards: opening, verifying, writing and merging the files of some rows.

A shard is four files: the vectors, a sidecar with a JSON line for each row, the columns, and the
words. The columns are arrays of what the lines contain, so that a search reads no line. A library
of an older version may lack them: they are rebuilt from the lines on opening, and written by the
next commit. It may lack the words, too, which only the indexed files have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import MIB, open_file, write_file
from qvsearch.formats import pack_arrays, unpack_arrays
from qvsearch.library import shard_columns
from qvsearch.library.baseline import Baseline, as_array, as_lines, measure
from qvsearch.library.lazy_segments import Lines
from qvsearch.library.manifest import (
    Damaged,
    ShardFiles,
    check_size,
    check_sum,
    columns_path,
    faiss_path,
    sidecar_path,
)
from qvsearch.library.mapped import map_file
from qvsearch.library.shard_columns import ShardColumns, columns_of, is_ends
from qvsearch.library.shard_words import ShardWords, open_words, write_words
from qvsearch.library.sidecar import Background, decode_rows, encode_rows
from qvsearch.library.words_file import FILE
from qvsearch.vectors import sign_bits
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.sign_bits import Signs, signs_of
from qvsearch.vectors.store import FaissStore, index_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.files import Seal
    from qvsearch.library.lazy_segments import Catalogue
    from qvsearch.library.words_file import RowWords
    from qvsearch.types import Segment, Vectors

VERIFY_AT_OPEN = 64 * MIB  # vectors of at most this size are verified whenever they are opened
VERIFY_LINES = MIB  # so are sidecars of at most this size: about a thousand rows
_FACTS_TYPES: dict[str, np.dtype[Any]] = {
    "ends": np.dtype("<i8"),
    "backgrounds": np.dtype("<f4"),
    **shard_columns.TYPES,
    **sign_bits.TYPES,
}


@dataclass(frozen=True, slots=True)
class Shard:
    """The rows of an open shard or, if `file` is None, rows that wait for a commit.

    `numbers` (n,) ascending are the library's numbers of the store's rows; `kinds` (n,) are codes.
    `backgrounds` (n, 2) are of the baseline with this sha256. Waiting rows have no `columns`,
    `lines`, `signs` and `words`; a shard of an older library has no `signs` before the next commit,
    and no `words` before they are added.
    `verified` tells that the checksum of the vectors was compared.
    """

    store: FaissStore
    numbers: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    backgrounds: Vectors
    baseline: str | None = None
    file: ShardFiles | None = None
    columns: ShardColumns | None = None
    signs: Signs | None = None
    lines: Lines | None = None
    words: ShardWords | None = None
    verified: bool = True

    @property
    def live(self) -> int:
        """How many rows are not removed."""
        return int(self.store.alive.sum())

    @property
    def dead(self) -> tuple[tuple[int, int], ...]:
        """The removed rows as ranges [a, b) of positions."""
        edges = np.flatnonzero(np.diff(~self.store.alive, prepend=False, append=False))
        return tuple((int(start), int(end)) for start, end in edges.reshape(-1, 2))

    @property
    def without_words(self) -> NDArray[np.int64]:
        """The live rows (k,) whose files were not read for their words."""
        read = () if self.words is None else self.words.read_by(FILE)
        return np.setdiff1d(self.numbers[self.store.alive], read, assume_unique=True)

    @property
    def has_older_words(self) -> bool:
        """Whether another version divided its words into tokens."""
        return self.words is not None and self.words.is_older


@dataclass(frozen=True, slots=True)
class _Contents:
    """The contents of a file of columns; rebuilt ones have no `norms` and `signs`."""

    columns: ShardColumns
    ends: NDArray[np.int64]
    backgrounds: Vectors
    norms: Vectors | None = None
    signs: Signs | None = None


def waiting(form: Form, baseline: Baseline | None) -> Shard:
    """Return a shard without rows, to be filled."""
    store = FaissStore(form)
    numbers, kinds = np.empty(0, np.int64), np.empty(0, np.uint8)
    own = None if baseline is None else baseline.sha256
    return Shard(store, numbers, kinds, measure(store, None), own)


# ------------------------------------------------------------------ reading


def open_shard(
    folder: Path, file: ShardFiles, form: Form, start: int, roots: Sequence[bytes | None]
) -> Shard:
    """Return a shard whose rows are numbered from `start`.

    Raises Damaged if its files are not those that were written, OSError if they cannot be read.
    """
    numbers = np.arange(start, start + file.rows)
    verified = file.faiss.size <= VERIFY_AT_OPEN
    if verified:
        verify_vectors(folder, file)
    return _opened(folder, file, open_store(folder, file, form), numbers, roots, verified=verified)


def _opened(
    folder: Path,
    file: ShardFiles,
    store: FaissStore,
    numbers: NDArray[np.int64],
    roots: Sequence[bytes | None],
    *,
    verified: bool = True,
) -> Shard:
    path = sidecar_path(folder, file.name)
    lines = map_file(path, file.sidecar)
    if file.sidecar.size <= VERIFY_LINES:
        check_sum(path, file.sidecar, lines)
    if file.facts is None:
        contents = _rebuilt(folder, file, roots)
    else:
        contents = read_columns(folder, file, file.facts, store.form, roots)
    removed = [number for number, root in enumerate(roots) if root is None]
    if removed and np.isin(contents.columns.root_of_row[store.alive], removed).any():
        raise Damaged(path, "a row is below a root that was removed")
    if contents.norms is not None:
        store.set_norms(contents.norms)
    return Shard(
        store,
        numbers,
        contents.columns.kinds,
        contents.backgrounds,
        file.bank,
        file,
        contents.columns,
        contents.signs,
        Lines(path, file.sidecar, lines, contents.ends, store.codes, roots),
        open_words(folder, file, numbers),
        verified,
    )


def open_store(folder: Path, file: ShardFiles, form: Form) -> FaissStore:
    """Return the vectors of a shard, the removed ones marked; raises as `open_shard` does."""
    path = faiss_path(folder, file.name)
    try:
        store = FaissStore.from_bytes(map_file(path, file.faiss), form, file.rows)
    except QvsearchError as error:
        raise Damaged(path, str(error)) from error
    store.remove([row for first, end in file.dead for row in range(first, end)])
    return store


def verify_vectors(folder: Path, file: ShardFiles) -> None:
    """Compare a shard's vectors with their checksum; raises as `open_shard` does."""
    path = faiss_path(folder, file.name)
    check_sum(path, file.faiss, map_file(path, file.faiss))


def read_columns(
    folder: Path, file: ShardFiles, seal: Seal, form: Form, roots: Sequence[bytes | None]
) -> _Contents:
    """Return the contents of a shard's file of columns; raises as `open_shard` does."""
    path = columns_path(folder, file.name)
    data = map_file(path, seal)
    check_sum(path, seal, data)
    try:
        arrays = unpack_arrays(data, column_types(form), shard_columns.LATER)
        _check_arrays(arrays, file)
        ends, backgrounds = arrays.pop("ends"), arrays.pop("backgrounds")
        norms = arrays.pop("norms") if form.scaled else None
        signs = Signs(**{name: arrays.pop(name) for name in sign_bits.TYPES})
        signs.check(file.rows, form.dim)
        columns = ShardColumns(**shard_columns.without_later(arrays, file.rows))
        columns.check(file.rows, len(roots))
    except ValueError as error:
        raise Damaged(path, str(error)) from error
    return _Contents(columns, ends, backgrounds, norms, signs)


def _check_arrays(arrays: Mapping[str, NDArray[Any]], file: ShardFiles) -> None:
    """Raise ValueError unless ends, backgrounds and lengths fit the rows of a shard."""
    ends = arrays["ends"]
    if not is_ends(ends, file.sidecar.size) or len(ends) != file.rows:
        raise ValueError("the ends of its lines do not fit the sidecar")
    if arrays["backgrounds"].shape != (file.rows, 2):
        raise ValueError("the background of a row is missing")
    norms = arrays.get("norms", np.ones(file.rows, np.float32))
    if norms.shape != (file.rows,) or not ((norms > 0) & (norms < np.inf)).all():
        raise ValueError("the length of each vector must be a positive number")


def _rebuilt(folder: Path, file: ShardFiles, roots: Sequence[bytes | None]) -> _Contents:
    """Return the columns that a shard's lines contain."""
    data = read_sidecar(folder, file)
    all_roots = [root or b"" for root in roots]  # only dead rows are below a removed root
    segments, backgrounds = _decode(folder, file, data, all_roots, [True] * file.rows)
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    return _Contents(columns_of(segments, all_roots), ends, as_array(backgrounds))


def read_rows(
    folder: Path, file: ShardFiles, roots: Sequence[bytes | None]
) -> tuple[list[Segment], list[Background]]:
    """Return the segment and background of each row that is not removed.

    Raises as `open_shard` does.
    """
    data = read_sidecar(folder, file)
    alive = np.ones(file.rows, np.bool_)
    for start, end in file.dead:
        alive[start:end] = False
    return _decode(folder, file, data, roots, alive.tolist())


def read_sidecar(folder: Path, file: ShardFiles) -> bytes:
    """Return a verified sidecar; raises as `open_shard` does."""
    path = sidecar_path(folder, file.name)
    with open_file(path) as source:
        check_size(path, file.sidecar, os.fstat(source.fileno()).st_size)
        data = source.readall()
    check_sum(path, file.sidecar, data)
    return data


def _decode(
    folder: Path,
    file: ShardFiles,
    data: bytes,
    roots: Sequence[bytes | None],
    alive: Sequence[bool],
) -> tuple[list[Segment], list[Background]]:
    try:
        return decode_rows(data, roots, alive)
    except ValueError as error:
        raise Damaged(sidecar_path(folder, file.name), str(error)) from error


def compared(shard: Shard, baseline: Baseline) -> Shard:
    """Return the shard with the backgrounds of this baseline."""
    if shard.baseline == baseline.sha256:
        return shard
    return replace(shard, backgrounds=measure(shard.store, baseline), baseline=baseline.sha256)


# ------------------------------------------------------------------ writing


def merged(
    folder: Path,
    name: str,
    group: Sequence[Shard],
    segments: Catalogue,
    roots: Sequence[bytes | None],
    words: Callable[[int], RowWords],
) -> Shard:
    """Write the shard that `write_shard` does, and its words; open it with its rows' numbers.

    `segments` and `words` give those of each row number.
    """
    numbers = np.concatenate([shard.numbers[shard.store.alive] for shard in group])
    file = write_shard(folder, name, group, segments, roots)
    file = replace(file, words=write_words(folder, name, numbers, segments, words))
    return _opened(folder, file, open_store(folder, file, group[0].store.form), numbers, roots)


def completed(folder: Path, shard: Shard, roots: Sequence[bytes | None]) -> Shard:
    """Return a shard that has its columns on disk; those of an older library are written."""
    if shard.file is None or shard.file.facts is not None:
        return shard
    file = write_columns(folder, shard.file, shard.store.form, roots)
    return _opened(folder, file, shard.store, shard.numbers, roots, verified=shard.verified)


def with_words(
    folder: Path,
    name: str,
    shard: Shard,
    segments: Catalogue,
    words: Callable[[int], RowWords],
) -> Shard:
    """Write the words of a shard on disk again, under this name; return the shard with them."""
    if shard.file is None:
        return shard
    file = replace(shard.file, words=write_words(folder, name, shard.numbers, segments, words))
    return replace(shard, file=file, words=open_words(folder, file, shard.numbers))


def write_shard(
    folder: Path,
    name: str,
    group: Sequence[Shard],
    segments: Mapping[int, Segment],
    roots: Sequence[bytes | None],
) -> ShardFiles:
    """Write the live rows of some shards, in order, as the files of a new one.

    `segments` has the segment of each row number. Raises Damaged rather than copy damaged vectors.
    """
    for shard in group:
        if shard.file is not None and not shard.verified:
            verify_vectors(folder, shard.file)
    form = group[0].store.form
    baselines = {shard.baseline for shard in group}
    baseline = baselines.pop() if len(baselines) == 1 else None  # others cannot be compared
    backgrounds = np.concatenate([shard.backgrounds[shard.store.alive] for shard in group])
    if baseline is None:
        backgrounds[:] = np.nan
    live = [segments[row] for shard in group for row in shard.numbers[shard.store.alive].tolist()]
    codes = (shard.store.codes[row] for shard in group for row in np.flatnonzero(shard.store.alive))
    numbers = {root: number for number, root in enumerate(roots) if root is not None}
    lines = encode_rows(
        zip(live, as_lines(backgrounds), (code.tobytes() for code in codes), strict=True), numbers
    )
    faiss = write_file(faiss_path(folder, name), *index_file([shard.store for shard in group]))
    sidecar = write_file(sidecar_path(folder, name), b"".join(lines))
    ends = np.cumsum([len(line) for line in lines])
    contents = _Contents(columns_of(live, roots), ends, backgrounds)
    return _write_columns(
        folder, ShardFiles(name, len(live), faiss, sidecar, bank=baseline), form, contents
    )


def write_columns(
    folder: Path, file: ShardFiles, form: Form, roots: Sequence[bytes | None]
) -> ShardFiles:
    """Write the columns of a shard again, from its lines; raises as `open_shard` does."""
    return _write_columns(folder, file, form, _rebuilt(folder, file, roots))


def _write_columns(folder: Path, file: ShardFiles, form: Form, contents: _Contents) -> ShardFiles:
    """Write columns and the signs of the shard's vectors; return the shard's files with them."""
    store = open_store(folder, file, form)
    arrays = contents.columns.arrays | signs_of(store).arrays
    arrays |= {"ends": contents.ends, "backgrounds": contents.backgrounds, "norms": store.norms}
    typed = {key: arrays[key].astype(kind, copy=False) for key, kind in column_types(form).items()}
    return replace(file, facts=write_file(columns_path(folder, file.name), *pack_arrays(typed)))


def column_types(form: Form) -> dict[str, np.dtype[Any]]:
    """Return the arrays in a file of columns, and their types, for vectors of this form."""
    return _FACTS_TYPES | ({"norms": np.dtype("<f4")} if form.scaled else {})
