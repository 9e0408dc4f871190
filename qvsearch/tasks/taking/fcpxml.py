"""Writes moments of videos as FCPXML 1.8, which Final Cut Pro, DaVinci Resolve and others import.

The adapter of OpenTimelineIO leaves out the frame duration of NTSC rates and the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from qvsearch.display import safe_text

if TYPE_CHECKING:
    from qvsearch.tasks.taking.cuts import Cut

_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
_NO_CHARACTERS = {0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}
NTSC_BASE = 1001
DROPPING = (30, 60)  # nominal rates whose NTSC timecodes drop frames


def fcpxml(cuts: Sequence[Cut], title: str, rate: Fraction) -> bytes:
    """Return the cuts one after another, in a sequence of a rate (Apple, "FCPXML Reference")."""
    root = ET.Element("fcpxml", version="1.8")
    resources = ET.SubElement(root, "resources")
    formats: dict[tuple[Fraction, int, int], str] = {}
    assets: dict[bytes, str] = {}
    first = next(cut for cut in cuts if cut.film.rate == rate)
    for cut in (first, *cuts):
        film = cut.film
        key = (film.rate, film.width, film.height)
        if key not in formats:
            formats[key] = f"r{len(formats) + len(assets) + 1}"
            size = {"width": str(film.width), "height": str(film.height)}
            duration = {"frameDuration": _seconds(1 / film.rate)}
            ET.SubElement(resources, "format", {"id": formats[key]} | duration | size)
        if cut.span.path not in assets:
            assets[cut.span.path] = f"r{len(formats) + len(assets) + 1}"
            asset = {
                "id": assets[cut.span.path],
                "name": _text(cut.span.name),
                "src": cut.span.url,
                "start": _seconds(cut.origin / film.rate),
                "duration": _seconds(max(film.frames, cut.after) / film.rate),
                "hasVideo": "1",
                "format": formats[key],
            }
            ET.SubElement(resources, "asset", asset | ({"hasAudio": "1"} if film.has_sound else {}))
    event = ET.SubElement(ET.SubElement(root, "library"), "event", name="qvsearch")
    project = ET.SubElement(event, "project", name=_text(title))
    form = formats[rate, first.film.width, first.film.height]
    mode = {"tcStart": "0s", "tcFormat": _timecodes(rate)}
    sequence = ET.SubElement(project, "sequence", {"format": form} | mode)
    spine = ET.SubElement(sequence, "spine")
    place = 0
    for cut in cuts:
        # the sequence has whole frames, also of a source with another rate
        length = max(1, round((cut.after - cut.first) / cut.film.rate * rate))
        clip = {
            "name": _text(cut.span.name),
            "ref": assets[cut.span.path],
            "offset": _seconds(place / rate),
            "start": _seconds((cut.origin + cut.first) / cut.film.rate),
            "duration": _seconds(length / rate),
            "format": formats[cut.film.rate, cut.film.width, cut.film.height],
            "tcFormat": _timecodes(cut.film.rate),
        }
        ET.SubElement(spine, "asset-clip", clip)
        place += length
    sequence.set("duration", _seconds(place / rate))
    ET.indent(root)
    body: bytes = ET.tostring(root)
    return _HEAD + body + b"\n"


def _text(name: str) -> str:
    """Return a text that XML 1.0 can hold."""
    return safe_text(name).translate(_NO_CHARACTERS)


def _seconds(time: Fraction) -> str:
    return f"{time.numerator}/{time.denominator}s" if time.denominator > 1 else f"{time}s"


def _timecodes(rate: Fraction) -> str:
    return "DF" if rate in [Fraction(n * 1000, NTSC_BASE) for n in DROPPING] else "NDF"
