"""Finds the files under a path that qvsearch can index, and counts the others by suffix.

Paths are bytes. Patterns (`include`, `exclude`, `.qvsearchignore`) have gitignore's syntax.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import system_reason
from qvsearch.files import is_below
from qvsearch.indexing.mounts import Identities
from qvsearch.indexing.subtitle_files import film_of, films_with_subtitles
from qvsearch.library.clutter import Clutter
from qvsearch.library.patterns import option_spec, pattern_text, spec_of
from qvsearch.library.rules import ScanOptions
from qvsearch.library.vendored import Vendored
from qvsearch.media.kind_at import KindOf, kind_at
from qvsearch.media.subtitles import belongs
from qvsearch.types import Item, Kind, Skipped, kind_of

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = b".qvsearchignore"
LARGEST_IGNORE_FILE = 2**18  # bytes; thousands of patterns, each tried on each file

OTHERS = "others"
COMPANION = b".xmp"  # metadata of the picture or video beside it, which is read with that
VENDORED = "vendored"  # files of a supported kind, which are nevertheless left aside

# suffixes that a user may expect to be searched; all others are counted together
_NAMED = {
    "RAW": "crw dcr gpr mos srf",
    "pictures": "ai cdr djvu eps exr hdr icns jxr psb svg wmf xcf",
    "films": "braw dv insv r3d rm rmvb swf",
    "documents": "azw3 doc key mobi numbers odg one pages pps ppt ps pub vsd vsdx wpd wps xls xlsb",
    "messages": "emlx mbox msg pst",
    "sound": "aac ac3 aif aiff alac amr ape caf dsf flac m4a m4b mid mp3 oga ogg opus wav wma wv",
}
UNREAD_RAW = frozenset(f".{suffix}" for suffix in _NAMED["RAW"].split())
NAMED = frozenset(f".{suffix}" for names in _NAMED.values() for suffix in names.split())

_SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Leftovers:
    """How many files of each unsupported suffix one folder has, and of VENDORED code."""

    path: bytes
    suffixes: Mapping[str, int]


def selector(options: ScanOptions) -> Callable[[bytes, Kind | None], bool]:
    """Return a test by kinds, include and exclude, for a relative path and its kind.

    A kind of None passes any kinds. Raises QvsearchError for an invalid pattern.
    """
    include, exclude = (
        option_spec("--include", options.include),
        option_spec("--exclude", options.exclude),
    )

    def selects(relative: bytes, kind: Kind | None) -> bool:
        if options.kinds is not None and kind is not None and kind not in options.kinds:
            return False
        if include and not include.match_file(pattern_text(relative)):
            return False
        return not (exclude and exclude.match_file(pattern_text(relative)))

    return selects


def scan(
    path: bytes, root: bytes, options: ScanOptions, kind: KindOf = lambda path, _: kind_at(path)
) -> Iterator[Item | Skipped | Leftovers]:
    """Yield the files at `path`, an absolute path equal to `root` or below it.

    `kind` returns the kind of a regular file, given its path and its status.

    The walk is lazy and sorted, a folder's files before its subfolders. A file or folder that
    cannot be read is Skipped and the walk goes on. A file of an unsupported suffix is Skipped if it
    is `path`; others are counted in the Leftovers of their folder. Raises QvsearchError for an
    invalid pattern.
    """
    selects = selector(options)
    clutter = Clutter(root, options.include)
    relative = b"" if path == root else path[len(root.rstrip(b"/")) + 1 :]
    if relative and (match := clutter.within(relative)) is not None:
        name, reason = os.fsdecode(match[0]), match[1]
        yield Skipped(path, f"left out as {reason}; add --include '{name}' --include '*'")
        return
    of_others = Vendored(options.include).reason(relative)
    if of_others is not None and not Path(os.fsdecode(path)).is_dir():
        yield Skipped(path, f"left out as {of_others}; --include takes its folder or its name")
        return
    try:
        status = Path(os.fsdecode(path)).stat()
        is_folder = stat.S_ISDIR(status.st_mode)
        start = relative + b"/" if relative and is_folder else relative
        rules = _rules_above(root, start, {}) if relative else None
    except OSError as error:
        yield Skipped(path, system_reason(error))
    except _PassedOver as reason:
        yield Skipped(path, str(reason))
    else:
        if is_folder:
            yield from _Walk(root, options, status, kind).below(start, rules)
        elif (film := film_of(path, options)) is not None:
            yield Skipped(path, f"subtitles of {film}, which has their lines")
        elif kind_of(path) is None:
            yield Skipped(path, "its suffix is not supported")
        else:
            base = os.path.basename(path)
            yield from _found(root, relative, base, status, selects, kind, Identities())


def ignored(root: bytes) -> Callable[[bytes], bool]:
    """Return a test whether a `.qvsearchignore` of this root covers a relative path."""
    known: dict[bytes, _Rules | None] = {}

    def covered(relative: bytes) -> bool:
        try:
            _rules_above(root, relative, known)
        except _PassedOver as reason:
            return reason.by_pattern
        return False

    return covered


class _PassedOver(Exception):
    """A `.qvsearchignore` covers the path, or cannot be read."""

    def __init__(self, reason: str, *, by_pattern: bool = False) -> None:
        super().__init__(reason)
        self.by_pattern = by_pattern


@dataclass(frozen=True, slots=True)
class _Rules:
    """The patterns of one folder, whose relative path has `depth` bytes, and of those above it."""

    above: _Rules | None
    depth: int
    spec: GitIgnoreSpec


def _covers(rules: _Rules | None, relative: bytes) -> bool:
    """Return whether the innermost pattern that matches ignores; folders end in a slash."""
    while rules is not None:
        is_ignored = rules.spec.check_file(pattern_text(relative[rules.depth :])).include
        if is_ignored is not None:
            return is_ignored
        rules = rules.above
    return False


def _rules_above(root: bytes, relative: bytes, known: dict[bytes, _Rules | None]) -> _Rules | None:
    """Return the rules of the folders above `relative`; those that are read are put in `known`.

    Raises _PassedOver if they cover it or a folder above it.
    """
    folder, rules = b"", None
    while True:
        if folder not in known:
            known[folder] = _read_rules(root, folder, rules)
        rules = known[folder]
        end = relative.find(b"/", len(folder)) + 1 or len(relative)
        if _covers(rules, relative[:end]):
            raise _PassedOver("ignored by .qvsearchignore", by_pattern=True)
        if end == len(relative):
            return rules
        folder = relative[:end]


def _read_rules(root: bytes, folder: bytes, above: _Rules | None) -> _Rules | None:
    """Return a folder's rules; raises _PassedOver if its file cannot be read or is invalid."""
    try:
        content = _read_ignore_file(os.path.join(root, folder, IGNORE_FILE))
        # splitlines() would also cut at control characters, which names may hold
        lines = [pattern_text(line.removesuffix(b"\r")) for line in content.split(b"\n")]
        return _Rules(above, len(folder), spec_of(lines))
    except (FileNotFoundError, NotADirectoryError):
        return above
    except OSError as error:
        raise _PassedOver(f"its .qvsearchignore cannot be read: {system_reason(error)}") from error
    except ValueError as error:
        raise _PassedOver(f"its .qvsearchignore cannot be understood: {error}") from error


def _read_ignore_file(path: bytes) -> bytes:
    """Return the patterns, UTF-8; raises ValueError for a file of another sort, and OSError."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a plain file")
        content = file.read(LARGEST_IGNORE_FILE + 1)
    if len(content) > LARGEST_IGNORE_FILE:
        raise ValueError(f"it is larger than {LARGEST_IGNORE_FILE:,} bytes")
    if b"\0" in content:  # no name has one, but every letter of UTF-16 or UTF-32
        raise ValueError("it is no text in UTF-8; save it as UTF-8, not UTF-16")
    return content.removeprefix(codecs.BOM_UTF8)


class _Walk:
    """One walk under a root, without recursion, so that depth has no limit.

    Folders are relative: empty for the root; others end in a slash.
    """

    def __init__(
        self, root: bytes, options: ScanOptions, status: os.stat_result, kind: KindOf
    ) -> None:
        self._root, self._kind = root, kind
        self._hidden, self._follow = options.hidden, options.follow_symlinks
        self._selects = selector(options)
        self._exclude = option_spec("--exclude", options.exclude)
        self._clutter = Clutter(root, options.include)
        self._vendored = Vendored(options.include)
        self._real_root = os.path.realpath(root)
        self._entered = {(status.st_dev, status.st_ino)}
        self._identities = Identities()

    def below(self, folder: bytes, rules: _Rules | None) -> Iterator[Item | Skipped | Leftovers]:
        """Yield the files in a folder and below it; `rules` are those of the folders above."""
        pending = [(folder, rules)]
        while pending:
            folder, rules = pending.pop()
            try:
                listing, rules = self._open(folder, rules)
            except _PassedOver as reason:
                yield Skipped(self._location(folder), str(reason))
                continue
            subfolders: list[bytes] = []
            yield from self._entries(folder, listing, rules, subfolders)
            pending.extend((subfolder, rules) for subfolder in reversed(subfolders))

    def _entries(
        self,
        folder: bytes,
        listing: list[os.DirEntry[bytes]],
        rules: _Rules | None,
        subfolders: list[bytes],
    ) -> Iterator[Item | Skipped | Leftovers]:
        """Yield a folder's files, and append the folders in it that are to be walked."""
        suffixes: Counter[str] = Counter()
        name = os.path.basename(self._location(folder))
        films = films_with_subtitles(
            (entry.name for entry in listing),
            lambda film: (
                self._selects(folder + film, Kind.VIDEO) and not _covers(rules, folder + film)
            ),
        )
        for entry in listing:
            if self._clutter.reason(name, entry.name) is not None:
                continue
            path = folder + entry.name
            try:
                if entry.is_dir(follow_symlinks=self._follow):
                    if self._enters(entry, path + b"/", rules):
                        subfolders.append(path + b"/")
                elif _covers(rules, path) or belongs(entry.name, films) is not None:
                    continue
                elif kind_of(entry.name) is not None and self._vendored.reason(path) is None:
                    yield from self._file(entry, path)
                elif entry.is_file(follow_symlinks=self._follow) and self._counts(path):
                    suffixes[suffix_of(entry.name)] += 1
            except OSError as error:
                yield Skipped(entry.path, system_reason(error))
        if suffixes:
            yield Leftovers(self._location(folder), suffixes)

    def _counts(self, path: bytes) -> bool:
        """Return whether a file of no kind is counted."""
        return not path.lower().endswith(COMPANION) and self._selects(path, None)

    def _location(self, folder: bytes) -> bytes:
        return os.path.join(self._root, folder[:-1]) if folder else self._root

    def _open(
        self, folder: bytes, rules: _Rules | None
    ) -> tuple[list[os.DirEntry[bytes]], _Rules | None]:
        """Return a folder's entries, sorted, without hidden ones, and the rules that apply."""
        try:
            with os.scandir(self._location(folder)) as entries:
                listing = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise _PassedOver(system_reason(error)) from error
        if any(entry.name == IGNORE_FILE for entry in listing):
            rules = _read_rules(self._root, folder, rules)
        if not self._hidden:
            listing = [entry for entry in listing if not entry.name.startswith(b".")]
        return listing, rules

    def _enters(self, entry: os.DirEntry[bytes], folder: bytes, rules: _Rules | None) -> bool:
        """Return whether a folder is to be walked: followed links may lead to each only once."""
        if _covers(rules, folder) or (
            self._exclude and self._exclude.match_file(pattern_text(folder))
        ):
            return False
        if not self._follow:
            return True
        if entry.is_symlink() and is_below(os.path.realpath(entry.path), self._real_root):
            return False
        status = entry.stat()
        identity = (status.st_dev, status.st_ino)
        seen = identity in self._entered
        self._entered.add(identity)
        return not seen

    def _file(self, entry: os.DirEntry[bytes], path: bytes) -> Iterator[Item | Skipped]:
        if entry.is_symlink() and not self._follow:
            return iter(())
        status = entry.stat(follow_symlinks=self._follow)
        return _found(
            self._root, path, entry.name, status, self._selects, self._kind, self._identities
        )


def _found(
    root: bytes,
    relative: bytes,
    name: bytes,
    status: os.stat_result,
    selects: Callable[[bytes, Kind | None], bool],
    kind_of_file: KindOf,
    identities: Identities,
) -> Iterator[Item | Skipped]:
    """Yield the item of a file of a supported suffix, if it is selected and a regular file."""
    location = os.path.join(root, relative) if relative else root
    is_file = stat.S_ISREG(status.st_mode)
    kind = kind_of_file(location, status) if is_file else kind_of(name)
    if kind is None or not selects(relative or name, kind):
        return
    if is_file:
        identity = identities.of(location, status)
        yield Item(root, relative, kind, status.st_size, status.st_mtime_ns, *identity)
    else:
        what = _SPECIAL.get(stat.S_IFMT(status.st_mode), "something special")
        yield Skipped(location, f"{what}, not a file")


def suffix_of(name: bytes) -> str:
    """Return the suffix that a file is counted by, in lower case, or VENDORED, or OTHERS."""
    if kind_of(name) is not None:
        return VENDORED
    suffix = os.fsdecode(os.path.splitext(name)[1]).lower()
    return suffix if suffix in NAMED else OTHERS


def total(leftovers: Iterable[Leftovers]) -> dict[str, int]:
    """Return the number of files of each suffix, the most first and OTHERS last."""
    counts: Counter[str] = Counter()
    for each in leftovers:
        counts.update(each.suffixes)
    ordered = sorted(counts.items(), key=lambda item: (item[0] == OTHERS, -item[1], item[0]))
    return dict(ordered)


def leftovers_text(suffixes: Mapping[str, int]) -> str:
    """Return `5 .doc, 1 .pages, 12 others`."""
    return ", ".join(
        f"{count:,} {'other' if suffix == OTHERS and count == 1 else suffix}"
        for suffix, count in suffixes.items()
    )
