"""The libraries of a server: each opened once, and again after another commit, with its model."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.display import safe_text
from qvsearch.errors import QvsearchError
from qvsearch.library.names import MANIFEST, is_table, short_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.missing_words import MissingWords
    from qvsearch.retrieval.several import Searched
    from qvsearch.runtime.choice import Choice
    from qvsearch.runtime.query_cache import CachedEmbedder
    from qvsearch.runtime.several import Lost
    from qvsearch.types import Embedder, EmbedInput, Fingerprint, Segment, Vectors

KNOWN = 20_000  # items of a library that are found without waiting for other calls
LOOKED_AGAIN = 5.0  # seconds after which a shared table is asked for its version
# inode, size and time of a manifest, since a commit writes another file; or the version of a table
State = tuple[int, int, int]


class Unknown(QvsearchError):
    """No library of a server has the name."""


class Unreadable(QvsearchError):
    """None of the libraries can be read now."""


class Turn:
    """The right to read libraries, which a call gives up while a model computes."""

    def __init__(self) -> None:
        self._rows = threading.Lock()
        self._model = threading.Lock()
        self._reader: int | None = None

    def __enter__(self) -> None:
        self._rows.acquire()
        self._reader = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._reader = None
        self._rows.release()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Wait for the model; others read libraries meanwhile."""
        reads = self._reader == threading.get_ident()
        if reads:
            self.__exit__()
        try:
            with self._model:
                yield
        finally:
            if reads:
                self.__enter__()


class ByTurns:
    """An embedder that computes one call's inputs at a time, and lets others read meanwhile."""

    def __init__(self, embedder: Embedder, turn: Turn) -> None:
        self.dim = embedder.dim
        self._embedder = embedder
        self._turn = turn

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i."""
        with self._turn.computing():
            return self._embedder.embed(inputs)


class Opened:
    """A library as it was at one commit; calls that began with it end with it.

    Callers must hold the shelf's `turn` while they read `library`. `state` tells commits apart.
    """

    def __init__(
        self, name: str, library: Library, state: State | None, embedder: Embedder
    ) -> None:
        self.name = name
        self.library = library
        self.state = state
        self.embedder = embedder
        self._known: OrderedDict[str, Segment] = OrderedDict()

    @property
    def searched(self) -> Searched:
        """The library as `answer_all` takes it."""
        from qvsearch.retrieval.several import Searched

        return Searched(self.library, lambda: self.embedder)

    def missing_words(self) -> MissingWords | None:
        """Return which words are not found; None if all are, or if that cannot be read now."""
        from qvsearch.retrieval.missing_words import missing_words

        try:
            return missing_words(self.library, self._without_words)
        except QvsearchError:
            return None

    @cached_property
    def _without_words(self) -> NDArray[np.int64]:
        from qvsearch.retrieval.missing_words import rows_without_words

        return rows_without_words(self.library)

    def remember(self, segments: Iterable[Segment]) -> None:
        """Keep one segment of each item that will soon be asked for, e.g. of hits."""
        for each in segments:
            self._known[each.item_id] = each
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)

    def known(self, item_id: str) -> Segment | None:
        """Return a segment of an item that is remembered."""
        return self._known.get(item_id)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The libraries of one call, those that cannot be read, and the names of all by folder."""

    opened: tuple[Opened, ...]
    lost: list[Lost]
    names: dict[Path | None, str]

    @property
    def searched(self) -> list[Searched]:
        """The libraries as `answer_all` takes them."""
        return [each.searched for each in self.opened]

    @property
    def state(self) -> list[tuple[Path, State | None]]:
        """Return what is equal for two calls if no library has changed between them."""
        return [(each.library.folder, each.state) for each in self.opened]

    def lose(self, lost: Lost) -> None:
        """Note a library that can be opened, but not searched."""
        self.lost.append(lost)

    def find(self, item_id: str) -> tuple[Opened, list[Segment]]:
        """Return the first library with a file, and the file's segments; raises Gone for none."""
        from qvsearch.library.identity import Gone, segments_of
        from qvsearch.published.opening import with_item

        for each in self.opened:
            try:
                return each, segments_of(with_item(each.library, item_id), item_id)
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
    opened: Opened | None = None
    looked: float = -math.inf  # when a table was last asked for its version

    @property
    def names(self) -> set[str]:
        """What callers may call it."""
        return {self.name, safe_text(str(self.folder))}


class Shelf:
    """The libraries of a server, safe for several threads.

    Their models run as `choice` has it for queries.
    """

    def __init__(self, folders: Iterable[Path], choice: Choice | None = None) -> None:
        names = short_names(dict.fromkeys(folders))
        self._places = [_Place(safe_text(names[each]), each) for each in dict.fromkeys(folders)]
        self._choice = choice
        self._opening = threading.Lock()
        self.turn = Turn()
        self._models: dict[Fingerprint, CachedEmbedder] = {}  # libraries of one model share it
        self._embedders: dict[Fingerprint, ByTurns] = {}

    def folders(self, names: Iterable[str] = ()) -> dict[str, Path]:
        """Return the folders of all libraries, or of some, by name; raises Unknown."""
        return {each.name: each.folder for each in self._chosen(names)}

    def now(self, names: Iterable[str] = ()) -> Chosen:
        """Open all libraries, or some, as they were last committed; raises Unknown."""
        from qvsearch.runtime.several import Lost

        opened: list[Opened] = []
        lost: list[Lost] = []
        places = self._chosen(names)
        with self._opening:
            for place in places:
                try:
                    opened.append(self._open(place))
                except QvsearchError as error:
                    lost.append(Lost(place.folder, error))
        return Chosen(tuple(opened), lost, {each.folder: each.name for each in places})

    @contextmanager
    def reading(self, names: Iterable[str] = ()) -> Iterator[Chosen]:
        """Do what `now` does, and hold the turn; callers must not hold it already.

        Raises Unknown, and Unreadable if none of them can be opened.
        """
        chosen = _some(self.now(names))
        with self.turn:
            yield chosen

    def find(self, item_id: str) -> tuple[Opened, Segment]:
        """Return the first library with an item, and a segment of it; raises Gone or Unreadable.

        Callers must not hold the turn.
        """
        for each in _some(self.now()).opened:
            if (segment := each.known(item_id)) is not None:
                return each, segment
        with self.reading() as chosen:
            opened, segments = chosen.find(item_id)
        opened.remember(segments[:1])
        return opened, segments[0]

    def load_models(self) -> None:
        """Load the models of all libraries, so that the first query need not wait for them."""
        self.now()
        for each in list(self._models.values()):
            each.load()

    def _chosen(self, names: Iterable[str]) -> list[_Place]:
        """Return the places of some names, or folders; raises Unknown."""
        names = {*names}
        if unknown := names - {each for place in self._places for each in place.names}:
            there = ", ".join(each.name for each in self._places)
            raise Unknown(f"there is no library {min(unknown)!r} here; there are: {there}")
        return [each for each in self._places if not names or names & each.names]

    def _open(self, place: _Place) -> Opened:
        """Return the library of a place as it was last committed; raises QvsearchError."""
        from qvsearch.runtime import loading

        state = self._state(place)  # before the opening: a commit meanwhile is another state
        if place.opened is None or state is None or place.opened.state != state:
            place.opened = None
            choice = self._choice or loading.Choice()
            library = loading.open_library(place.folder, choice)
            space = library.fingerprint.space
            if space not in self._models:
                self._models[space] = loading.query_embedder(library.fingerprint, choice)
                self._embedders[space] = ByTurns(self._models[space], self.turn)
            if is_table(place.folder):
                state, place.looked = (library.generation, 0, 0), time.monotonic()
            place.opened = Opened(place.name, library, state, self._embedders[space])
            self._let_go()
        return place.opened

    def _state(self, place: _Place) -> State | None:
        """Return what changes with each commit; a table is asked for it from time to time."""
        if not is_table(place.folder):
            return _state(place.folder)
        if place.opened is None or time.monotonic() - place.looked < LOOKED_AGAIN:
            return None if place.opened is None else place.opened.state
        from qvsearch.published.opening import latest_version

        place.looked = time.monotonic()
        return latest_version(place.folder), 0, 0

    def _let_go(self) -> None:
        """Drop the models that no open library has any longer."""
        opened = [each.opened for each in self._places if each.opened is not None]
        used = {each.library.fingerprint.space for each in opened}
        for space in self._models.keys() - used:
            del self._models[space], self._embedders[space]


def _some(chosen: Chosen) -> Chosen:
    """Return libraries of which at least one can be read; raises Unreadable."""
    if not chosen.opened:
        raise Unreadable("; ".join(str(each.error) for each in chosen.lost))
    return chosen


def _state(folder: Path) -> State | None:
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
