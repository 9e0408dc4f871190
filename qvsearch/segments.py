"""Segment files: opening, verifying, writing and merging pairs of vectors and sidecar.

It knows single pairs and runs of them; which of them make up a library is the manifest's.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.backgrounds import Bank, as_array, as_lines, measure
from qvsearch.durable import MIB, Seal, open_file, write_file
from qvsearch.errors import QvsearchError
from qvsearch.manifest import Damaged, SegmentFile, faiss_path, sidecar_path
from qvsearch.sidecar import Background, decode_rows, encode_rows
from qvsearch.stores.faiss import FaissStore, index_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Segment, Vectors

VERIFY_AT_OPEN = 64 * MIB  # vectors of at most this size are verified whenever they are opened
TIERS = (1 * MIB, 8 * MIB, 64 * MIB)  # sizes that divide small segment files into classes
MERGE = 8  # so many files at the end, none of a higher class than the last, become one
MOST_DEAD = 0.25  # of a file's rows; with more it is written anew
_ROW = 256  # bytes that a row's line takes, roughly


@dataclass(frozen=True, slots=True)
class Part:
    """A segment file that is open or, where `file` is None, rows that wait for a commit.

    `numbers` (n,) ascending are the library's numbers of the store's rows; `backgrounds` (n, 2)
    are of the bank with the sha256 `bank`; `verified` says that the vectors' checksum was seen to
    fit.
    """

    store: FaissStore
    numbers: NDArray[np.int64]
    backgrounds: Vectors
    bank: str | None = None
    file: SegmentFile | None = None
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


def waiting(dim: int, bank: Bank | None) -> Part:
    """Return a part without rows, to be filled."""
    store = FaissStore(dim)
    number = np.empty(0, dtype=np.int64)
    return Part(store, number, measure(store.codes, None), None if bank is None else bank.sha256)


def open_part(folder: Path, file: SegmentFile, dim: int, start: int) -> Part:
    """Return the vectors of a segment file, numbered from `start`, their backgrounds not known.

    Raises Damaged where they are not what was written, OSError where they cannot be read.
    """
    path = faiss_path(folder, file.name)
    data = _map(path)
    _check_size(path, file.faiss, data.nbytes)
    try:
        store = FaissStore.from_bytes(data, dim, file.rows)
    except QvsearchError as error:
        raise Damaged(path, str(error)) from error
    small = data.nbytes <= VERIFY_AT_OPEN
    if small:
        _check_sum(path, file.faiss, data)
    store.remove([row for first, end in file.dead for row in range(first, end)])
    numbers = np.arange(start, start + file.rows)
    return Part(store, numbers, measure(store.codes, None), None, file, verified=small)


def read_rows(
    folder: Path, file: SegmentFile, roots: Sequence[bytes | None]
) -> tuple[list[Segment], list[Background]]:
    """Return what a sidecar says of each row, removed ones too; raises as `open_part` does."""
    path = sidecar_path(folder, file.name)
    with open_file(path) as source:
        _check_size(path, file.sidecar, os.fstat(source.fileno()).st_size)
        data = source.readall()
    _check_sum(path, file.sidecar, data)
    try:
        segments, backgrounds = decode_rows(data, roots)
    except ValueError as error:
        raise Damaged(path, str(error)) from error
    if len(segments) != file.rows:
        raise Damaged(path, f"it has {len(segments)} rows, and {file.rows} vectors lie beside it")
    return segments, backgrounds


def with_backgrounds(part: Part, found: Sequence[Background], bank: Bank | None) -> Part:
    """Return an opened part with what its sidecar says, or measured where that is another bank's.

    Of a library that lost its bank the backgrounds are kept for the day when it comes back.
    """
    known = None if part.file is None else part.file.bank
    if bank is None or bank.sha256 == known:
        return replace(part, backgrounds=as_array(found), bank=known)
    return compared(part, bank)


def compared(part: Part, bank: Bank) -> Part:
    """Return the part with the backgrounds of this bank."""
    if part.bank == bank.sha256:
        return part
    return replace(part, backgrounds=measure(part.store.codes, bank), bank=bank.sha256)


def verify(folder: Path, part: Part) -> None:
    """Compare a part's vectors with their checksum if nobody has; raises Damaged."""
    if part.file is not None and not part.verified:
        path = faiss_path(folder, part.file.name)
        _check_sum(path, part.file.faiss, _map(path))


def merge_plan(parts: Iterable[Part], dim: int) -> list[list[Part]]:
    """Return the parts that have live rows, in order, those together that should be one file.

    Only parts at the end are merged, and only when MERGE of them have gathered, so that a row is
    written a few times in its life, however many commits there are.
    """
    groups = [[part] for part in parts if part.live]
    while groups:
        tiers = [_tier(group, dim) for group in groups]
        run = 0
        while run < len(groups) and tiers[-1 - run] <= tiers[-1] < len(TIERS):
            run += 1
        if run < MERGE:
            break
        groups[-run:] = [[part for group in groups[-run:] for part in group]]
    return groups


def needs_writing(group: Sequence[Part]) -> bool:
    """Whether a group of the plan is not just a file that is there, its dead rows few.

    One without the backgrounds that are known by now is written too: once in a library's life.
    """
    part = group[0]
    return (
        len(group) > 1
        or part.file is None
        or part.file.bank != part.bank
        or len(part.store) - part.live > MOST_DEAD * len(part.store)
    )


def write_part(
    folder: Path,
    name: str,
    group: Sequence[Part],
    segments: Mapping[int, Segment],
    root_numbers: Mapping[bytes, int],
) -> Part:
    """Write a pair as `write_pair` does and open it, its rows numbered as they were."""
    file = write_pair(folder, name, group, segments, root_numbers)
    numbers = np.concatenate([part.numbers[part.store.alive] for part in group])
    backgrounds = np.concatenate([part.backgrounds[part.store.alive] for part in group])
    if file.bank is None:
        backgrounds[:] = np.nan
    store = FaissStore.from_bytes(_map(faiss_path(folder, name)), group[0].store.dim, file.rows)
    return Part(store, numbers, backgrounds, file.bank, file)


def write_pair(
    folder: Path,
    name: str,
    group: Sequence[Part],
    segments: Mapping[int, Segment],
    root_numbers: Mapping[bytes, int],
) -> SegmentFile:
    """Write the live rows of some parts, in order, as one new pair of files.

    `segments` has the segment of each row number. Raises Damaged rather than copy damaged vectors.
    """
    for part in group:
        verify(folder, part)
    banks = {part.bank for part in group}
    bank = banks.pop() if len(banks) == 1 else None  # what is of several banks is not kept
    rows = (
        (
            segments[int(part.numbers[row])],
            background if bank else None,
            part.store.codes[row].tobytes(),
        )
        for part in group
        for row, background in enumerate(as_lines(part.backgrounds))
        if part.store.alive[row]
    )
    faiss = write_file(faiss_path(folder, name), *index_file([part.store for part in group]))
    sidecar = write_file(sidecar_path(folder, name), encode_rows(rows, root_numbers))
    live = sum(part.live for part in group)
    return SegmentFile(name, live, faiss, sidecar, bank=bank)


def _tier(group: Sequence[Part], dim: int) -> int:
    size = sum(part.live for part in group) * (2 * dim + _ROW)
    return sum(size >= limit for limit in TIERS)


def _map(path: Path) -> memoryview:
    """Return a file's bytes without reading them; they stay when a commit deletes the file."""
    with open_file(path) as source:
        if os.fstat(source.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))


def _check_size(path: Path, seal: Seal, size: int) -> None:
    if size != seal.size:
        raise Damaged(path, f"it has {size:,} bytes, and {seal.size:,} were written")


def _check_sum(path: Path, seal: Seal, data: bytes | memoryview) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != seal.sha256:
        raise Damaged(path, f"its sha256 is {found[:12]}…, and {seal.sha256[:12]}… was written")
