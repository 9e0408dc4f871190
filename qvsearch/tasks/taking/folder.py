"""Copies or links the files of hits into one folder; nothing that exists is replaced."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.copying import UNFINISHED, copy_new
from qvsearch.errors import QvsearchError, system_reason
from qvsearch.files import content_hash, make_folder
from qvsearch.tasks.taking.names import MOST_NUMBERS, cut, numbered, portable
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.types import Hit, Segment

LEAST_DIGITS = 3  # of a rank in a name
_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EINVAL, errno.EILSEQ}  # names that a file system does not take


@dataclass(frozen=True, slots=True)
class Taken:
    """A file in the folder; `is_new` unless an earlier run put it there."""

    path: Path
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Haul:
    """What became of the hits: a file or None for each, the reasons, and why it ended early."""

    taken: tuple[Taken | None, ...]
    skipped: tuple[Skipped, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """A file that is put into the folder, `size` in bytes.

    `hit` is its place among the hits. The first name to try is `base` with `number`.
    """

    hit: int
    source: bytes
    size: int
    base: str
    number: int


class HitFolder:
    """A folder for the files of hits: copies, or with `links` symbolic links.

    With `ranked` names begin with the rank. Files of one name get numbers. A file that is there
    already with this content, or a link to it, is left alone.
    """

    def __init__(
        self, folder: Path, *, links: bool = False, ranked: bool = False, option: str = "--copy-to"
    ) -> None:
        """Raise QvsearchError if there can be no such folder."""
        if os.path.lexists(folder) and not folder.is_dir():
            raise QvsearchError(f"{folder} is not a folder; give {option} a folder, or a new name")
        self.folder = folder
        self._links = links
        self._ranked = ranked
        self._sources: dict[str, bytes] = {}  # by name: those that this run gave or found
        self._names: dict[tuple[str, bytes], str] = {}  # by name without number, and source
        self._numbers: dict[str, int] = {}  # by name without number: the last one
        self._is_picky: bool | None = None  # whether the file system refuses some names
        self._has_room = links

    def take(
        self, hits: Sequence[Hit], progress: Callable[[int, int], None] = lambda *_: None
    ) -> Haul:
        """Put the file of each hit into the folder.

        `progress` is called before each file is written, with its number from 1 and that of all. A
        file that is gone or has changed is skipped. Raises QvsearchError, before a file is
        written, if there is too little space or the folder cannot be created.
        """
        taken: list[Taken | None] = [None] * len(hits)
        skipped: list[Skipped] = []
        jobs: list[_Job] = []
        width = max([LEAST_DIGITS, *(len(str(hit.rank)) for hit in hits)])
        for place, hit in enumerate(hits):
            reason = _unfit(hit.segment)
            if reason is None:
                if not jobs and not any(taken):
                    self._open()
                outcome = self._find(place, hit, width)
            else:
                outcome = Skipped(hit.segment.item.location, reason)
            match outcome:
                case Taken():
                    taken[place] = outcome
                case _Job():
                    jobs.append(outcome)
                case Skipped():
                    skipped.append(outcome)
        problem = self._put_all(jobs, taken, skipped, progress)
        return Haul(tuple(taken), tuple(skipped), problem)

    def _open(self) -> None:
        make_folder(self.folder)
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise QvsearchError(f"no permission to write to {self.folder}; give another folder")

    def _put_all(
        self,
        jobs: Sequence[_Job],
        taken: list[Taken | None],
        skipped: list[Skipped],
        progress: Callable[[int, int], None],
    ) -> str | None:
        """Do the jobs; return why some were not begun."""
        for place, job in enumerate(jobs):
            progress(place + 1, len(jobs))
            try:
                taken[job.hit] = self._put(job, left=jobs[place:])
            except OSError as error:
                for each in jobs[place:] if error.errno in _FULL else [job]:
                    self._sources.pop(self._names.pop((each.base, each.source)), None)
                if error.errno in _FULL:
                    left = len(jobs) - place
                    return (
                        f"no space left in {self.folder}: {left:,} of {len(jobs):,} files are"
                        " missing, the others are whole; free some and run the same command again"
                    )
                skipped.append(Skipped(job.source, self._reason(error)))
        return None

    def _find(self, place: int, hit: Hit, width: int) -> Taken | _Job | Skipped:
        """Return the file of a hit if it is in the folder, or the first name that is free."""
        item = hit.segment.item
        base = os.fsdecode(os.path.basename(item.location))
        if self._ranked:
            base = cut(
                f"{hit.rank:0{width}d}-{os.path.splitext(base)[0]}", os.path.splitext(base)[1]
            )
        if self._refuses_names():
            base = portable(base)
        if (base, item.location) in self._names:  # of an earlier query
            return Taken(self.folder / self._names[base, item.location], is_new=False)
        first = self._numbers.get(base, 1)
        for number, name in enumerate(numbered(base, first), start=first):
            path = self.folder / name
            if name in self._sources:
                continue
            self._numbers[base] = number
            if not os.path.lexists(path):
                self._keep(name, base, item.location)
                return _Job(place, item.location, item.size, base, number)
            if self._is_there(path, hit.segment):
                self._keep(name, base, item.location)
                return Taken(path, is_new=False)
        return Skipped(item.location, f"{self.folder} has {MOST_NUMBERS:,} files of its name")

    def _keep(self, name: str, base: str, source: bytes) -> None:
        self._sources[name] = source
        self._names[base, source] = name

    def _is_there(self, path: Path, segment: Segment) -> bool:
        """Return whether a path of the folder is the file already, a link to it or a copy."""
        source = os.fsdecode(segment.item.location)
        try:
            if path.is_symlink():
                return self._links and str(path.readlink()) == source
            if path.samefile(source):
                return True
            size = segment.item.size
            return (
                not self._links
                and path.is_file()
                and path.stat().st_size == size
                and content_hash(os.fsencode(path), size)
                == content_hash(segment.item.location, size)
            )
        except OSError:
            return False

    def _put(self, job: _Job, left: Sequence[_Job]) -> Taken:
        """Write one file under the first name that is free now; raises OSError."""

        def check_room() -> None:
            needed = sum(each.size for each in left)
            free = shutil.disk_usage(self.folder).free
            if not self._has_room and needed > free:
                raise QvsearchError(
                    f"{len(left):,} files take {needed / 1e6:,.1f} MB, and {self.folder} has"
                    f" {free / 1e6:,.1f} MB of free space; free some, or take fewer with -k"
                )
            self._has_room = True

        for name in numbered(job.base, job.number):
            path = self.folder / name
            if self._sources.get(name, job.source) != job.source:
                continue
            try:
                if self._links:
                    path.symlink_to(os.fsdecode(job.source))
                else:
                    copy_new(job.source, path, check_room)
            except FileExistsError:  # another program was faster, or letters differ in case only
                continue
            self._keep(name, job.base, job.source)
            return Taken(path)
        raise OSError(errno.EEXIST, f"{self.folder} has {MOST_NUMBERS:,} files of its name")

    def _reason(self, error: OSError) -> str:
        if self._links and error.errno in (errno.EPERM, errno.EOPNOTSUPP):
            return f"{self.folder} takes no links; copy the files with --copy-to"
        return system_reason(error)

    def _refuses_names(self) -> bool:
        """Return whether the file system refuses names that this one accepts, as FAT does."""
        if self._is_picky is None:
            path = self.folder / f'{UNFINISHED}{os.getpid()}:?"'
            try:
                path.touch()
                path.unlink()
                self._is_picky = False
            except OSError as error:
                self._is_picky = error.errno in _REFUSED
        return self._is_picky


def _unfit(segment: Segment) -> str | None:
    """Return why the file of a hit is not the one that was indexed; None if it is."""
    item = segment.item
    try:
        status = os.stat(item.location)  # noqa: PTH116 - pathlib takes no bytes
        if (status.st_size, status.st_mtime_ns) == (item.size, item.mtime_ns):
            return None
        if content_hash(item.location, item.size) == segment.content_hash:
            return None  # only its time is another
    except (FileNotFoundError, NotADirectoryError):
        return "it is no longer there"
    except OSError as error:
        if error.errno != errno.EAGAIN:  # another size
            return system_reason(error)
    return "it has changed since it was indexed; run qvsearch index and search again"
