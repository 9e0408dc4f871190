"""Gives roots other paths, e.g. those of a drive that is mounted elsewhere now."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.files import content_hash, is_below
from qvsearch.library.aliases import is_there
from qvsearch.library.failures import read_failures, write_failures
from qvsearch.library.lock import WriterLock
from qvsearch.library.manifest import (
    Manifest,
    ShardFiles,
    highest_name,
    read_committed,
    unreadable,
    write_manifest,
)
from qvsearch.library.pending import read_pending, write_pending
from qvsearch.library.rows import Rows, form_of
from qvsearch.library.searches import move_paths
from qvsearch.library.shards import read_columns, write_columns

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.types import Segment

MOST_COMPARED = 500  # files; enough to tell another drive from this one
MTIME_STEP = 2_000_000_000  # nanoseconds: FAT keeps even seconds only


@dataclass(frozen=True, slots=True)
class Match:
    """How many `compared` files of the roots are the `same` at their new places."""

    compared: int
    same: int

    @property
    def is_most(self) -> bool:
        """Whether more than half are the same; of no files, all are."""
        return not self.compared or 2 * self.same > self.compared


def new_places(roots: Sequence[bytes], old: bytes, new: bytes) -> dict[bytes, bytes]:
    """Return the new path of each root that is the absolute path `old` or below it.

    Raises QvsearchError if there is none, if `new` is not there, or if one of them would be, hold
    or lie in another root, whose files would then be there twice.
    """
    moves = {root: _moved(root, old, new) for root in roots if is_below(root, old)}
    if not moves:
        there = ", ".join(map(os.fsdecode, roots)) or "none"
        raise QvsearchError(
            f"the library has no root at or below {os.fsdecode(old)}; there are: {there}"
        )
    for place in moves.values():
        if not is_there(place):
            raise QvsearchError(f"{os.fsdecode(place)} is not there; nothing was changed")
    if any(place in roots for place in moves.values()):
        raise QvsearchError(
            f"{os.fsdecode(new)} is a root already; nothing was changed;"
            " if the old place is gone for good, `qvsearch remove` forgets it"
        )
    for place in moves.values():
        for other in roots:
            if other not in moves and _overlap(place, other):
                raise QvsearchError(
                    f"{os.fsdecode(place)} and the root {os.fsdecode(other)} would share files;"
                    " nothing was changed"
                )
    return moves


def compare_places(library: Library, moves: Mapping[bytes, bytes]) -> Match:
    """Compare files of roots, evenly chosen, with those at the new places.

    A file is the same if size and time are, or size and content.
    """
    places = [rows[0] for rows in library.by_location().values()]
    segments = [library.segments[row] for row in places]
    moving = [each for each in segments if each.item.root in moves]
    step = -(-len(moving) // MOST_COMPARED) or 1
    compared = moving[::step]
    return Match(len(compared), sum(_is_same(each, moves[each.item.root]) for each in compared))


def _is_same(segment: Segment, root: bytes) -> bool:
    item = replace(segment.item, root=root)
    try:
        status = Path(os.fsdecode(item.location)).stat()
        if status.st_size != item.size:
            return False
        if abs(status.st_mtime_ns - item.mtime_ns) <= MTIME_STEP:
            return True
        return content_hash(item.location, item.size) == segment.content_hash
    except OSError:
        return False


def move_roots(folder: Path, moves: Mapping[bytes, bytes]) -> None:
    """Replace paths of a library's roots in one commit; rows and vectors stay as they are.

    The columns of their shards, which are derived from the paths, are written in a second commit.
    Until then the library is read without them. Saved searches get the new paths. Raises
    QvsearchError if a root is not there any more or the commit fails, LibraryLocked if another
    process holds the lock.
    """
    with WriterLock(folder).held():
        before = read_committed(folder)
        for root in moves:
            if root not in before.roots:
                raise QvsearchError(f"the library has no root {os.fsdecode(root)} any more")
        try:
            files = tuple(_without_columns(folder, before, file, moves) for file in before.files)
        except OSError as error:
            raise unreadable(folder, error) from error
        manifest = replace(
            before,
            roots=tuple(None if root is None else moves.get(root, root) for root in before.roots),
            rules={moves.get(root, root): rules for root, rules in before.rules.items()},
            files=files,
            generation=before.generation + 1,
        )
        try:
            manifest = _with_names(folder, manifest, moves)
        except OSError as error:
            raise unreadable(folder, error) from error
        write_manifest(folder, manifest)
        with suppress(QvsearchError):  # the move is done; any later commit writes the columns
            _move_lists(folder, moves)
            roots = [root for root in before.roots if root is not None]
            move_paths(folder, lambda path: _place_of(path, roots, moves))
            _complete(folder, manifest)


def _with_names(folder: Path, manifest: Manifest, moves: Mapping[bytes, bytes]) -> Manifest:
    """Return the state after a move with words that have the new names of its roots."""
    renamed = {new for old, new in moves.items() if os.path.basename(old) != os.path.basename(new)}
    numbers = [number for number, root in enumerate(manifest.roots) if root in renamed]
    if not numbers or not any(file.words for file in manifest.files):
        return manifest
    files = Rows.open(folder, manifest).with_words_anew(numbers, manifest.next)
    following = max(manifest.next, highest_name(files, manifest.baseline) + 1)
    return replace(manifest, files=files, next=following)


def _without_columns(
    folder: Path, manifest: Manifest, file: ShardFiles, moves: Mapping[bytes, bytes]
) -> ShardFiles:
    """Return the files of a shard, without its columns if it has rows of the roots."""
    if file.facts is None:
        return file
    form, roots = form_of(manifest), manifest.roots
    columns = read_columns(folder, file, file.facts, form, roots).columns
    numbers = {number for number, root in enumerate(roots) if root in moves}
    has_rows = not numbers.isdisjoint(columns.place_roots.tolist())
    return replace(file, facts=None) if has_rows else file


def _complete(folder: Path, manifest: Manifest) -> None:
    """Write the columns of shards that have none."""
    form, roots = form_of(manifest), manifest.roots
    with suppress(OSError):  # as the callers of the library will report
        files = tuple(
            write_columns(folder, file, form, roots) if file.facts is None else file
            for file in manifest.files
        )
        write_manifest(folder, replace(manifest, files=files, generation=manifest.generation + 1))


def _move_lists(folder: Path, moves: Mapping[bytes, bytes]) -> None:
    """Replace the paths in the lists of failures and of unfinished runs."""
    failures = read_failures(folder)
    moved = [replace(each, path=_moved_by(moves, each.path)) for each in failures]
    if moved != failures:
        write_failures(folder, moved)
    runs = read_pending(folder)
    going_on = [
        replace(run, paths=tuple(_moved_by(moves, path) for path in run.paths)) for run in runs
    ]
    if going_on != runs:
        write_pending(folder, going_on)


def _moved_by(moves: Mapping[bytes, bytes], path: bytes) -> bytes:
    roots: Iterable[bytes] = (root for root in moves if is_below(path, root))
    root = max(roots, key=len, default=None)
    return path if root is None else _moved(path, root, moves[root])


def _place_of(path: bytes, roots: Iterable[bytes], moves: Mapping[bytes, bytes]) -> bytes:
    """Return the new place of a path in a moved root, or above such as move together."""
    rests = {root: root[len(path.rstrip(b"/")) :] for root in roots if is_below(root, path)}
    if rests and all(root in moves and moves[root].endswith(rest) for root, rest in rests.items()):
        places = {moves[root].removesuffix(rest) for root, rest in rests.items()}
        if len(places) == 1:
            return places.pop() or b"/"
    return _moved_by(moves, path)


def _moved(path: bytes, old: bytes, new: bytes) -> bytes:
    rest = path[len(old.rstrip(b"/")) + 1 :]
    return os.path.join(new, rest) if rest else new


def _overlap(one: bytes, other: bytes) -> bool:
    """Return whether one path is or holds the other, by name or over links."""
    names = ((one, other), (os.path.realpath(one), os.path.realpath(other)))
    return any(is_below(a, b) or is_below(b, a) for a, b in names)
