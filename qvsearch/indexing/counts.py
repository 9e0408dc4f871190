"""The counts of one indexing run, and the events that report them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qvsearch.kinds import is_packed
from qvsearch.paged_text import DOCUMENT_PAGES
from qvsearch.types import Item, Kind, Skipped, VideoMode

if TYPE_CHECKING:
    from qvsearch.indexing.changes import KeptFiles, Missing, ScanResult

READ_ANEW = "read anew: qvsearch reads such files better now"
SAMPLED = "sampled"  # documents with more pages than are indexed
# for estimates: a moment of a video is ten seconds from the web and one or two from a phone; with
# a passage of a text, each with the most that the decoders return
MOMENT_BYTES, MOMENTS = 2_000_000, 381
FINE_MOMENT_BYTES = 400_000
# the same for a film of known length: moments end where scenes do, and after ten seconds
MOMENT_SECONDS, FINE_MOMENT_SECONDS = 5.0, 1.15
PASSAGE_BYTES, TEXT_BYTES = 1_600, 10 * 2**20
PAGE_BYTES = 60_000  # of a document: a page of text has 20 kB, a scanned one 100 or more
# Office files are packed, but have pictures; slides are short
PACKED_BYTES, PACKED_PASSAGES = 10_000, 200


@dataclass(frozen=True, slots=True)
class Event:
    """A step of an indexing run.

    With a `path`, `state` is unchanged, indexed (with a `reason` if an unchanged file was read
    again), reused, skipped or removed. Without a path it is planned, compared (`reason` is the
    result), embedded (a batch of `segments`), committed, or, for the words in pictures, reading
    (`segments` in all) and read (some of them). `checking` comes before `files` whose status
    changed, `looking` before unchanged ones that an older version read, `words` before texts that
    are read again for their words.
    `estimate` is the expected number of segments of a file that must be decoded. `planned` comes
    once before those files, with their number in `files`, the sum of their estimates, and the sums
    `by_kind`. `known` is true for a skipped file that failed before in its present state.
    """

    state: str
    path: bytes | None = None
    kind: Kind | None = None
    segments: int = 0
    reason: str | None = None
    files: int = 0
    estimate: int = 0
    by_kind: Mapping[Kind, int] = field(default_factory=dict)
    known: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did, in files but for `segments`, the vectors added.

    found = indexed + unchanged + skipped, and indexed = embedded + reused. `left` are the files
    that an interrupted run did not reach. Nothing was removed below `unreachable`, given paths that
    are not there, and below `kept`. `read_anew` are unchanged files that are among the indexed
    because an older version had read them otherwise. `checked` are files whose status had changed,
    so that their contents were compared. `left_aside` counts files of unsupported suffixes, which
    are not among `found`. `left_out` files stay though they are clutter now, or left out by include
    and exclude. `vendored` counts files of other people's code, which are not among `found` either.
    `sampled` are documents of which only some pages are indexed. `pictures_read` are segments whose
    pictures were read for their words, and `pictures_unread` those that need the extra `[ocr]`.
    """

    found: int
    indexed: int
    embedded: int
    reused: int
    unchanged: int
    skipped: int
    removed: int
    segments: int
    seconds: float
    interrupted: bool
    left: int
    failures: tuple[Skipped, ...]
    unreachable: tuple[bytes, ...]
    kept: tuple[KeptFiles, ...]
    read_anew: int = 0
    checked: int = 0
    left_aside: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    sampled: int = 0
    vendored: int = 0
    pictures_read: int = 0
    pictures_unread: int = 0


def estimated_segments(item: Item, video_mode: VideoMode, length: float | None = None) -> int:
    """Estimate a file's segments from its size; nothing is read.

    `length` is that of a film in seconds, or of a document in pages.
    """
    if item.kind is Kind.IMAGE:
        return 1
    if item.kind is Kind.TEXT and is_packed(item.location):
        return max(1, min(item.size // PACKED_BYTES, PACKED_PASSAGES))
    if item.kind is Kind.TEXT:
        return max(1, min(item.size, TEXT_BYTES) // PASSAGE_BYTES)
    if item.kind is Kind.DOCUMENT:
        pages = item.size / PAGE_BYTES if length is None else length
        return max(1, min(DOCUMENT_PAGES, round(pages)))
    whole, fine = item.size / MOMENT_BYTES, item.size / FINE_MOMENT_BYTES
    if length is not None:
        whole, fine = length / MOMENT_SECONDS, length / FINE_MOMENT_SECONDS
    moments = max(1, min(MOMENTS, round(whole)))
    if video_mode is not VideoMode.BOTH:
        return moments
    return moments + max(1, min(MOMENTS, round(fine)))


class Counts:
    """Counts files by what a run did with them, and reports each as an event."""

    def __init__(self, report: Callable[[Event], None], video_mode: VideoMode) -> None:
        self._report, self._video_mode = report, video_mode
        self._started = time.monotonic()
        self._files: Counter[str] = Counter()
        self._segments = 0
        self._skipped: list[Skipped] = []

    def planned(self, items: Sequence[Item]) -> None:
        """Report the files to read, with estimates of their segments."""
        by_kind: Counter[Kind] = Counter()
        for item in items:
            by_kind[item.kind] += self._estimate(item)
        total = by_kind.total()
        self._report(Event("planned", files=len(items), estimate=total, by_kind=by_kind))

    def embedded(self, segments: int) -> None:
        """Report a batch of so many segments, of files that need not be finished."""
        self._report(Event("embedded", segments=segments))

    def unchanged(self, item: Item) -> None:
        """Count a file that the library had already."""
        self._files["unchanged"] += 1
        self._report(Event("unchanged", item.location, item.kind))

    def removed(self, item: Item) -> None:
        """Count a file that is gone."""
        self._files["removed"] += 1
        self._report(Event("removed", item.location, item.kind))

    def stored(
        self, state: str, item: Item, segments: int, *, anew: bool = False, sampled: bool = False
    ) -> None:
        """Count a file that was `indexed` or `reused`.

        `anew` if it is an unchanged one, `sampled` if it has too many pages.
        """
        self._files[SAMPLED] += sampled
        reason = READ_ANEW if anew else None
        self._files[state] += 1
        self._files[READ_ANEW] += anew
        self._segments += segments
        estimate = self._estimate(item)
        self._report(Event(state, item.location, item.kind, segments, reason, estimate=estimate))

    def skipped(self, skipped: Skipped, item: Item | None = None) -> None:
        """Count a file that was not indexed; `item` if it was to be read."""
        self._skipped.append(skipped)
        kind = None if item is None else item.kind
        estimate = 0 if item is None else self._estimate(item)
        reason, known = skipped.reason, skipped.known
        self._report(
            Event("skipped", skipped.path, kind, reason=reason, estimate=estimate, known=known)
        )

    def summary(
        self,
        files: ScanResult,
        missing: Missing,
        unreachable: tuple[bytes, ...],
        *,
        interrupted: bool,
        left: int,
        checked: int,
    ) -> Summary:
        """Return the counts; every file that was looked into is indexed, unchanged or skipped."""
        counts = self._files
        indexed = counts["indexed"] + counts["reused"]
        return Summary(
            found=indexed + counts["unchanged"] + len(self._skipped),
            indexed=indexed,
            embedded=counts["indexed"],
            reused=counts["reused"],
            unchanged=counts["unchanged"],
            skipped=len(self._skipped),
            removed=counts["removed"],
            segments=self._segments,
            seconds=time.monotonic() - self._started,
            interrupted=interrupted,
            left=left,
            failures=tuple(self._skipped),
            unreachable=unreachable,
            kept=tuple(missing.kept),
            read_anew=counts[READ_ANEW],
            checked=checked,
            left_aside=files.left_aside,
            left_out=missing.left_out,
            sampled=counts[SAMPLED],
            vendored=files.vendored,
        )

    def _estimate(self, item: Item) -> int:
        return estimated_segments(item, self._video_mode)
