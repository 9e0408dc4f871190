"""The libraries that an agent may read: each opened once, and again after another commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.display import safe_text
from qvsearch.errors import QvsearchError
from qvsearch.library.names import MANIFEST, short_names

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.retrieval.several import Searched
    from qvsearch.runtime.loading import Choice
    from qvsearch.runtime.several import Lost, QueryModels
    from qvsearch.types import Embedder, EmbedInput, Fingerprint, Segment, Vectors

State = tuple[int, int, int]  # inode, size and time of a manifest; a commit writes another file


@dataclass(frozen=True, slots=True)
class Opened:
    """An open library, its name, and its embedder."""

    name: str
    library: Library
    embedder: Embedder

    @property
    def searched(self) -> Searched:
        """The library with its model, as searches take it."""
        from qvsearch.retrieval.several import Searched

        return Searched(self.library, lambda: self.embedder)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The libraries of one call, and one sentence for each that cannot be read."""

    opened: tuple[Opened, ...]
    problems: list[str]

    @property
    def searched(self) -> list[Searched]:
        """The libraries with their models, as searches take them."""
        return [each.searched for each in self.opened]

    @property
    def names(self) -> dict[Path | None, str]:
        """The name of each library by its folder."""
        return {each.library.folder: each.name for each in self.opened}

    def lose(self, lost: Lost) -> None:
        """Note a library that can be opened, but not searched."""
        self.problems.append(f"{self.names[lost.folder]}: {lost.error}")

    def find(self, item_id: str) -> tuple[Opened, list[Segment]]:
        """Return the first library with a file, and the file's segments; raises Gone for none."""
        from qvsearch.library.identity import Gone, segments_of

        for each in self.opened:
            try:
                return each, segments_of(each.library, item_id)
            except Gone as error:
                gone = error
        if len(self.opened) == 1:
            raise gone
        raise Gone(f"no library has a file {item_id[:64]}; it may have changed since")


@dataclass(slots=True)
class _Place:
    """A library's folder, and what is open of it."""

    name: str
    folder: Path
    state: State | None = None
    library: Library | None = None


class _Lock:
    """The lock of all libraries, which a call gives up while a model computes."""

    def __init__(self) -> None:
        self._rows = threading.Lock()
        self._model = threading.Lock()

    def __enter__(self) -> None:
        self._rows.acquire()

    def __exit__(self, *_: object) -> None:
        self._rows.release()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Give up the libraries for the turn of this call at the model."""
        self._rows.release()
        try:
            with self._model:
                yield
        finally:
            self._rows.acquire()


class _Considerate:
    """An embedder that computes one call's inputs at a time, and lets others read meanwhile."""

    def __init__(self, embedder: Embedder, lock: _Lock) -> None:
        self.dim = embedder.dim
        self._embedder = embedder
        self._lock = lock

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i."""
        with self._lock.computing():
            return self._embedder.embed(inputs)


class Shelf:
    """The libraries of a server, safe for several threads.

    Their models run on `device`, with numbers of type `dtype`, as chosen for queries.
    """

    def __init__(
        self, folders: Sequence[Path], device: str | None = None, dtype: str | None = None
    ) -> None:
        names = short_names(folders)
        self._places = [_Place(safe_text(names[each]), each) for each in folders]
        self._device, self._dtype = device, dtype
        self._lock = _Lock()

    @property
    def names(self) -> list[str]:
        """The names of the libraries, which tools take."""
        return [each.name for each in self._places]

    def folders(self, name: str | None) -> list[tuple[str, Path]]:
        """Return names and folders of the named library or all; raises QvsearchError for none."""
        return [(each.name, each.folder) for each in self._chosen(name)]

    @contextmanager
    def reading(self, name: str | None) -> Iterator[Chosen]:
        """Open the named library, or all, and let no other call change what they have read.

        Raises QvsearchError for an unknown name, or if none of them can be opened.
        """
        with self._lock:
            opened, problems, failed = [], [], []
            for place in self._chosen(name):
                try:
                    library = self._open(place)
                    embedder = self._embedder(library.fingerprint)
                except QvsearchError as error:
                    problems.append(f"{place.name}: {error}")
                    failed.append(str(error))
                else:
                    opened.append(Opened(place.name, library, embedder))
            if not opened:
                raise QvsearchError("; ".join(failed))
            yield Chosen(tuple(opened), problems)

    def _chosen(self, name: str | None) -> list[_Place]:
        places = [each for each in self._places if name in (None, each.name)]
        if not places:
            raise QvsearchError(
                f"there is no library {name!r} here; there are: {', '.join(self.names)}"
            )
        return places

    def _open(self, place: _Place) -> Library:
        """Return the library as it was last committed."""
        from qvsearch.runtime.loading import open_library

        state = _state(place.folder)
        if place.library is None or state is None or state != place.state:
            place.library = None
            place.library = open_library(place.folder, self._choice)
            place.state = state  # taken before: a commit since then is another state
        return place.library

    def _embedder(self, fingerprint: Fingerprint) -> Embedder:
        """Return the embedder of a library, which keeps its model once it is loaded."""
        return _Considerate(self._models.embedder(fingerprint), self._lock)

    @cached_property
    def _models(self) -> QueryModels:
        from qvsearch.runtime.several import QueryModels  # which loads numpy

        return QueryModels(self._choice, keep=True)

    @cached_property
    def _choice(self) -> Choice:
        from qvsearch.runtime.loading import Choice

        return Choice(device=self._device, dtype=self._dtype)


def _state(folder: Path) -> State | None:
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
