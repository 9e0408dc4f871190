"""Segment files: opening, verifying, writing and merging pairs of vectors and sidecar.

It knows single pairs and runs of them; which of them make up a library is the manifest's.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import MIB, open_file, write_file
from qvsearch.library import shard_columns
from qvsearch.library.arrays import pack, unpack
from qvsearch.library.baseline import Bank, as_array, as_lines, measure
from qvsearch.library.lazy_segments import Lines
from qvsearch.library.manifest import (
    Damaged,
    SegmentFile,
    check_size,
    check_sum,
    facts_path,
    faiss_path,
    sidecar_path,
)
from qvsearch.library.shard_columns import Facts, facts_of, is_ends
from qvsearch.library.sidecar import Background, decode_rows, encode_rows
from qvsearch.vectors import sign_bits
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.sign_bits import Signs, signs_of
from qvsearch.vectors.store import FaissStore, index_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.files import Seal
    from qvsearch.types import Segment, Vectors

FACTS_FROM = 1000  # rows of a file: fewer lines are read as fast as one file more
VERIFY_AT_OPEN = 64 * MIB  # vectors of at most this size are verified whenever they are opened
TIERS = (1 * MIB, 8 * MIB, 64 * MIB)  # sizes that divide small segment files into classes
MERGE = 8  # so many files at the end, none of a higher class than the last, become one
MOST_DEAD = 0.25  # of a file's rows; with more it is written anew
_ROW = 256  # bytes that a row's line takes, roughly
_FILE_TYPES: dict[str, np.dtype[Any]] = {
    "ends": np.dtype("<i8"),
    "backgrounds": np.dtype("<f4"),
    **shard_columns.TYPES,
    **sign_bits.TYPES,
}


@dataclass(frozen=True, slots=True)
class Part:
    """A segment file that is open or, where `file` is None, rows that wait for a commit.

    `numbers` (n,) ascending are the library's numbers of the store's rows; `backgrounds` (n, 2)
    are of the bank with the sha256 `bank`; `facts` and `signs` are of all rows and `lines`
    have their segments, where there is a file of facts; `verified` says that the vectors' checksum
    was seen to fit.
    """

    store: FaissStore
    numbers: NDArray[np.int64]
    backgrounds: Vectors
    bank: str | None = None
    file: SegmentFile | None = None
    facts: Facts | None = None
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


def waiting(form: Form, bank: Bank | None) -> Part:
    """Return a part without rows, to be filled."""
    store = FaissStore(form)
    number = np.empty(0, dtype=np.int64)
    return Part(store, number, measure(store, None), None if bank is None else bank.sha256)


def open_part(
    folder: Path, file: SegmentFile, form: Form, start: int, roots: Sequence[bytes | None]
) -> Part:
    """Return the vectors of a segment file, numbered from `start`, with the facts that it has.

    Raises Damaged where they are not what was written, OSError where they cannot be read.
    """
    path = faiss_path(folder, file.name)
    data = _map(path, file.faiss)
    try:
        store = FaissStore.from_bytes(data, form, file.rows)
    except QvsearchError as error:
        raise Damaged(path, str(error)) from error
    small = data.nbytes <= VERIFY_AT_OPEN
    store.remove([row for first, end in file.dead for row in range(first, end)])
    numbers = np.arange(start, start + file.rows)
    part = Part(store, numbers, measure(store, None), None, file, verified=small)
    if not small:
        return with_facts(folder, part, roots)
    if file.facts is None:
        check_sum(path, file.faiss, data)
        return part
    with ThreadPoolExecutor(1) as beside:  # who waits, waits for the longer checksum only
        checked = beside.submit(check_sum, path, file.faiss, data)
        part = with_facts(folder, part, roots)
        checked.result()
    return part


def with_facts(folder: Path, part: Part, roots: Sequence[bytes | None]) -> Part:
    """Return the part of a file with its facts and lines; raises as `open_part` does."""
    file = part.file
    if file is None or file.facts is None:
        return part
    path, beside = facts_path(folder, file.name), sidecar_path(folder, file.name)
    data, lines = _map(path, file.facts), _map(beside, file.sidecar)
    check_sum(path, file.facts, data)
    form = part.store.form
    try:
        arrays = unpack(data, _file_types(form))
        _check_arrays(arrays, file)
        ends, backgrounds = arrays.pop("ends"), arrays.pop("backgrounds")
        norms = arrays.pop("norms") if form.scaled else None
        known = Signs(**{name: arrays.pop(name) for name in sign_bits.TYPES})
        known.check(file.rows, form.dim)
        found = Facts(**arrays)
        found.check(file.rows, len(roots))
    except ValueError as error:
        raise Damaged(path, str(error)) from error
    if norms is not None:
        part.store.know_norms(norms)
    return replace(
        part,
        backgrounds=backgrounds,
        bank=file.bank,
        facts=found,
        signs=known,
        lines=Lines(beside, file.sidecar, lines, ends, part.store.codes, roots),
    )


def _check_arrays(arrays: Mapping[str, NDArray[Any]], file: SegmentFile) -> None:
    """Raise ValueError unless ends, backgrounds and lengths are of the rows of a file."""
    ends = arrays["ends"]
    if not is_ends(ends, file.sidecar.size) or len(ends) != file.rows:
        raise ValueError("it has not the end of each line")
    if arrays["backgrounds"].shape != (file.rows, 2):
        raise ValueError("it has not the background of each row")
    norms = arrays.get("norms", np.ones(file.rows, np.float32))
    if norms.shape != (file.rows,) or not ((norms > 0) & (norms < np.inf)).all():
        raise ValueError("it has not the length of each vector")


def lacks_facts(part: Part) -> bool:
    """Whether a part is of a file that should have facts beside it, and is of an older version."""
    return part.file is not None and part.file.facts is None and part.file.rows >= FACTS_FROM


def write_facts(
    folder: Path, file: SegmentFile, form: Form, roots: Sequence[bytes | None]
) -> SegmentFile:
    """Write the facts of a pair's rows anew from its sidecar; raises as `open_part` does."""
    data = read_sidecar(folder, file)
    known = [root or b"" for root in roots]  # of rows that are dead nobody asks
    segments, backgrounds = _decode(folder, file, data, known, [True] * file.rows)
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    found = facts_of(segments, known)
    return _write_facts(folder, file, form, found, ends, as_array(backgrounds))


def read_rows(
    folder: Path, file: SegmentFile, roots: Sequence[bytes | None]
) -> tuple[list[Segment], list[Background]]:
    """Return what a sidecar says of each row that is not removed; raises as `open_part` does."""
    data = read_sidecar(folder, file)
    alive = np.ones(file.rows, np.bool_)
    for start, end in file.dead:
        alive[start:end] = False
    return _decode(folder, file, data, roots, alive.tolist())


def read_sidecar(folder: Path, file: SegmentFile) -> bytes:
    """Return a sidecar as it was written; raises as `open_part` does."""
    path = sidecar_path(folder, file.name)
    with open_file(path) as source:
        check_size(path, file.sidecar, os.fstat(source.fileno()).st_size)
        data = source.readall()
    check_sum(path, file.sidecar, data)
    return data


def with_backgrounds(part: Part, found: Vectors, bank: Bank | None) -> Part:
    """Return an opened part with what its file says (n, 2), or measured where the bank is another.

    Of a library that lost its bank the backgrounds are kept for the day when it comes back.
    """
    known = None if part.file is None else part.file.bank
    if bank is None or bank.sha256 == known:
        return replace(part, backgrounds=found, bank=known)
    return compared(part, bank)


def compared(part: Part, bank: Bank) -> Part:
    """Return the part with the backgrounds of this bank."""
    if part.bank == bank.sha256:
        return part
    return replace(part, backgrounds=measure(part.store, bank), bank=bank.sha256)


def verify(folder: Path, part: Part) -> None:
    """Compare a part's vectors with their checksum if nobody has; raises Damaged."""
    if part.file is not None and not part.verified:
        path = faiss_path(folder, part.file.name)
        check_sum(path, part.file.faiss, _map(path, part.file.faiss))


def merge_plan(parts: Iterable[Part]) -> list[list[Part]]:
    """Return the parts that have live rows, in order, those together that should be one file.

    Only parts at the end are merged, and only when MERGE of them have gathered, so that a row is
    written a few times in its life, however many commits there are.
    """
    groups = [[part] for part in parts if part.live]
    while groups:
        tiers = [_tier(group) for group in groups]
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
    roots: Sequence[bytes | None],
) -> Part:
    """Write a pair as `write_pair` does and open it, its rows numbered as they were."""
    file = write_pair(folder, name, group, segments, roots)
    numbers = np.concatenate([part.numbers[part.store.alive] for part in group])
    backgrounds = _backgrounds(group, file.bank)
    data = _map(faiss_path(folder, name), file.faiss)
    store = FaissStore.from_bytes(data, group[0].store.form, file.rows)
    return with_facts(folder, Part(store, numbers, backgrounds, file.bank, file), roots)


def write_pair(
    folder: Path,
    name: str,
    group: Sequence[Part],
    segments: Mapping[int, Segment],
    roots: Sequence[bytes | None],
) -> SegmentFile:
    """Write the live rows of some parts, in order, as one new pair of files, and facts if many.

    `segments` has the segment of each row number. Raises Damaged rather than copy damaged vectors.
    """
    for part in group:
        verify(folder, part)
    banks = {part.bank for part in group}
    bank = banks.pop() if len(banks) == 1 else None  # what is of several banks is not kept
    stored = [segments[row] for part in group for row in part.numbers[part.store.alive].tolist()]
    backgrounds = _backgrounds(group, bank)
    codes = (part.store.codes[row] for part in group for row in np.flatnonzero(part.store.alive))
    numbers = {root: number for number, root in enumerate(roots) if root is not None}
    lines = encode_rows(
        zip(stored, as_lines(backgrounds), (code.tobytes() for code in codes), strict=True), numbers
    )
    faiss = write_file(faiss_path(folder, name), *index_file([part.store for part in group]))
    sidecar = write_file(sidecar_path(folder, name), b"".join(lines))
    file = SegmentFile(name, len(stored), faiss, sidecar, bank=bank)
    if file.rows < FACTS_FROM:
        return file
    ends = np.cumsum([len(line) for line in lines])
    found = facts_of(stored, roots)
    return _write_facts(folder, file, group[0].store.form, found, ends, backgrounds)


def _backgrounds(group: Sequence[Part], bank: str | None) -> Vectors:
    """Return the backgrounds of the live rows, NaN where they are not of this bank."""
    found = np.concatenate([part.backgrounds[part.store.alive] for part in group])
    if bank is None:
        found[:] = np.nan
    return found


def _write_facts(
    folder: Path,
    file: SegmentFile,
    form: Form,
    found: Facts,
    ends: NDArray[np.int64],
    backgrounds: Vectors,
) -> SegmentFile:
    """Write what is known of a pair's rows, with the signs of its vectors, and seal it."""
    data = _map(faiss_path(folder, file.name), file.faiss)
    store = FaissStore.from_bytes(data, form, file.rows)
    arrays = found.arrays | signs_of(store).arrays | {"ends": ends, "backgrounds": backgrounds}
    arrays["norms"] = store.norms
    types = _file_types(form)
    typed = {key: arrays[key].astype(kind, copy=False) for key, kind in types.items()}
    return replace(file, facts=write_file(facts_path(folder, file.name), *pack(typed)))


def _decode(
    folder: Path,
    file: SegmentFile,
    data: bytes,
    roots: Sequence[bytes | None],
    alive: Sequence[bool],
) -> tuple[list[Segment], list[Background]]:
    try:
        return decode_rows(data, roots, alive)
    except ValueError as error:
        raise Damaged(sidecar_path(folder, file.name), str(error)) from error


def _file_types(form: Form) -> dict[str, np.dtype[Any]]:
    """Return what a file of facts has of vectors of this form."""
    return _FILE_TYPES | ({"norms": np.dtype("<f4")} if form.scaled else {})


def _tier(group: Sequence[Part]) -> int:
    size = sum(part.live * (part.store.form.row_size + _ROW) for part in group)
    return sum(size >= limit for limit in TIERS)


def _map(path: Path, seal: Seal) -> memoryview:
    """Return a file's bytes without reading them; they stay when a commit deletes the file.

    Raises Damaged where they are not as many as were written.
    """
    with open_file(path) as source:
        size = os.fstat(source.fileno()).st_size
        check_size(path, seal, size)
        if size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))
