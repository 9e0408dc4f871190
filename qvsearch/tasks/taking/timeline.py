"""Moments of videos as a timeline for editors, by OpenTimelineIO; in and out points are frames."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.display import safe_text
from qvsearch.errors import QvsearchError
from qvsearch.tasks.extras import needed
from qvsearch.tasks.taking.cuts import Cut, cuts_of
from qvsearch.tasks.taking.fcpxml import fcpxml
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.taking.spans import Span

SUFFIXES = (".otio", ".fcpxml", ".edl")
LONGEST_TITLE = 70  # characters of an EDL's title (CMX 3600)
REEL = 8  # letters and digits of the name of a reel (CMX 3600)
_DROPPED = ";"


@dataclass(frozen=True, slots=True)
class Timeline:
    """A timeline file; files without a place in it, and those whose frame rate varies."""

    data: bytes
    cuts: tuple[Cut, ...]
    skipped: tuple[Skipped, ...]
    variable: tuple[bytes, ...]


def check_suffix(path: Path) -> None:
    """Raise QvsearchError for another suffix, or without the extra that writes it."""
    if path.suffix.lower() not in SUFFIXES:
        raise QvsearchError(f"--timeline {path} has another suffix; give .otio, .fcpxml or .edl")
    needed("opentimelineio", "OpenTimelineIO", "search --timeline", "timeline")
    if path.suffix.lower() == ".edl":
        needed("otio_cmx3600_adapter", "otio-cmx3600-adapter", "an .edl", "timeline")


def timeline(spans: Sequence[Span], title: str, suffix: str) -> Timeline:
    """Return the spans as a file of this suffix; raises QvsearchError if none has a place in it."""
    cuts, skipped = cuts_of(spans)
    if suffix == ".edl":
        cuts, others = _fitting(cuts)
        skipped += others
    if not cuts:
        return Timeline(b"", (), tuple(skipped), ())
    rate = _common_rate(cuts)
    if suffix == ".fcpxml":
        data = fcpxml(cuts, title, rate)
    elif suffix == ".edl":
        data = _edl(cuts, title, rate)
    else:
        import opentimelineio

        text = opentimelineio.adapters.write_to_string(_schema(cuts, title), "otio_json")
        data = text.encode()
    variable = dict.fromkeys(cut.span.path for cut in cuts if cut.film.variable)
    return Timeline(data, tuple(cuts), tuple(skipped), tuple(variable))


def _common_rate(cuts: Sequence[Cut]) -> Fraction:
    """Return the rate of most moments; that of the first one among equals."""
    rates = Counter(cut.film.rate for cut in cuts)
    return max(rates, key=lambda rate: rates[rate], default=Fraction(25))


def _fitting(cuts: Sequence[Cut]) -> tuple[list[Cut], list[Skipped]]:
    """Return the cuts that an EDL of one rate can hold, and the other files with the reason."""
    from opentimelineio.opentime import RationalTime

    def has_timecodes(cut: Cut) -> bool:
        return bool(RationalTime.is_smpte_timecode_rate(float(cut.film.rate)))

    rate = _common_rate([cut for cut in cuts if has_timecodes(cut)])
    fits: list[Cut] = []
    others: dict[bytes, str] = {}
    for cut in cuts:
        if has_timecodes(cut) and cut.film.rate == rate:
            fits.append(cut)
            continue
        reason = "and no timecode has that rate"
        if has_timecodes(cut):
            reason = f"not {float(rate):.5g}, as the others of this .edl"
        shown = f"{float(cut.film.rate):.5g} frames a second"
        others[cut.span.path] = f"it has {shown}, {reason}; use .otio or .fcpxml"
    return fits, [Skipped(path, reason) for path, reason in others.items()]


def _schema(cuts: Sequence[Cut], title: str, reels: dict[bytes, str] | None = None) -> Any:  # noqa: ANN401 - OpenTimelineIO has no types
    """Return the cuts as one video track of OpenTimelineIO."""
    from opentimelineio.opentime import RationalTime, TimeRange
    from opentimelineio.schema import Clip, ExternalReference, Track
    from opentimelineio.schema import Timeline as Schema

    track = Track("hits", kind="Video")
    for cut in cuts:
        rate = float(cut.film.rate)

        def span(first: int, count: int, rate: float = rate) -> Any:  # noqa: ANN401 - as above
            return TimeRange(RationalTime(first, rate), RationalTime(count, rate))

        available = span(cut.origin, cut.film.frames) if cut.film.frames else None
        clip = Clip(
            name=safe_text(cut.span.name),
            media_reference=ExternalReference(cut.span.url, available),
            source_range=span(cut.origin + cut.first, cut.after - cut.first),
        )
        if reels is not None:
            clip.metadata["cmx_3600"] = {"reel": reels[cut.span.path]}
        track.append(clip)
    whole = Schema(safe_text(title))
    whole.tracks.append(track)
    return whole


def _edl(cuts: Sequence[Cut], title: str, rate: Fraction) -> bytes:
    """Return a CMX 3600 edit list; timecodes of 29.97 and 59.94 drop frames."""
    import opentimelineio
    from opentimelineio.opentime import RationalTime, to_timecode

    short = safe_text(title).encode("ascii", "replace").decode()[:LONGEST_TITLE]
    schema = _schema(cuts, short, reel_names(cuts))
    text = opentimelineio.adapters.write_to_string(schema, "cmx_3600", rate=float(rate))
    drops = _DROPPED in to_timecode(RationalTime(0, float(rate)), float(rate))
    mode = "FCM: DROP FRAME" if drops else "FCM: NON-DROP FRAME"
    head, _, rest = text.partition("\n\n")
    return f"{head}\n{mode}\n\n{rest}".encode()


def reel_names(cuts: Sequence[Cut]) -> dict[bytes, str]:
    """Return a name of letters and digits for each file, different for each."""
    reels: dict[bytes, str] = {}
    used: set[str] = set()
    numbers: Counter[str] = Counter()  # cameras give all their films one beginning
    for path in dict.fromkeys(cut.span.path for cut in cuts):
        stem = os.path.splitext(os.fsdecode(os.path.basename(path)))[0]
        name = reel = re.sub("[^A-Za-z0-9]", "", stem)[:REEL].upper() or "CLIP"
        number = numbers[name] or 1
        while reel in used:
            number += 1
            reel = f"{name[: REEL - len(str(number))]}{number}"
        numbers[name] = number
        used.add(reel)
        reels[path] = reel
    return reels
