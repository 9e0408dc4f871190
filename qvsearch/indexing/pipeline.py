"""Bring a library up to date with files and folders; knows no format of media, model or disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.files import is_below
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.indexing.batching import embed_files
from qvsearch.indexing.changes import (
    HASH_THREADS,
    compare,
    copies,
    estimated_segments,
    find,
    hashed,
    known_failures,
    known_files,
    resolve,
    unreachable,
)
from qvsearch.indexing.int8_check import INPUTS, agreement_of, embed_first, first_inputs
from qvsearch.indexing.missing import Kept, missing
from qvsearch.indexing.review import review
from qvsearch.indexing.session import IngestOptions, Run, Summary
from qvsearch.library.aliases import aliases
from qvsearch.library.pending import without
from qvsearch.library.rules import lasting, scans_of
from qvsearch.media.workers import Decoders, film_lengths
from qvsearch.types import Event, Kind, Precision, Skipped, VideoMode

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.types import Embedder, EmbedInput, Item

__all__ = ["IngestOptions", "Kept", "Plan", "Summary", "forget", "index", "plan"]

HEADERS_SECONDS = 20.0  # for reading the lengths of films; the others are guessed from these


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do, in files but for `by_kind`, a guess at the vectors to be computed.

    `older` are unchanged files that it looks at once, since an older version read them; at most
    their `older_segments` are computed again, which `by_kind` leaves out. `touched` are files whose
    status changed, and whose contents it compares.
    `left_aside` counts files of no kind that is taken, by suffix; `left_out` files would stay that
    are clutter or left out by include and exclude.
    """

    to_index: dict[Kind, int]
    reused: int
    unchanged: int
    gone: int
    by_kind: dict[Kind, int]
    skipped: tuple[Skipped, ...]
    unreachable: tuple[bytes, ...]
    kept: tuple[Kept, ...]
    older: int = 0
    older_segments: int = 0
    touched: int = 0
    left_aside: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0

    @property
    def segments(self) -> int:
        """A guess at all vectors to be computed."""
        return sum(self.by_kind.values())


def index(
    library: Library,
    paths: Sequence[bytes],
    load_embedder: Callable[[], Embedder],
    options: IngestOptions,
    report: Callable[[Event], None],
    stop: Callable[[], bool],
    load_exact: Callable[[], Embedder] | None = None,
) -> Summary:
    """Make the library hold what is at these absolute paths, embedding only what it never saw.

    `load_embedder` is called when the first file needs it; then a library that has no bank of
    generic queries gets one. `load_exact` loads the model in float32: an int8 library of few rows
    is compared with it on the first files, before any is added. `stop` is asked between batches;
    what is finished then is committed. Raises LibraryLocked, and QvsearchError for a path that is
    nowhere, where the model, and not a file, fails, or where int8 is too far from float32.
    """
    made = library.fingerprint
    first: list[EmbedInput] = []  # to be compared

    def load() -> Embedder:
        expected = None
        if first and load_exact is not None:  # what it loads is gone before the other model comes
            floats = replace(made, precision=Precision.FLOAT)
            expected = embed_first(load_exact(), first, floats)
        embedder = load_embedder()
        if library.bank is None:
            library.set_bank(baseline_vectors(embedder, made))
        if expected is not None:
            found = agreement_of(expected, embed_first(embedder, first, made))
            report(Event("compared", reason=str(found)))
            found.require(
                "index into a new --library with --dtype float32"
                if library.generation
                else "go on with --dtype float32"
            )
            first.clear()
        return embedder

    with library.lock():
        run = Run(library, options, report, stop)
        targets = resolve(library.roots, paths)
        rules = library.rules | library.waiting_rules
        scans = scans_of(
            rules,
            [target.root for target in targets],
            options.scan,
            forget=options.forget_rules,
        )
        found = find(targets, scans, run.stopped, library.roots)
        lasts = lasting(scans, rules, [target.path for target in targets])
        run.remember(lasts)
        changes = run.begin(targets, found)
        try:
            with ThreadPoolExecutor(HASH_THREADS) as threads, Decoders() as decoders:
                items = review(run, changes, threads, decoders, report)
                while items and not run.stopped():
                    jobs = run.jobs(hashed(items, threads))
                    decoded = decoders.decode(
                        jobs, made.detail.max_pixels, made.video_mode, run.stopped
                    )
                    if load_exact is not None and _is_unproven(library) and not first:
                        first, decoded = first_inputs(decoded)
                    for outcome in embed_files(decoded, load, run.stopped, run.embedded):
                        run.take(outcome)
                    items = run.second_chances()
        except QvsearchError:
            run.commit()  # a model that fails takes nothing along that is finished
            raise
        if not run.stopped():
            run.remove_missing(targets, found, lasts)
        run.commit()
    return run.summary(targets)


def _is_unproven(library: Library) -> bool:
    """Tell whether int8 was compared with float32 on fewer inputs than that takes, or on none."""
    return library.fingerprint.precision == Precision.INT8 and len(library) < INPUTS


def plan(
    library: Library | None,
    paths: Sequence[bytes],
    options: IngestOptions,
    video_mode: VideoMode = VideoMode.FRAMES,
) -> Plan:
    """Tell what `index` would do; nothing is written.

    Only files of equal size and the headers of films are read.
    """
    places = {} if library is None else library.by_location()
    known = {} if library is None else known_files(library, places)
    failures = {} if library is None else known_failures(library)
    roots = [] if library is None else library.roots
    targets = resolve(roots, paths)
    rules = {} if library is None else library.rules | library.waiting_rules
    scans = scans_of(
        rules,
        [target.root for target in targets],
        options.scan,
        forget=options.forget_rules,
    )
    found = find(targets, scans, lambda: False, roots)
    changes = compare(found, known, failures, options.force, options.retry_failed)
    reused = copies(changes.to_do, [] if options.force else known.values())
    new = [item for item in changes.to_do if item.location not in reused]
    moved = {content for place, content in reused.items() if place not in known}
    lasts = lasting(scans, rules, [target.path for target in targets])
    lost = missing(targets, found, known, moved, lasts, options.prune)
    return Plan(
        to_index=dict(Counter(item.kind for item in new)),
        reused=len(reused),
        unchanged=len(changes.unchanged),
        gone=len(lost.gone),
        by_kind=dict(_guessed(new, video_mode)),
        skipped=(*found.skipped, *changes.skipped),
        unreachable=unreachable(targets, options.prune),
        kept=tuple(lost.kept),
        older=len(changes.older),
        older_segments=sum(len(places[item.location]) for item in changes.older),
        touched=len(changes.touched),
        left_aside=found.left_aside,
        left_out=lost.left_out,
    )


def _guessed(items: Sequence[Item], video_mode: VideoMode) -> Counter[Kind]:
    """Guess the segments of each kind; a film without a known length is as long as its bytes."""
    films = {Path(os.fsdecode(each.location)): each for each in items if each.kind is Kind.VIDEO}
    lengths = film_lengths(list(films), HEADERS_SECONDS)
    known = sum(films[path].size for path in lengths)
    per_byte = sum(lengths.values()) / known if known else None
    by_kind: Counter[Kind] = Counter()
    for item in items:
        seconds = None
        if item.kind is Kind.VIDEO and per_byte is not None:
            seconds = lengths.get(Path(os.fsdecode(item.location)), item.size * per_byte)
        by_kind[item.kind] += estimated_segments(item, video_mode, seconds)
    return by_kind


def forget(library: Library, paths: Sequence[bytes]) -> int:
    """Take what is at or below absolute paths out of the library; return how many files.

    A path that the library does not know is taken as another name of one that it does. The files
    themselves are not touched. Raises QvsearchError, with nothing taken out, where the library
    knows nothing of a path.
    """
    with library.lock():
        known, failures = library.by_location(), known_failures(library)
        pending = library.load_pending()
        waiting = [path for run in pending for path in run.paths]
        places = (*library.roots, *known, *failures, *waiting)
        folders = [_known_name(library, path, places) for path in paths]

        def named(place: bytes) -> bool:
            return any(is_below(place, folder) for folder in folders)

        gone = [place for place in known if named(place)]
        roots = [root for root in library.roots if named(root)]
        if gone or roots:
            library.remove([row for place in gone for row in known[place]])
            library.remove_roots(roots)
            library.commit()
        library.save_failures(each for place, each in failures.items() if not named(place))
        library.save_pending(without(pending, named))
    return len(gone)


def _known_name(library: Library, path: bytes, places: Collection[bytes]) -> bytes:
    for name in aliases(path, library.roots):
        if any(is_below(place, name) for place in places):
            return name
    raise QvsearchError(
        f"the library {library.folder} holds nothing at {os.fsdecode(path)};"
        " `qvsearch status` lists its roots"
    )
