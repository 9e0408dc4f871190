"""The tool read: the picture of an image, frames of a video, pages of a document, or passages."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.formats import path_fields, present
from qvsearch.mcp.arguments import names_of
from qvsearch.mcp.searching import CONTENT
from qvsearch.media.places import page_place
from qvsearch.types import DecodeOptions, Kind, Skipped, place_fields

if TYPE_CHECKING:
    from qvsearch.mcp.arguments import ReadArguments
    from qvsearch.media.workers import Decoders
    from qvsearch.retrieval.shelf import Shelf
    from qvsearch.types import Decoded, Pixels, Segment

FRAMES = 4
NEIGHBOURS = 1
MOST_PASSAGES = 12  # of one answer: some 5,000 tokens
# of all pictures of an answer: in base64 they stay below the megabyte that Claude Desktop accepts
MOST_BYTES = 700_000
PAGE_CHARACTERS = 12_000  # of a page's text layer: some 4,000 tokens
QUALITIES = (90, 80, 65, 45, 25)  # of JPEG, the first that fits


@dataclass(frozen=True, slots=True)
class Contents:
    """What `read` returns: a record, and JPEGs in the order of its `frames` or `pages`."""

    record: dict[str, Any]
    pictures: tuple[bytes, ...] = ()


class Reader:
    """Reads files in confined processes; a context manager that ends them, safe for threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._decoders: Decoders | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._decoders is not None:
                self._decoders.__exit__()

    def read(self, shelf: Shelf, arguments: ReadArguments, stop: Callable[[], bool]) -> Contents:
        """Return a file's contents, until `stop` returns True.

        Raises Gone for an identity that no library has, QvsearchError for a file that is missing,
        changed or damaged, and for arguments of another kind of file.
        """
        with shelf.reading(names_of(arguments.library)) as chosen:
            opened, segments = chosen.find(arguments.id)
        kind = segments[0].item.kind
        _check_kind(segments[0], arguments)
        moments = _places(segments, arguments)
        pixels = arguments.detail.max_pixels // max(1, len(moments))
        decoded = self._decode(segments[0], DecodeOptions(pixels, moments=moments), stop)
        own = _passages(decoded, arguments) if kind is Kind.TEXT else _pictures(decoded)
        head = {
            "id": arguments.id,
            "kind": kind.value,
            **path_fields("path", segments[0].item.location),
            "library": opened.name,
        }
        return Contents({**head, **own.record, "note": CONTENT}, own.pictures)

    def _decode(
        self, segment: Segment, options: DecodeOptions, stop: Callable[[], bool]
    ) -> Decoded:
        job = (segment.item, segment.content_hash)
        for outcome in self._workers().decode([job], options, stop):
            if isinstance(outcome, Skipped):
                raise QvsearchError(
                    f"{os.fsdecode(outcome.path)} cannot be read: {_reason(outcome)}"
                )
            return outcome
        raise QvsearchError("cancelled")

    def _workers(self) -> Decoders:
        from qvsearch.media import excerpts
        from qvsearch.media.workers import Decoders

        with self._lock:
            if self._decoders is None:
                self._decoders = Decoders(decode=excerpts.decode)
            return self._decoders


def _reason(skipped: Skipped) -> str:
    """Return a reason that is true for a file which was indexed earlier."""
    from qvsearch.media import CHANGED

    return "it has changed since it was indexed" if skipped.reason == CHANGED else skipped.reason


def _check_kind(segment: Segment, arguments: ReadArguments) -> None:
    """Raise QvsearchError for an argument that this kind of file does not have."""
    of_kind = {
        Kind.VIDEO: ("start", "end", "frames"),
        Kind.TEXT: ("lines", "section", "passage", "neighbours"),
        Kind.DOCUMENT: ("page", "neighbours"),
    }
    own = of_kind.get(Kind.VIDEO if _has_film(segment) else segment.item.kind, ())
    for kind, names in of_kind.items():
        for name in names:
            if getattr(arguments, name) is not None and name not in own:
                article = "an" if segment.item.kind is Kind.IMAGE else "a"
                raise QvsearchError(
                    f"{name} is for a {kind}, and {os.fsdecode(segment.item.location)} is"
                    f" {article} {segment.item.kind}"
                )


def _has_film(segment: Segment) -> bool:
    """Return whether a file is a picture with a film within it."""
    return segment.item.kind is Kind.IMAGE and segment.metadata.duration is not None


def _places(
    segments: Sequence[Segment], arguments: ReadArguments
) -> tuple[tuple[float, float], ...]:
    """Return the parts of a film or document that are read; none for other files."""
    match segments[0].item.kind:
        case Kind.VIDEO:
            return _moments(segments, arguments)
        case Kind.DOCUMENT:
            return _pages(segments, arguments)
        case Kind.IMAGE if (arguments.start, arguments.end, arguments.frames) != (None,) * 3:
            return _moments(segments, arguments)
    return ()


def _pages(
    segments: Sequence[Segment], arguments: ReadArguments
) -> tuple[tuple[float, float], ...]:
    """Return the wanted page, else the first, and its neighbours; raises QvsearchError."""
    page = arguments.page or 1
    last = segments[0].metadata.pages or max(each.page or 1 for each in segments)
    if page > last:
        raise QvsearchError(f"page {page} does not exist; the document has {last}")
    around = arguments.neighbours or 0
    pages = range(max(1, page - around), min(last, page + around) + 1)
    return tuple(page_place(each) for each in pages)


def _moments(
    segments: Sequence[Segment], arguments: ReadArguments
) -> tuple[tuple[float, float], ...]:
    """Return equal parts of the moment, of each of which a frame is read."""
    last = max(each.end or 0.0 for each in segments)
    length = segments[0].metadata.duration or last
    start = arguments.start or 0.0
    end = min(length if arguments.end is None else arguments.end, max(length, last))
    if not start < end:
        raise QvsearchError(
            f"the moment from {start:g} s to {end:g} s is empty; the video has {length:.3g} s"
        )
    count = arguments.frames or FRAMES
    edges = [start + (end - start) * place / count for place in range(count)] + [end]
    return tuple(zip(edges, edges[1:], strict=False))


def _pictures(decoded: Decoded) -> Contents:
    """Return an image, the frames of a film with their times, or pages with their words."""
    segment, source = decoded.segments[0]
    if decoded.item.kind is Kind.IMAGE and segment.start is None:
        size = present({"width": segment.width, "height": segment.height})
        return Contents(size, _jpegs(source.images[:1]))
    if decoded.item.kind is Kind.DOCUMENT:
        return _page_contents(decoded)
    times, pixels = [], []
    for segment, source in decoded.segments:
        if source.video is not None:
            times.append(round((segment.start or 0.0) + source.video.times[0], 3))
            pixels.append(source.video.pixels[0])
    return Contents({"frames": [{"time": each} for each in times]}, _jpegs(pixels))


def _page_contents(decoded: Decoded) -> Contents:
    pages = [
        present({"page": each.page, "text": (each.words or "")[:PAGE_CHARACTERS] or None})
        for each, _ in decoded.segments
    ]
    of = decoded.segments[0][0].metadata.pages
    pictures = [image for _, source in decoded.segments for image in source.images]
    return Contents(present({"pages": pages, "of": of}), _jpegs(pictures))


def _jpegs(pictures: Sequence[Pixels]) -> tuple[bytes, ...]:
    """Return pictures (h, w, 3) as JPEG, in the best quality that an answer has room for."""
    from PIL import Image

    for quality in QUALITIES:
        encoded = []
        for each in pictures:
            buffer = io.BytesIO()
            Image.fromarray(each).save(buffer, "JPEG", quality=quality)
            encoded.append(buffer.getvalue())
        if sum(map(len, encoded)) <= MOST_BYTES:
            break
    return tuple(encoded)


def _passages(decoded: Decoded, arguments: ReadArguments) -> Contents:
    """Return the wanted passages with their neighbours; without any wish the first ones."""
    passages = [(each, source.text or "") for each, source in decoded.segments]
    first, last = _wanted(passages, arguments)
    around = NEIGHBOURS if arguments.neighbours is None else arguments.neighbours
    first, last = max(0, first - around), min(len(passages), last + around)
    last = min(last, first + MOST_PASSAGES)
    return Contents(
        {
            "passages": [
                {
                    "passage": number + 1,
                    **place_fields(None, None, passages[number][0]),
                    "text": passages[number][1],
                }
                for number in range(first, last)
            ],
            "of": len(passages),
        }
    )


def _wanted(passages: Sequence[tuple[Segment, str]], arguments: ReadArguments) -> tuple[int, int]:
    """Return the first wanted passage, and the one after the last; raises QvsearchError."""
    given = [
        name for name in ("lines", "section", "passage") if getattr(arguments, name) is not None
    ]
    if len(given) > 1:
        raise QvsearchError(f"{given[0]} and {given[1]} are two places; give one")
    if arguments.passage is not None:
        if arguments.passage > len(passages):
            raise QvsearchError(
                f"passage {arguments.passage} does not exist; there are {len(passages)}"
            )
        return arguments.passage - 1, arguments.passage
    if arguments.section is not None:
        return _in_section(
            [(each.section or "", text) for each, text in passages], arguments.section
        )
    if arguments.lines is None:
        return 0, 1
    begin, end = arguments.lines
    lines = [each.lines or (0, 0) for each, _ in passages]
    found = [number for number, (first, last) in enumerate(lines) if first <= end and begin <= last]
    if not found:
        raise QvsearchError(
            f"no passage has lines {begin} to {end}; the last one is line {lines[-1][1]}"
        )
    return found[0], found[-1] + 1


def _in_section(passages: Sequence[tuple[str, str]], wanted: str) -> tuple[int, int]:
    """Return the first passage of a section, and the one after the last; raises QvsearchError.

    A passage of several sections names the first and the last; others are headings in its text.
    """
    pairs = list(enumerate(passages))
    found = [at for at, (names, _) in pairs if f" – {wanted} – " in f" – {names} – "]
    if not found:
        found = [
            at for at, (names, text) in pairs if " – " in names and wanted in text.splitlines()
        ]
    if not found:
        known = ", ".join(dict.fromkeys(names for names, _ in passages if names))
        raise QvsearchError(f"no passage is in {wanted!r}; there are {known or 'no sections'}")
    return found[0], found[-1] + 1
