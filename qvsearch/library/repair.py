"""Check every byte of a library, and make a damaged one sound again at the least loss.

Nothing is made up: a row is kept only where its line and its vector are what was written together.
What is lost is embedded again by the next `qvsearch index`, because its rows are gone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import MIB, make_folder, move_file, open_file
from qvsearch.library.baseline import as_array, open_bank
from qvsearch.library.lock import WriterLock
from qvsearch.library.manifest import (
    COPY,
    MANIFEST,
    SEGMENTS,
    BankFile,
    Damaged,
    Manifest,
    ShardFiles,
    bank_path,
    facts_path,
    faiss_path,
    read_committed,
    read_manifest,
    sidecar_path,
    sweep,
    unreadable,
    write_manifest,
)
from qvsearch.library.rows import form_of
from qvsearch.library.shards import (
    open_store,
    read_facts,
    read_rows,
    verify_vectors,
    waiting,
    write_facts,
    write_shard,
)
from qvsearch.library.sidecar import Background, salvage_row
from qvsearch.vectors.store import FaissStore

if TYPE_CHECKING:
    from qvsearch.files import Seal
    from qvsearch.types import Segment

QUARANTINE = "quarantine"
# What the system says of a file that is not there or broken; all else may be over in a moment.
_BROKEN = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.EIO}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file; `file` is relative to the library."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair found and did: `kept` and `lost` are numbers of rows."""

    problems: tuple[Problem, ...]
    kept: int
    lost: int


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A row of a damaged pair: what its line says, and the bytes of its vector."""

    segment: Segment
    background: Background
    code: bytes


def check(folder: str | Path) -> list[Problem]:
    """Read every byte of a library and return all that is wrong.

    Needs no lock: when a commit comes in between, it starts again. Raises QvsearchError where
    there is no library or one of a newer format.
    """
    folder = Path(folder).expanduser().absolute()
    while True:
        manifest, problems = _manifest(folder)
        if manifest is not None:
            problems += _examine_bank(folder, manifest)
            for file in manifest.files:
                problems += _examine(folder, file, manifest) or _examine_facts(
                    folder, file, manifest
                )
        if not problems or _manifest(folder)[0] == manifest:
            return problems


def repair(folder: str | Path) -> Repair:
    """Keep every sound row of a library and drop the rest, in one commit.

    Damaged files are moved to the library's folder `quarantine`. Raises QvsearchError, and nothing
    is changed, where the manifest and its copy are both damaged, or where a damaged file cannot be
    read for another reason than that.
    """
    folder = Path(folder).expanduser().absolute()
    _manifest(folder)  # before there is a lock file in what may be no library
    with WriterLock(folder).held():
        try:
            return _repaired(folder)
        except OSError as error:
            raise unreadable(folder, error) from error


def _repaired(folder: Path) -> Repair:
    """Do what `repair` does, the lock held; OSErrors pass through."""
    manifest, problems = _manifest(folder)
    if manifest is None:
        raise QvsearchError(
            f"{folder / MANIFEST} and its copy are both damaged, so that nobody knows which"
            " model made the vectors; index again into another --library"
        )
    faults = _examine_bank(folder, manifest)
    bank = None if faults else manifest.bank
    problems += faults
    sound: dict[str, ShardFiles] = {}
    for file in manifest.files:
        faults = _examine(folder, file, manifest)
        if not faults:
            faults = _examine_facts(folder, file, manifest)
            sound[file.name] = file
            if faults:
                sound[file.name] = write_facts(folder, file, form_of(manifest), manifest.roots)
        problems += faults
    if not problems:
        return Repair((), sum(_live(file) for file in sound.values()), 0)
    return _rebuild(folder, manifest, bank, sound, problems)


def _manifest(folder: Path) -> tuple[Manifest | None, list[Problem]]:
    """Return the library's state, from the copy if need be, and what is wrong with the two."""
    try:
        manifest, problems = read_committed(folder), []
    except Damaged as error:
        manifest, problems = None, [_problem(folder, error)]
    try:
        copy = read_manifest(folder / COPY)
    except Damaged as error:
        return manifest, [*problems, _problem(folder, error)]
    except OSError:
        return manifest, problems
    return manifest or copy, problems


def _examine(folder: Path, file: ShardFiles, manifest: Manifest) -> list[Problem]:
    """Return what is wrong with the vectors and the sidecar of a shard."""

    def read_vectors() -> None:
        open_store(folder, file, form_of(manifest))
        verify_vectors(folder, file)

    return _faults(folder, file, read_vectors, lambda: read_rows(folder, file, manifest.roots))


def _examine_facts(folder: Path, file: ShardFiles, manifest: Manifest) -> list[Problem]:
    """Return what is wrong with the facts of a shard, which can be rebuilt from its lines."""
    seal = file.facts
    if seal is None:
        return []
    form, roots = form_of(manifest), manifest.roots
    return _faults(folder, file, lambda: read_facts(folder, file, seal, form, roots))


def _faults(folder: Path, file: ShardFiles, *reads: Callable[[], object]) -> list[Problem]:
    problems = []
    for read in reads:
        try:
            read()
        except Damaged as error:
            problems.append(_problem(folder, error))
        except OSError as error:
            name = Path(os.fsdecode(error.filename or file.name)).name
            problems.append(Problem(f"{SEGMENTS}/{name}", error.strerror or str(error)))
    return problems


def _examine_bank(folder: Path, manifest: Manifest) -> list[Problem]:
    """Return what is wrong with the bank of generic queries."""
    if manifest.bank is None:
        return []
    try:
        open_bank(folder, manifest.bank, manifest.fingerprint.dim)
    except Damaged as error:
        return [_problem(folder, error)]
    except OSError as error:
        name = bank_path(folder, manifest.bank.name).name
        return [Problem(f"{SEGMENTS}/{name}", error.strerror or str(error))]
    return []


def _rebuild(
    folder: Path,
    manifest: Manifest,
    bank: BankFile | None,
    sound: Mapping[str, ShardFiles],
    problems: list[Problem],
) -> Repair:
    """Commit the sound files, and new ones with the sound rows of the others.

    Without a bank that is sound there is none; the next `index` that embeds a file makes it anew.
    """
    on_disk = sorted({path.stem for path in (folder / SEGMENTS).glob("[0-9]*.*")})
    following = max([manifest.next, *(int(name) + 1 for name in on_disk if name.isdigit())])
    files = []
    for file in manifest.files:
        if file.name in sound:
            files.append(sound[file.name])
        elif rows := _without_torn_items(list(_salvage(folder, file, manifest)), file):
            files.append(_write_rows(folder, f"{following:06d}", rows, file, manifest))
            following += 1
    kept = sum(_live(file) for file in files)
    before = sum(_live(file) for file in manifest.files)
    state = replace(
        manifest, files=tuple(files), next=following, generation=manifest.generation + 1, bank=bank
    )
    write_manifest(folder, state)
    make_folder(folder / QUARANTINE)
    gone = {file.name for file in manifest.files} - {file.name for file in files}
    paths = [path(folder, name) for name in gone for path in (faiss_path, sidecar_path, facts_path)]
    if manifest.bank is not None and bank is None:
        paths.append(bank_path(folder, manifest.bank.name))
    for path in paths:
        if path.exists():
            move_file(path, folder / QUARANTINE / path.name)
    sweep(folder, state)
    return Repair(tuple(problems), kept, before - kept)


def _without_torn_items(
    salvaged: Sequence[tuple[int, Salvaged]], file: ShardFiles
) -> list[Salvaged]:
    """Return the live rows, but for what is left of a video or text that lost a part.

    The next `index` takes a file with any row for unchanged, so that a gap would stay. An item's
    rows lie side by side, and what a lost row was nobody can say: it may have been of either side.
    """
    dead = _dead(file)
    live = [entry for entry in salvaged if entry[0] not in dead]
    torn = set()
    edges = [(-1, None), *((row, found.segment) for row, found in live), (file.rows, None)]
    for (row, before), (following, after) in pairwise(edges):
        if any(lost not in dead for lost in range(row + 1, following)):
            torn |= {each.item.location for each in (before, after) if each is not None}
    return [
        found
        for _, found in live
        if found.segment.item.location not in torn or _is_whole_item(found.segment)
    ]


def _is_whole_item(segment: Segment) -> bool:
    return segment.start is None and segment.lines is None


def _salvage(folder: Path, file: ShardFiles, manifest: Manifest) -> Iterator[tuple[int, Salvaged]]:
    """Yield each row of a damaged pair whose line and vector belong together, with its number.

    OSErrors pass through that do not say that a file is broken.
    """
    form = form_of(manifest)
    try:
        data = _read(faiss_path(folder, file.name), file.faiss)
        lines = _read(sidecar_path(folder, file.name), file.sidecar).split(b"\n")
    except OSError as error:
        if error.errno not in _BROKEN:
            raise
        return
    codes = memoryview(data)[form.header_size :]
    size = form.row_size
    rows = len(codes) // size
    row = 0  # the vector that the next line should belong to
    for line in lines:
        # A line break that was made or lost by damage moves all lines after it by one.
        for found in (row, row - 1, row + 1):
            if 0 <= found < rows:
                code = bytes(codes[found * size : (found + 1) * size])
                said = salvage_row(line, code, manifest.roots)
                if said is not None:
                    row = found
                    yield found, Salvaged(*said, code)
                    break
        row += 1


def _read(path: Path, seal: Seal) -> bytes:
    """Return a damaged file, of one that has grown beyond all measure only the beginning."""
    with BufferedReader(open_file(path)) as source:
        return source.read(2 * seal.size + MIB)


def _write_rows(
    folder: Path, name: str, rows: list[Salvaged], before: ShardFiles, manifest: Manifest
) -> ShardFiles:
    """Write a new pair of files; the vectors stay as they are, bit for bit."""
    form = form_of(manifest)
    data = b"".join([form.header(len(rows)), *(row.code for row in rows)])
    store = FaissStore.from_bytes(data, form, len(rows))
    backgrounds = as_array(row.background for row in rows)
    shard = replace(
        waiting(form, None),
        store=store,
        numbers=np.arange(len(rows)),
        backgrounds=backgrounds,
        bank=before.bank,
    )
    segments = {number: row.segment for number, row in enumerate(rows)}
    return write_shard(folder, name, [shard], segments, manifest.roots)


def _dead(file: ShardFiles) -> frozenset[int]:
    return frozenset(row for start, end in file.dead for row in range(start, end))


def _live(file: ShardFiles) -> int:
    return file.rows - sum(end - start for start, end in file.dead)


def _problem(folder: Path, error: Damaged) -> Problem:
    return Problem(error.path.relative_to(folder).as_posix(), error.reason)
