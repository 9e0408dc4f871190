"""What an indexing run would do, without doing it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.indexing.changes import (
    KeptFiles,
    compare,
    known_failures,
    known_files,
    missing,
    resolve,
    scan_targets,
    unreachable,
)
from qvsearch.indexing.contents import copies
from qvsearch.indexing.counts import estimated_segments
from qvsearch.indexing.roots import remembered_rules
from qvsearch.library.rules import lasting, of_kinds, scans_of
from qvsearch.media.workers import film_lengths, page_counts
from qvsearch.types import Item, Kind, Skipped, VideoMode

if TYPE_CHECKING:
    from qvsearch.indexing.session import IngestOptions
    from qvsearch.library.library import Library

# for reading the lengths of films, and those of documents; the others are estimated from these
HEADERS_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do, in files but for `by_kind`, an estimate of the vectors to compute.

    `older` are unchanged files that it looks at once, since an older version read them. At most
    their `older_segments`, which are not in `by_kind`, are computed again. `touched` are files
    whose status changed, and whose contents it compares. `left_aside` counts files of unsupported
    suffixes. `left_out` files would stay though they are clutter, or left out by include and
    exclude. `vendored` counts files of other people's code.
    """

    to_index: dict[Kind, int]
    reused: int
    unchanged: int
    gone: int
    by_kind: dict[Kind, int]
    skipped: tuple[Skipped, ...]
    unreachable: tuple[bytes, ...]
    kept: tuple[KeptFiles, ...]
    older: int = 0
    older_segments: int = 0
    touched: int = 0
    left_aside: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    vendored: int = 0

    @property
    def segments(self) -> int:
        """An estimate of all vectors to compute."""
        return sum(self.by_kind.values())


def plan(
    library: Library | None,
    paths: Sequence[bytes],
    options: IngestOptions,
    video_mode: VideoMode = VideoMode.FRAMES,
) -> Plan:
    """Return what `index` would do; nothing is written.

    Only files of equal size and the headers of films and documents are read.
    """
    rows = {} if library is None else library.by_location()
    known = {} if library is None else known_files(library, rows)
    failures = {} if library is None else known_failures(library)
    roots = [] if library is None else library.roots
    targets = resolve(roots, paths)
    rules = {} if library is None else remembered_rules(library)
    scans = scans_of(
        rules,
        [target.root for target in targets],
        options.scan,
        forget=options.forget_rules,
        as_before=options.as_before,
    )
    scans = of_kinds(scans, () if library is None else library.fingerprint.kinds)
    files = scan_targets(targets, scans, lambda: False, roots, known)
    changes = compare(files, known, failures, options.force, options.retry_failed)
    reused = copies(changes.to_do, [] if options.force else known.values())
    new = [item for item in changes.to_do if item.location not in reused]
    moved = {content for place, content in reused.items() if place not in known}
    lasts = lasting(scans, rules, [target.path for target in targets])
    lost = missing(targets, files, known, moved, lasts, options.prune)
    return Plan(
        to_index=dict(Counter(item.kind for item in new)),
        reused=len(reused),
        unchanged=len(changes.unchanged),
        gone=len(lost.gone),
        by_kind=dict(_estimated(new, video_mode)),
        skipped=(*files.skipped, *changes.skipped),
        unreachable=unreachable(targets, options.prune),
        kept=tuple(lost.kept),
        older=len(changes.older),
        older_segments=sum(len(rows[item.location]) for item in changes.older),
        touched=len(changes.touched),
        left_aside=files.left_aside,
        left_out=lost.left_out,
        vendored=files.vendored,
    )


def _estimated(items: Sequence[Item], video_mode: VideoMode) -> Counter[Kind]:
    """Estimate the segments of each kind; films and documents of unknown length go by bytes."""
    lengths = {
        **_all_lengths([each for each in items if each.kind is Kind.VIDEO], film_lengths),
        **_all_lengths([each for each in items if each.kind is Kind.DOCUMENT], page_counts),
    }
    by_kind: Counter[Kind] = Counter()
    for item in items:
        by_kind[item.kind] += estimated_segments(item, video_mode, lengths.get(item.location))
    return by_kind


def _all_lengths(
    items: Sequence[Item], measure: Callable[[Sequence[Path], float], Mapping[Path, float]]
) -> dict[bytes, float]:
    """Return the length of each file: measured ones, and the others by bytes from these."""
    paths = {Path(os.fsdecode(each.location)): each for each in items}
    lengths = measure(list(paths), HEADERS_SECONDS)
    measured = sum(paths[path].size for path in lengths)
    if not measured:
        return {}
    per_byte = sum(lengths.values()) / measured
    return {item.location: lengths.get(path, item.size * per_byte) for path, item in paths.items()}
