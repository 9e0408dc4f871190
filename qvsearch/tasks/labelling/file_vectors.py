"""The files of a task with the vectors of their segments: a library's own, or given ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.indexing.batching import Embedded, embed_files
from qvsearch.indexing.changes import same_state
from qvsearch.indexing.scan import scan
from qvsearch.library.rules import ScanOptions
from qvsearch.media.workers import Decoders
from qvsearch.retrieval.calibration import baseline_of, calibrate, evidence_by_kind
from qvsearch.retrieval.query import Term, is_path, read_item
from qvsearch.retrieval.scoring import baselines
from qvsearch.types import (
    KIND_CODES,
    Decoded,
    EmbedInput,
    Fingerprint,
    Item,
    Kind,
    Segment,
    Skipped,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.calibration import Baseline
    from qvsearch.types import Embedder, Vectors


@dataclass(frozen=True, slots=True)
class Source:
    """A file by its absolute path, or words."""

    name: bytes
    kind: Kind
    is_file: bool = True


class FileVectors(Protocol):
    """Files, and a vector for each of their segments."""

    @property
    def sources(self) -> Sequence[Source]:
        """The files."""
        ...

    @property
    def owners(self) -> NDArray[np.int64]:
        """The place (n,) in `sources` of the file of each row."""
        ...

    def vectors(self, start: int, stop: int) -> Vectors:
        """Return the unit rows (stop - start, dim)."""
        ...

    def evidence(self, query: Vectors) -> Vectors:
        """Return the evidence (n,) that each row answers a query (dim,) in words."""
        ...


class LibraryVectors:
    """The files of a library with a row in the mask (size,); evidence is that of a search."""

    def __init__(self, library: Library, mask: NDArray[np.bool_]) -> None:
        self._library = library
        self._rows = np.flatnonzero(mask)
        items = library.columns.items[self._rows]
        _, first, owners = np.unique(items, return_index=True, return_inverse=True)
        firsts = self._rows[first]
        paths = library.columns.locations(firsts)
        order = sorted(range(len(paths)), key=paths.__getitem__)
        kinds, codes = list(Kind), library.kinds[firsts].tolist()
        self.sources = [Source(paths[each], kinds[codes[each]]) for each in order]
        self.owners: NDArray[np.int64] = np.argsort(order)[owners]

    def vectors(self, start: int, stop: int) -> Vectors:
        """Return the stored vectors of some of the rows."""
        return self._library.vectors(self._rows[start:stop].tolist())

    def evidence(self, query: Vectors) -> Vectors:
        """Return the evidence of the rows among all rows of the library."""
        library = self._library
        scores = library.scores(query)
        evidence = calibrate(scores, library.kinds, self._baselines).evidence
        rows: Vectors = evidence[self._rows]
        return rows

    @cached_property
    def _baselines(self) -> dict[int, Baseline | None]:
        return _of_words(self._library)


def _of_words(library: Library) -> dict[int, Baseline | None]:
    """Return the baseline of each kind for words."""
    return baselines(library, Term("words", (EmbedInput(text="words"),), 1.0))


class GivenVectors:
    """Embedded files and words.

    Evidence is that among the rows of a library of the same model. Kinds of which it has fewer rows
    than are given, or no library, are compared with each other alone.
    """

    def __init__(
        self,
        embedded: Sequence[tuple[Source, Vectors]],
        bank: Callable[[], Vectors],
        library: Library | None = None,
    ) -> None:
        self.sources = [source for source, _ in embedded]
        sizes = [len(vectors) for _, vectors in embedded]
        self.owners: NDArray[np.int64] = np.repeat(np.arange(len(embedded)), sizes)
        self._all = np.concatenate([vectors for _, vectors in embedded])
        self._kinds = np.array([KIND_CODES[source.kind] for source in self.sources], np.uint8)[
            self.owners
        ]
        self._bank = bank
        self._rows_of = {
            code: np.flatnonzero(self._kinds == code) for code in np.unique(self._kinds).tolist()
        }
        self._library = library
        by_kind = [] if library is None else library.by_kind
        self._more = {  # kinds of which the library has more
            code
            for code, rows in self._rows_of.items()
            if by_kind and len(by_kind[code]) > len(rows)
        }

    def vectors(self, start: int, stop: int) -> Vectors:
        """Return some of the rows."""
        return self._all[start:stop]

    def evidence(self, query: Vectors) -> Vectors:
        """Return the evidence of the rows."""
        scores = self._all @ query
        levels = calibrate(scores, self._kinds, self._baselines).levels
        if self._library is not None and self._more:
            library = self._library
            others = calibrate(library.scores(query), library.kinds, self._library_baselines).levels
            levels |= {code: others[code] for code in self._more}
        return evidence_by_kind(scores, self._rows_of, levels)

    @cached_property
    def _baselines(self) -> dict[int, Baseline | None]:
        scores = self._all @ self._bank().T
        background = np.stack([scores.mean(axis=1), scores.std(axis=1)], axis=1)
        return {code: baseline_of(background[rows]) for code, rows in self._rows_of.items()}

    @cached_property
    def _library_baselines(self) -> dict[int, Baseline | None]:
        return {} if self._library is None else _of_words(self._library)


def find_sources(arguments: Iterable[str]) -> Iterator[Item | Source | Skipped]:
    """Yield the files of each path, found as `index` finds them, or the words.

    A path that cannot be used is Skipped. Text that is neither a path nor looks like one is words.
    """
    for text in arguments:
        path = os.path.abspath(os.fsencode(text))
        try:
            if text.strip() and Path(os.fsdecode(path)).is_dir():
                yield from files_below(path)
            elif is_path(text.strip(), os.fsencode(text)):
                yield read_item(path)[0]
            elif not text.strip():
                yield Skipped(os.fsencode(text), "it is empty; give words or a path")
            else:
                yield Source(text.encode(), Kind.TEXT, is_file=False)
        except UnicodeEncodeError:
            yield Skipped(os.fsencode(text), "it is neither a path nor text in UTF-8")
        except (QvsearchError, ValueError) as error:  # a NUL is in no path
            yield Skipped(os.fsencode(text), str(error))


def files_below(folder: bytes) -> Iterator[Item | Skipped]:
    """Yield the files of a folder as `index` finds them."""
    for each in scan(folder, folder, ScanOptions()):
        if isinstance(each, Item | Skipped):
            yield each


@dataclass(frozen=True, slots=True)
class Embedding:
    """How files get vectors: the model, the library that may have some, and reports.

    `load` is called for the first input without a vector. `stop` is called between batches;
    `embedded` after each, with the number of its segments.
    """

    load: Callable[[], Embedder]
    fingerprint: Fingerprint
    library: Library | None = None
    stop: Callable[[], bool] = lambda: False
    embedded: Callable[[int], None] = lambda _: None


def embed_sources(
    found: Iterable[Item | Source | Skipped], how: Embedding
) -> Iterator[tuple[Source, Vectors] | Skipped]:
    """Yield each source with the vectors (n, dim) that `index` would give it, or why it has none.

    Each once, in order. A file that is unchanged in the library has its vectors; others are decoded
    in confined processes. When `how.stop` returns True, the rest is left out.
    """
    wanted: dict[bytes, Item | Source | Skipped] = {}
    for each in found:
        wanted.setdefault(_name(each), each)
    stored = _stored(how.library)
    results: dict[bytes, tuple[Source, Vectors] | Skipped] = {}
    new: list[Item | Source] = []
    for name, each in wanted.items():
        if isinstance(each, Skipped):
            results[name] = each
        elif isinstance(each, Item) and (vectors := stored(each)) is not None:
            results[name] = (Source(name, each.kind), vectors)
        else:
            new.append(each)
    decoded = _decoded(new, how.fingerprint, how.stop)
    for outcome in embed_files(decoded, how.load, how.stop, how.embedded):
        if isinstance(outcome, Embedded):
            item = outcome.item
            is_file = isinstance(wanted[item.location], Item)
            source = Source(item.location, item.kind, is_file)
            results[item.location] = (source, outcome.vectors)
        else:
            results[outcome.path] = outcome
    yield from (results[name] for name in wanted if name in results)


def _stored(library: Library | None) -> Callable[[Item], Vectors | None]:
    """Return a function that returns the vectors of a file, if it is as it was indexed."""
    if library is None:
        return lambda _: None
    live = np.flatnonzero(library.columns.live)
    rows_of: dict[bytes, list[int]] = {}
    for row, path in zip(live.tolist(), library.columns.locations(live), strict=True):
        rows_of.setdefault(path, []).append(row)

    def vectors(item: Item) -> Vectors | None:
        rows = rows_of.get(item.location, [])
        first = library.segments[rows[0]] if rows else None
        if first is None or first.is_older or not same_state(first.item, item):
            return None
        return library.vectors(rows)

    return vectors


def _name(each: Item | Source | Skipped) -> bytes:
    match each:
        case Item():
            return each.location
        case Source():
            return each.name
    return each.path


def _decoded(
    wanted: Sequence[Item | Source], fingerprint: Fingerprint, stop: Callable[[], bool]
) -> Iterator[Decoded | Skipped]:
    """Yield the segments of words and files, each with its input for the model."""
    failed: list[Skipped] = []

    def jobs() -> Iterator[tuple[Item, str]]:
        for item in files:
            try:
                yield read_item(item.location)
            except QvsearchError as error:
                failed.append(Skipped(item.location, str(error)))

    for each in wanted:
        if isinstance(each, Source):
            item = Item(each.name, b"", Kind.TEXT, 0, 0)
            yield Decoded(item, ((Segment(item, ""), EmbedInput(text=each.name.decode())),))
    files = [each for each in wanted if isinstance(each, Item)]
    if files:
        with Decoders() as decoders:
            yield from decoders.decode(jobs(), fingerprint.decode_options, stop)
    yield from failed
