"""Subtitle files that belong to films, and so are no texts of their own."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from qvsearch.library.rules import ScanOptions
from qvsearch.media.subtitles import SUFFIXES, belongs
from qvsearch.types import Kind, kind_of


def films_with_subtitles(names: Iterable[bytes], takes: Callable[[bytes], bool]) -> list[bytes]:
    """Return the films among a folder's names to which its subtitles may belong.

    `takes` returns whether a film is indexed at all.
    """
    names = list(names)
    if not any(name.lower().endswith(SUFFIXES) for name in names):
        return []
    return [name for name in names if kind_of(name) is Kind.VIDEO and takes(name)]


def film_of(path: bytes, options: ScanOptions) -> str | None:
    """Return the name of the film beside a subtitle file that has its lines, if there is one."""
    if options.kinds is not None and Kind.VIDEO not in options.kinds:
        return None
    folder, name = os.path.split(path)
    if not name.lower().endswith(SUFFIXES):
        return None
    try:
        with os.scandir(folder) as entries:
            films = films_with_subtitles((each.name for each in entries), lambda _: True)
    except OSError:  # whose names cannot be listed, though its files can be read
        return None
    film = belongs(name, films)
    return None if film is None else os.fsdecode(film)


def subtitles_of(unseen: Iterable[bytes], found: Iterable[bytes]) -> Iterator[bytes]:
    """Yield those of the paths that are subtitles of a film that was found in the same folder."""
    subtitles = [path for path in unseen if path.lower().endswith(SUFFIXES)]
    films: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for path in found if subtitles else ():
        if kind_of(path) is Kind.VIDEO:
            folder, name = os.path.split(path)
            films[folder].append(name)
    for path in subtitles:
        folder, name = os.path.split(path)
        if belongs(name, films[folder]) is not None:
            yield path
