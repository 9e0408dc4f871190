"""Hits to the numbered sources that a model answers from: pictures, frames, pages, passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from qvsearch.media import CHANGED
from qvsearch.media.moments import decode as decode_moments
from qvsearch.media.places import page_place
from qvsearch.models.prompt import TOKEN_PIXELS
from qvsearch.types import Decoded, DecodeOptions, Kind, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.types import Detail, Hit, Moment, Pixels

    Place = Hit | Moment

FRAMES = 4  # the most of one moment
LEAST_SOURCES = 8  # fewer hits than this leave room for other moments and passages of their files
MOST_TOKENS = 12_000  # of all sources; a CPU reads some hundred a second with the 2B model
NO_FRAME = "no frame of the moment could be decoded"
NO_PAGE = "the page could not be drawn"
OTHER_PASSAGES = "an older version indexed it; bring it up to date with: qvsearch index"
PAGE_CHARACTERS = 6_000  # of a page's text layer: a dense page, some 2,000 tokens
CHARACTERS_PER_TOKEN = 3  # of a text, at least, in languages with an alphabet


@dataclass(frozen=True, slots=True)
class Source:
    """A place in a file; an answer cites it by its `number`, from 1.

    `text` is the whole passage, or the beginning of a page's text layer. `pictures` (h, w, 3) uint8
    are the image, the page, or the frames of a moment `[start, end)` in seconds; `times` are the
    seconds of the frames in the video.
    """

    number: int
    segment: Segment
    relevance: float
    start: float | None = None
    end: float | None = None
    text: str | None = None
    pictures: tuple[Pixels, ...] = ()
    times: tuple[float, ...] = ()

    @property
    def tokens(self) -> int:
        """About how many tokens of a prompt it takes."""
        pixels = sum(picture.size // 3 for picture in self.pictures)
        return pixels // TOKEN_PIXELS + len(self.text or "") // CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class Evidence:
    """The sources, hits whose files cannot be read, and how many places were too many."""

    sources: tuple[Source, ...]
    skipped: tuple[Skipped, ...] = ()
    left_out: int = 0


def read_evidence(hits: Sequence[Hit], detail: Detail) -> Evidence:
    """Read the best place of each hit again, and further relevant ones if there are few hits.

    Pictures have at most the pixels of `detail`. Sources of one file stand together, in the order
    of the hits. The least important ones are left out beyond MOST_TOKENS.
    """
    places = _places(hits)
    decoded = _decoded([place for _, place in places], detail.max_pixels)
    skipped: dict[bytes, Skipped] = {}  # each file once
    ranked: list[tuple[int, Source]] = []
    tokens = left_out = 0
    for rank, place in places:
        location = place.segment.item.location
        source = _source(place, decoded[location])
        if isinstance(source, Skipped):
            skipped.setdefault(location, source)
            continue
        tokens += source.tokens
        if ranked and tokens > MOST_TOKENS:
            left_out += 1
        else:
            ranked.append((rank, source))
    ranked.sort(key=lambda entry: entry[0])  # stable: the best place of a file comes first
    sources = (replace(each, number=number) for number, (_, each) in enumerate(ranked, start=1))
    return Evidence(tuple(sources), tuple(skipped.values()), left_out)


def _places(hits: Sequence[Hit]) -> list[tuple[int, Place]]:
    """Return (rank of the hit, place), the most important first: each hit's best, then others."""
    best: list[tuple[int, Place]] = [(hit.rank, hit) for hit in hits]
    others: list[tuple[int, Place]] = [(hit.rank, each) for hit in hits for each in hit.moments]
    others.sort(key=lambda entry: -entry[1].relevance)
    return [*best, *others][: max(len(hits), LEAST_SOURCES)]


def _decoded(places: Sequence[Place], max_pixels: int) -> dict[bytes, Decoded | Skipped]:
    """Decode each file once, in confined processes; only the wanted moments and pages."""
    from qvsearch.media.workers import Decoders  # not needed before there are hits

    moments: dict[bytes, list[tuple[float, float]]] = {}
    jobs = {}
    for place in places:
        item = place.segment.item
        jobs[item.location] = (item, place.segment.content_hash)
        if place.start is not None and place.end is not None:
            moments.setdefault(item.location, []).append((place.start, place.end))
        elif place.segment.page is not None:
            moments.setdefault(item.location, []).append(page_place(place.segment.page))
    decode = partial(decode_moments, moments=moments, most_frames=FRAMES)
    with Decoders(decode=decode) as decoders:
        outcomes = list(decoders.decode(jobs.values(), DecodeOptions(max_pixels)))
    return {location: _plain(outcome) for location, outcome in zip(jobs, outcomes, strict=True)}


def _plain(outcome: Decoded | Skipped) -> Decoded | Skipped:
    """Return an outcome whose reason is that of a file which was indexed earlier."""
    if isinstance(outcome, Skipped) and outcome.reason == CHANGED:
        return replace(outcome, reason="changed since it was indexed")
    return outcome


def _source(place: Place, decoded: Decoded | Skipped) -> Source | Skipped:
    """Return the source of a place, or why it cannot be read."""
    if isinstance(decoded, Skipped):
        return decoded
    segment = place.segment
    found = next(((each, own) for each, own in decoded.segments if _is_place(each, place)), None)
    if found is None:
        reasons = {Kind.VIDEO: NO_FRAME, Kind.IMAGE: NO_FRAME, Kind.DOCUMENT: NO_PAGE}
        return Skipped(segment.item.location, reasons.get(segment.item.kind, OTHER_PASSAGES))
    shown, content = found
    text = content.text
    if shown.page is not None and shown.words is not None:
        text = shown.words[:PAGE_CHARACTERS]
    pictures = content.images
    times: tuple[float, ...] = ()
    if content.video is not None:
        pictures = tuple(content.video.pixels)
        times = tuple((place.start or 0.0) + each for each in content.video.times)
    return Source(0, segment, place.relevance, place.start, place.end, text, pictures, times)


def _is_place(decoded: Segment, place: Place) -> bool:
    """Return whether a segment is the wanted one: passages of one long line differ in the snippet.

    The content is that of the row, since `decode` compares the hash.
    """
    if decoded.start is not None or place.start is not None:
        return (decoded.start, decoded.end) == (place.start, place.end)
    wanted = place.segment
    if wanted.page is not None:
        return decoded.page == wanted.page
    places = (decoded.lines, decoded.section, decoded.snippet)
    return places == (wanted.lines, wanted.section, wanted.snippet)
