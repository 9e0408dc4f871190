"""The records that travel through qvsearch, and the protocols of its two models."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from qvsearch.fingerprint import DecodeOptions as DecodeOptions
from qvsearch.fingerprint import Detail as Detail
from qvsearch.fingerprint import Dtype as Dtype
from qvsearch.fingerprint import Fingerprint as Fingerprint
from qvsearch.fingerprint import Precision as Precision
from qvsearch.fingerprint import Stored as Stored
from qvsearch.fingerprint import VideoMode as VideoMode
from qvsearch.formats import path_fields, present, rounded, utc_text
from qvsearch.kinds import KIND_CODES as KIND_CODES
from qvsearch.kinds import KIND_OF_SUFFIX as KIND_OF_SUFFIX
from qvsearch.kinds import READING as READING
from qvsearch.kinds import Kind as Kind
from qvsearch.kinds import is_file_name as is_file_name
from qvsearch.kinds import kind_of as kind_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Vectors = NDArray[np.float32]


def item_number(root: bytes, path: bytes) -> int:
    """Return the number of an item, of 63 bits; a million files hardly share one."""
    digest = hashlib.blake2b(root + b"\0" + path, digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True, slots=True)
class Item:
    """A file found under a root.

    Paths are bytes; `path` is relative to `root`, and empty if the root is the file itself.
    `ctime_ns` and `inode` are None if they are not reliable (see `Identities`).
    """

    root: bytes
    path: bytes
    kind: Kind
    size: int
    mtime_ns: int
    ctime_ns: int | None = None
    inode: int | None = None

    @property
    def location(self) -> bytes:
        """The absolute path."""
        return os.path.join(self.root, self.path) if self.path else self.root

    @property
    def number(self) -> int:
        """The number by which its rows are found (see `item_number`)."""
        return item_number(self.root, self.path)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a file; None for what it lacks.

    `taken` is ISO 8601, without a zone if the file has none, and only a day, month or year if that
    is all it has. `taken_from` is None if the date is in the file itself, `xmp` or `json` if it is
    beside it, and `name` if only its name has one. `camera` is maker and model; `latitude` and
    `longitude` are degrees (WGS 84); `duration` is seconds of a video, or of the film within a
    photo. `page` is true for a screenshot or a scanned page; `damaged` describes missing pixels;
    `several` is true if the file has frames or pages beside the indexed one. `pages` is the number
    of pages of a document, of which some may not be indexed. `language` is a tag (BCP 47) of a
    text, `rating` is 0 to 5.
    `pictures` is the number of pictures within a document, which are not indexed; `partial` is the
    part of it that is, e.g. `5,000 of 80,000 rows`, or a photo without its film and why.
    """

    taken: str | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    duration: float | None = None
    page: bool | None = None
    taken_from: str | None = None
    damaged: str | None = None
    several: bool | None = None
    title: str | None = None
    author: str | None = None
    keywords: tuple[str, ...] | None = None
    rating: int | None = None
    language: str | None = None
    pages: int | None = None
    pictures: int | None = None
    partial: str | None = None


NO_METADATA = Metadata()


@dataclass(frozen=True, slots=True)
class Segment:
    """The unit of a vector: an image, a moment of a video, a passage of a text, a document's page.

    A photo with a film within it has the moments of the film behind its own segment.
    `content_hash` and `metadata` are the item's. A moment is `[start, end)` in seconds; `lines` are
    the first and last, from 1; `page` is from 1. `section` names the place of a passage that has no
    lines, e.g. `slide 3`. `words` is the text for the index of words; it is not in the sidecar, and
    the segments of committed rows lack it. `width` and `height` are the item's own pixels, upright.
    `clip` is true if a moment's vector is of several frames. `dhash` is the 64-bit difference hash
    of the picture of the vector, `patches` its mean colours in base64. `reading` is the version of
    READING that decoded it.
    """

    item: Item
    content_hash: str
    start: float | None = None
    end: float | None = None
    lines: tuple[int, int] | None = None
    snippet: str | None = None
    width: int | None = None
    height: int | None = None
    clip: bool = False
    dhash: int | None = None
    metadata: Metadata = NO_METADATA
    reading: int = 1
    patches: str | None = None
    page: int | None = None
    section: str | None = None
    words: str | None = field(default=None, compare=False, repr=False)

    @property
    def item_id(self) -> str:
        """The item's identity in its library, in hex: it changes with the content and the place."""
        return f"{self.content_hash}{self.item.number:016x}"

    @property
    def is_older(self) -> bool:
        """Whether an older version decoded it; the present one may give another result."""
        return self.reading < READING[self.item.kind]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not indexed, and why.

    `known` is true if it failed before in its present state, and was reported then.
    """

    path: bytes
    reason: str
    known: bool = False


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of a video: `pixels` (t, h, w, 3) uint8 RGB, `times` (t,) in seconds."""

    pixels: Pixels
    times: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EmbedInput:
    """One input of the model: media first, then text.

    `images` are (h, w, 3) uint8 RGB with sides that are multiples of 32; embedders and rerankers
    also accept Pillow's pictures and paths. `instruction` None is the default of documents.
    """

    text: str | None = None
    images: tuple[Pixels, ...] = ()
    video: Frames | None = None
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file's segments, each with its input for the model, or a part of them.

    With `more` the next ones of the same file follow. `lost` is why the last ones are missing.
    """

    item: Item
    segments: tuple[tuple[Segment, EmbedInput], ...]
    more: bool = False
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """A part of an item that is a hit: neighbouring segments joined, the best one is `segment`.

    `start` and `end` are seconds, for a video only.
    """

    relevance: float
    score: float
    segment: Segment
    start: float | None = None
    end: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the moment as `search --json` prints it."""
        return {
            "relevance": round(self.relevance, 6),
            **present({"score": rounded(self.score)}),
            **place_fields(self.start, self.end, self.segment),
        }


@dataclass(frozen=True, slots=True)
class Snippet:
    """The lines of a passage with a query's words; `marks` are `[start, end)` of characters."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()

    @property
    def parts(self) -> Iterator[tuple[str, bool]]:
        """The text in parts, each with whether it is marked."""
        at = 0
        for start, end in self.marks:
            yield self.text[at:start], False
            yield self.text[start:end], True
            at = end
        yield self.text[at:], False


def shown_lines(segment: Segment, snippet: Snippet | None) -> Snippet | None:
    """Return the lines that are shown of a passage: those with the words, or its beginning."""
    if snippet is not None or segment.snippet is None:
        return snippet
    return Snippet(segment.snippet)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result: an item with its best moment; `rank` counts from 1.

    `relevance` is the probability that it answers the query; `score` is the cosine; both are NaN
    for a file that was listed without a query. `moments` are the item's other ones, best first.
    `duplicates` are items folded into this one, whose `relevance` and `score` are the best of all.
    `gone` is true if the file is missing now; it is a hit only if all its duplicates are missing.
    `library` is the folder of the library. `snippet` has the words of the query, if the file does.
    `path_marks` are `[start, end)` of the characters of the path that are words of the query.
    """

    rank: int
    relevance: float
    score: float
    segment: Segment
    start: float | None = None
    end: float | None = None
    moments: tuple[Moment, ...] = ()
    duplicates: tuple[Item, ...] = ()
    rerank_score: float | None = None
    gone: bool = False
    library: Path | None = None
    snippet: Snippet | None = None
    path_marks: tuple[tuple[int, int], ...] = ()

    @property
    def shown(self) -> Snippet | None:
        """The lines that are shown of the passage."""
        return shown_lines(self.segment, self.snippet)

    @property
    def path(self) -> Path:
        """The absolute path of the file; `os.fsencode` returns its exact bytes."""
        return Path(os.fsdecode(self.segment.item.location))

    def to_dict(self) -> dict[str, object]:
        """Return the hit as `search --json` prints it, without absent fields."""
        segment, item, shown = self.segment, self.segment.item, self.shown
        path = path_fields("path", item.location)
        library = {} if self.library is None else path_fields("library", os.fsencode(self.library))
        return present(
            {
                "rank": self.rank,
                "relevance": rounded(self.relevance),
                "score": rounded(self.score),
                "id": segment.item_id,
                "kind": item.kind.value,
                **path,
                "path_marks": ("path" in path and list(map(list, self.path_marks))) or None,
                **unreachable_root(item),
                "gone": self.gone or None,
                **place_fields(self.start, self.end, segment),
                "clip": (segment.clip and not math.isnan(self.score)) or None,
                "snippet": None if shown is None else shown.text,
                "marks": None if shown is None else list(map(list, shown.marks)) or None,
                "width": segment.width,
                "height": segment.height,
                **metadata_fields(segment),
                "mtime": utc_text(item.mtime_ns),
                **library,
                "rerank_score": rounded(self.rerank_score),
                "moments": [each.to_dict() for each in self.moments] or None,
                "duplicates": [path_fields("path", each.location) for each in self.duplicates]
                or None,
            }
        )


def metadata_fields(segment: Segment) -> dict[str, object]:
    """Return the metadata of a segment's file by name; `page` is a document's number of a page."""
    fields = asdict(segment.metadata)
    if segment.metadata.keywords is not None:
        fields["keywords"] = list(segment.metadata.keywords)
    return fields if segment.page is None else fields | {"page": segment.page}


def unreachable_root(item: Item) -> dict[str, object]:
    """Return the field of a root of a shared table that this computer does not reach.

    The path of such an item begins with the name of the root.
    """
    if Path(os.fsdecode(item.root)).is_absolute():
        return {}
    return {"root": item.root.decode()}


def skipped_fields(skipped: Iterable[Skipped]) -> list[dict[str, str]]:
    """Return the paths of what was left out, each with its reason."""
    return [{**path_fields("path", each.path), "reason": each.reason} for each in skipped]


def place_fields(start: float | None, end: float | None, segment: Segment) -> dict[str, object]:
    """Return the place of a part of a file: its seconds, lines, page or section, if it has them."""
    lines = None if segment.lines is None else list(segment.lines)
    place = {"lines": lines, "page": segment.page, "section": segment.section}
    return present({"start": start, "end": end, **place})


class Embedder(Protocol):
    """Computes the vectors of inputs."""

    dim: int

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i."""
        ...


@runtime_checkable
class QueueingEmbedder(Protocol):
    """An embedder that `at_once` batches keep busy."""

    dim: int
    at_once: int

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i."""
        ...

    def submit(self, inputs: Sequence[EmbedInput]) -> Future[Vectors]:
        """Begin to embed; the result, or what it raises, is that of `embed`."""
        ...


class Reranker(Protocol):
    """Scores documents against a query."""

    def score(self, query: EmbedInput, documents: Sequence[EmbedInput]) -> list[float]:
        """Return P(relevant) of each document, 0 to 1."""
        ...
