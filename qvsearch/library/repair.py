"""Check every byte of a library, and repair a damaged one with the least loss.

A row is kept only if its line and its vector were written together. The files of lost rows are
embedded again by the next `qvsearch index`.
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
from qvsearch.library.baseline import as_array, open_baseline
from qvsearch.library.lock import WriterLock
from qvsearch.library.manifest import (
    COPY,
    MANIFEST,
    SEGMENTS,
    BaselineFile,
    Damaged,
    Manifest,
    ShardFiles,
    baseline_path,
    columns_path,
    faiss_path,
    read_committed,
    read_manifest,
    sidecar_path,
    unreadable,
    words_path,
    write_manifest,
)
from qvsearch.library.rows import form_of
from qvsearch.library.searches import DamagedSearch, damaged_searches
from qvsearch.library.shard_words import verify_words
from qvsearch.library.shards import (
    open_store,
    read_columns,
    read_rows,
    verify_vectors,
    waiting,
    write_columns,
    write_shard,
)
from qvsearch.library.sidecar import Background, salvage_row
from qvsearch.library.sweeping import sweep
from qvsearch.vectors.store import FaissStore

if TYPE_CHECKING:
    from qvsearch.files import Seal
    from qvsearch.types import Segment

QUARANTINE = "quarantine"
# Errors of a missing or broken file; others may be temporary.
_BROKEN = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.EIO}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file is damaged; `file` is relative to the library."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Repair:
    """The result of a repair: numbers of rows; the kept ones `without_words` are read again."""

    problems: tuple[Problem, ...]
    kept: int
    lost: int
    without_words: int = 0


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A sound row of a damaged shard; `code` is its vector as stored."""

    segment: Segment
    background: Background
    code: bytes


def check(folder: str | Path) -> list[Problem]:
    """Read every byte of a library and return all problems.

    Needs no lock: after a commit of another process it starts again. Raises QvsearchError if there
    is no library, or one of a newer format.
    """
    folder = Path(folder).expanduser().absolute()
    while True:
        manifest, problems = _manifest(folder)
        if manifest is not None:
            problems += _examine_baseline(folder, manifest)
            for file in manifest.files:
                problems += _examine(folder, file, manifest) or _examine_columns(
                    folder, file, manifest
                )
                problems += _examine_words(folder, file)
        if not problems or _manifest(folder)[0] == manifest:
            return [*problems, *(_problem(folder, each) for each in damaged_searches(folder))]


def repair(folder: str | Path) -> Repair:
    """Keep every sound row of a library and drop the rest, in one commit.

    Damaged files are moved to the library's folder `quarantine`. Raises QvsearchError, and changes
    nothing, if the manifest and its copy are both damaged, or if a damaged file cannot be read at
    present.
    """
    folder = Path(folder).expanduser().absolute()
    _manifest(folder)  # before a lock file is written into a folder that may not be a library
    with WriterLock(folder).held():
        try:
            repaired = _repaired(folder)
            searches = damaged_searches(folder)
            for each in searches:
                make_folder(folder / QUARANTINE)
                move_file(each.path, folder / QUARANTINE / each.path.name)
            found = (*repaired.problems, *(_problem(folder, each) for each in searches))
            return replace(repaired, problems=found)
        except OSError as error:
            raise unreadable(folder, error) from error


def _repaired(folder: Path) -> Repair:
    """Repair while the lock is held; OSErrors pass through."""
    manifest, problems = _manifest(folder)
    if manifest is None:
        raise QvsearchError(
            f"{folder / MANIFEST} and its copy are both damaged, so the model of the vectors is"
            " not known; index again into another --library"
        )
    faults = _examine_baseline(folder, manifest)
    baseline = None if faults else manifest.baseline
    problems += faults
    sound: dict[str, ShardFiles] = {}
    for file in manifest.files:
        faults = _examine(folder, file, manifest)
        if not faults:
            faults = _examine_columns(folder, file, manifest)
            sound[file.name] = file
            if faults:
                sound[file.name] = write_columns(folder, file, form_of(manifest), manifest.roots)
        if lost := _examine_words(folder, file):
            if file.name in sound:
                sound[file.name] = replace(sound[file.name], words=None)
            faults = [*faults, *lost]
        problems += faults
    if not problems:
        return Repair((), sum(_live(file) for file in sound.values()), 0)
    return _rebuild(folder, manifest, baseline, sound, problems)


def _manifest(folder: Path) -> tuple[Manifest | None, list[Problem]]:
    """Return the library's state, from the copy if necessary, and the problems of the two."""
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
    """Return the problems of a shard's vectors and sidecar."""

    def read_vectors() -> None:
        open_store(folder, file, form_of(manifest))
        verify_vectors(folder, file)

    return _faults(folder, file, read_vectors, lambda: read_rows(folder, file, manifest.roots))


def _examine_columns(folder: Path, file: ShardFiles, manifest: Manifest) -> list[Problem]:
    """Return the problems of a shard's columns, which can be rebuilt from its lines."""
    seal = file.facts
    if seal is None:
        return []
    form, roots = form_of(manifest), manifest.roots
    return _faults(folder, file, lambda: read_columns(folder, file, seal, form, roots))


def _examine_words(folder: Path, file: ShardFiles) -> list[Problem]:
    """Return the problems of a shard's words, which the next `index` reads again."""
    return _faults(folder, file, lambda: verify_words(folder, file))


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


def _examine_baseline(folder: Path, manifest: Manifest) -> list[Problem]:
    """Return the problems of the baseline."""
    if manifest.baseline is None:
        return []
    try:
        open_baseline(folder, manifest.baseline, manifest.fingerprint.dim)
    except Damaged as error:
        return [_problem(folder, error)]
    except OSError as error:
        name = baseline_path(folder, manifest.baseline.name).name
        return [Problem(f"{SEGMENTS}/{name}", error.strerror or str(error))]
    return []


def _rebuild(
    folder: Path,
    manifest: Manifest,
    baseline: BaselineFile | None,
    sound: Mapping[str, ShardFiles],
    problems: list[Problem],
) -> Repair:
    """Commit the sound shards, and new ones with the sound rows of the others.

    A damaged baseline is dropped; the next `index` that embeds a file creates it again. Damaged
    words are dropped, too, and those of damaged shards; the next `index` reads them again.
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
        manifest,
        files=tuple(files),
        next=following,
        generation=manifest.generation + 1,
        baseline=baseline,
    )
    write_manifest(folder, state)
    make_folder(folder / QUARANTINE)
    gone = {file.name for file in manifest.files} - {file.name for file in files}
    paths = [
        path(folder, name) for name in gone for path in (faiss_path, sidecar_path, columns_path)
    ]
    words = {file.words for file in manifest.files} - {file.words for file in files}
    paths += [words_path(folder, each.name) for each in words if each is not None]
    if manifest.baseline is not None and baseline is None:
        paths.append(baseline_path(folder, manifest.baseline.name))
    for path in paths:
        if path.exists():
            move_file(path, folder / QUARANTINE / path.name)
    sweep(folder, state)
    without_words = sum(_live(file) for file in files if file.words is None)
    return Repair(tuple(problems), kept, before - kept, without_words)


def _without_torn_items(
    salvaged: Sequence[tuple[int, Salvaged]], file: ShardFiles
) -> list[Salvaged]:
    """Return the live rows, without the rest of any file of several rows that lost one.

    For the next `index` a file with any row is unchanged, so a gap would stay. An item's rows are
    neighbours; a lost row may have belonged to the item before it or to the one after it.
    """
    dead = _dead(file)
    live = [entry for entry in salvaged if entry[0] not in dead]
    torn = set()
    edges = [(-1, None), *((row, each.segment) for row, each in live), (file.rows, None)]
    for (row, before), (following, after) in pairwise(edges):
        if any(lost not in dead for lost in range(row + 1, following)):
            torn |= {each.item.location for each in (before, after) if each is not None}
    return [
        each
        for _, each in live
        if each.segment.item.location not in torn or _is_whole_item(each.segment)
    ]


def _is_whole_item(segment: Segment) -> bool:
    places = (segment.start, segment.lines, segment.page, segment.section)
    return all(each is None for each in places)


def _salvage(folder: Path, file: ShardFiles, manifest: Manifest) -> Iterator[tuple[int, Salvaged]]:
    """Yield the number and content of each row of a damaged shard whose line and vector fit.

    OSErrors pass through unless they mean that a file is missing or broken.
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
    row = 0  # the expected vector of the next line
    for line in lines:
        # A line break that damage added or removed moves all lines after it by one.
        for number in (row, row - 1, row + 1):
            if 0 <= number < rows:
                code = bytes(codes[number * size : (number + 1) * size])
                content = salvage_row(line, code, manifest.roots)
                if content is not None:
                    row = number
                    yield number, Salvaged(*content, code)
                    break
        row += 1


def _read(path: Path, seal: Seal) -> bytes:
    """Return the content of a damaged file, up to twice its size and a megabyte."""
    with BufferedReader(open_file(path)) as source:
        return source.read(2 * seal.size + MIB)


def _write_rows(
    folder: Path, name: str, rows: list[Salvaged], before: ShardFiles, manifest: Manifest
) -> ShardFiles:
    """Write a new shard; the vectors keep their bytes."""
    form = form_of(manifest)
    data = b"".join([form.header(len(rows)), *(row.code for row in rows)])
    store = FaissStore.from_bytes(data, form, len(rows))
    backgrounds = as_array(row.background for row in rows)
    shard = replace(
        waiting(form, None),
        store=store,
        numbers=np.arange(len(rows)),
        backgrounds=backgrounds,
        baseline=before.bank,
    )
    segments = {number: row.segment for number, row in enumerate(rows)}
    return write_shard(folder, name, [shard], segments, manifest.roots)


def _dead(file: ShardFiles) -> frozenset[int]:
    return frozenset(row for start, end in file.dead for row in range(start, end))


def _live(file: ShardFiles) -> int:
    return file.rows - sum(end - start for start, end in file.dead)


def _problem(folder: Path, error: Damaged | DamagedSearch) -> Problem:
    return Problem(error.path.relative_to(folder).as_posix(), error.reason)
