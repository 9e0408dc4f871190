"""The libraries that are served, each reopened when another process commits to it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.indexing.status import library_fields
from qvsearch.library.identity import Gone, segments_of
from qvsearch.library.library import Library
from qvsearch.library.names import MANIFEST, home
from qvsearch.records.library import fields_record
from qvsearch.retrieval.several import Searched
from qvsearch.runtime.loading import open_library, query_embedder
from qvsearch.types import KIND_CODES
from qvsearch.web.problems import Problem

if TYPE_CHECKING:
    from qvsearch.runtime.loading import Choice
    from qvsearch.runtime.query_cache import CachedEmbedder
    from qvsearch.types import Segment

KNOWN = 20_000  # items whose segments are at hand without a look into the library
State = tuple[int, int, int]  # inode, size and time of a manifest


class Opened:
    """A library as it was at one commit; requests that began with it end with it.

    A library is not read by two threads at once: callers hold `lock` while they use it.
    """

    def __init__(
        self, name: str, library: Library, state: State | None, embedder: CachedEmbedder
    ) -> None:
        self.name = name
        self.library = library
        self.state = state
        self.embedder = embedder
        self.lock = threading.RLock()
        self._kinds: dict[str, tuple[int, int]] | None = None
        self._fields_lock = threading.Lock()
        self._fields: dict[str, object] | None = None
        self._known: OrderedDict[str, Segment] = OrderedDict()

    def kinds(self) -> dict[str, tuple[int, int]]:
        """Return the numbers of items and of segments of each kind that there is."""
        if self._kinds is None:
            with self.lock:
                columns = self.library.columns
            counted = {}
            for kind, code in KIND_CODES.items():
                items = columns.items[columns.kinds == code]
                if len(items):
                    counted[kind.value] = (len(np.unique(items)), len(items))
            self._kinds = counted
        return self._kinds

    def fields(self) -> dict[str, object]:
        """Return the record of what can be filtered by."""
        with self._fields_lock:
            if self._fields is None:
                # opened anew, because it reads all rows and this one shall not keep them
                library = Library.open(self.library.folder)
                self._fields = fields_record(library, library_fields(library))
        return self._fields

    def searched(self) -> Searched:
        """Return the library with its model."""
        return Searched(self.library, lambda: self.embedder)

    def remember(self, segments: Sequence[Segment]) -> None:
        """Keep one segment of each item that will soon be asked for, e.g. of hits."""
        for each in segments:
            self._known[each.item_id] = each
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)

    def segment(self, item_id: str) -> Segment:
        """Return a segment of an item; raises Gone."""
        known = self._known.get(item_id)
        return known or self.segments(item_id)[0]

    def segments(self, item_id: str) -> list[Segment]:
        """Return all segments of an item; raises Gone."""
        with self.lock:
            segments = segments_of(self.library, item_id)
            self.remember(segments[:1])
        return segments


@dataclass(frozen=True, slots=True)
class Found:
    """An item, by a segment of it, and the library that it is in."""

    opened: Opened
    segment: Segment


class Served:
    """The libraries of one server; safe for several threads."""

    def __init__(self, folders: Sequence[Path], choice: Choice) -> None:
        """Open the libraries; raises QvsearchError for one that cannot be."""
        self._choice = choice
        self._lock = threading.Lock()
        self._opened = {folder: self._open(folder, None) for folder in folders}

    def libraries(self, names: Sequence[str] = ()) -> list[Opened]:
        """Return the libraries as they are now, or those of some names.

        One that cannot be opened now is left out. Raises Problem for an unknown name, and if none
        can be opened.
        """
        all_names = [shown_name(folder) for folder in self._opened]
        if unknown := {*names} - {*all_names}:
            raise Problem(
                HTTPStatus.NOT_FOUND,
                f"no library {min(unknown)!r} is served; there are: {', '.join(all_names)}",
            )
        found, problems = self.state()
        chosen = [each for each in found if not names or each.name in names]
        if not chosen:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(problems.values()))
        return chosen

    def state(self) -> tuple[list[Opened], dict[Path, str]]:
        """Return the libraries as they are now, and why the others cannot be opened."""
        found, problems = [], {}
        with self._lock:
            for folder in self._opened:
                try:
                    found.append(self._current(folder))
                except QvsearchError as error:
                    problems[folder] = str(error)
        return found, problems

    def find(self, item_id: str) -> Found:
        """Return an item by its identity; raises Gone if no library has it now."""
        gone: Gone | None = None
        for opened in self.libraries():
            try:
                return Found(opened, opened.segment(item_id))
            except Gone as error:
                gone = error
        raise gone or Gone(f"no library has the file {item_id!r}")

    def _current(self, folder: Path) -> Opened:
        opened = self._opened[folder]
        if opened.state != _state(folder):
            opened = self._opened[folder] = self._open(folder, opened)
        return opened

    def _open(self, folder: Path, before: Opened | None) -> Opened:
        state = _state(folder)  # before the opening: a commit meanwhile makes it open again
        library = open_library(folder, self._choice)
        if before is not None and before.library.fingerprint == library.fingerprint:
            embedder = before.embedder
        else:
            embedder = query_embedder(library.fingerprint, self._choice)
        return Opened(shown_name(folder), library, state, embedder)


def shown_name(folder: Path) -> str:
    """Return a library's name if it is in the data folder, else its folder."""
    return folder.name if folder.parent == home() else str(folder)


def _state(folder: Path) -> State | None:
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
