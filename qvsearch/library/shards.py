"""Shards: opening, verifying, writing and merging the files of some rows.

A shard is three files: the vectors, a sidecar with a JSON line for each row, and the columns. The
columns are arrays of what the lines contain, so that a search reads no line. A library of an older
version may lack them: they are rebuilt from the lines on opening, and written by the next commit.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
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
from qvsearch.library.shard_columns import ShardColumns, columns_of, is_ends
from qvsearch.library.sidecar import Background, decode_rows, encode_rows
from qvsearch.vectors import sign_bits
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.sign_bits import Signs, signs_of
from qvsearch.vectors.store import FaissStore, index_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.files import Seal
    from qvsearch.types import Segment, Vectors

VERIFY_AT_OPEN = 64 * MIB  # vectors of at most this size are verified whenever they are opened
VERIFY_LINES = MIB  # so are sidecars of at most this size: about a thousand rows
READ_WHOLE = MIB  # larger files are mapped, which keeps a descriptor open: macOS allows 256
TIERS = (1 * MIB, 8 * MIB, 64 * MIB)  # sizes that divide small shards into classes
MERGE = 8  # so many shards at the end, none of a higher class than the last, become one
MOST_DEAD = 0.25  # of a shard's rows; a shard with more is rewritten
_LINE = 256  # bytes of a row's line, roughly
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
    `lines` and `signs`; a shard of an older library has no `signs` before the next commit.
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
    lines = _map(path, file.sidecar)
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
        verified,
    )


def open_store(folder: Path, file: ShardFiles, form: Form) -> FaissStore:
    """Return the vectors of a shard, the removed ones marked; raises as `open_shard` does."""
    path = faiss_path(folder, file.name)
    try:
        store = FaissStore.from_bytes(_map(path, file.faiss), form, file.rows)
    except QvsearchError as error:
        raise Damaged(path, str(error)) from error
    store.remove([row for first, end in file.dead for row in range(first, end)])
    return store


def verify_vectors(folder: Path, file: ShardFiles) -> None:
    """Compare a shard's vectors with their checksum; raises as `open_shard` does."""
    path = faiss_path(folder, file.name)
    check_sum(path, file.faiss, _map(path, file.faiss))


def read_columns(
    folder: Path, file: ShardFiles, seal: Seal, form: Form, roots: Sequence[bytes | None]
) -> _Contents:
    """Return the contents of a shard's file of columns; raises as `open_shard` does."""
    path = columns_path(folder, file.name)
    data = _map(path, seal)
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


# ------------------------------------------------------------------ merging


def merge_plan(shards: Iterable[Shard]) -> list[list[Shard]]:
    """Return the shards that have live rows, in order, grouped by the file they should share.

    Only shards at the end are merged, and only when MERGE of them have gathered. So a row is
    written a few times in its life, however many commits there are.
    """
    groups = [[shard] for shard in shards if shard.live]
    while groups:
        tiers = [_tier(group) for group in groups]
        run = 0
        while run < len(groups) and tiers[-1 - run] <= tiers[-1] < len(TIERS):
            run += 1
        if run < MERGE:
            break
        groups[-run:] = [[shard for group in groups[-run:] for shard in group]]
    return groups


def needs_writing(group: Sequence[Shard]) -> bool:
    """Return whether a group of the plan is anything but one shard on disk with few dead rows.

    A shard on disk without the present backgrounds is rewritten, too: once in a library's life.
    """
    shard = group[0]
    return (
        len(group) > 1
        or shard.file is None
        or shard.file.bank != shard.baseline
        or len(shard.store) - shard.live > MOST_DEAD * len(shard.store)
    )


def _tier(group: Sequence[Shard]) -> int:
    size = sum(shard.live * (shard.store.form.row_size + _LINE) for shard in group)
    return sum(size >= limit for limit in TIERS)


# ------------------------------------------------------------------ writing


def merged(
    folder: Path,
    name: str,
    group: Sequence[Shard],
    segments: Mapping[int, Segment],
    roots: Sequence[bytes | None],
) -> Shard:
    """Write the shard that `write_shard` does, and open it with the numbers of its rows."""
    file = write_shard(folder, name, group, segments, roots)
    numbers = np.concatenate([shard.numbers[shard.store.alive] for shard in group])
    return _opened(folder, file, open_store(folder, file, group[0].store.form), numbers, roots)


def completed(folder: Path, shard: Shard, roots: Sequence[bytes | None]) -> Shard:
    """Return a shard that has its columns on disk; those of an older library are written."""
    if shard.file is None or shard.file.facts is not None:
        return shard
    file = write_columns(folder, shard.file, shard.store.form, roots)
    return _opened(folder, file, shard.store, shard.numbers, roots, verified=shard.verified)


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


def _map(path: Path, seal: Seal) -> memoryview:
    """Return a file's bytes, which stay if a commit deletes the file; large ones are read later.

    Raises Damaged if the size is not that which was written.
    """
    with open_file(path) as source:
        size = os.fstat(source.fileno()).st_size
        check_size(path, seal, size)
        if size <= READ_WHOLE:
            return memoryview(source.readall())
        return memoryview(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))
