"""Lines that are spoken in a film: subtitle files beside it, and in the film tracks and chapters.

The lines of a moment are a text of `timed_lines`. Subtitles that are pictures (PGS, VobSub, DVB)
have no words.
"""

from __future__ import annotations

import html
import os
import re
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.errors import MediaError
from qvsearch.files import read_start
from qvsearch.media.text import SNIPPET_CHARACTERS, TAG
from qvsearch.timed_lines import Line, timed_text, without_times

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet

SUFFIXES = (b".srt", b".vtt", b".ass", b".ssa")

# a film of three hours has 3,000 lines in 150 kB for each language
MOST_BYTES = 10 * 2**20  # of one file, or of all tracks together
MOST_FILES = 32  # beside one film
MOST_LINES = 100_000  # of one film
LONGEST_LINE = 1000  # characters; two rows of a screen have 100
LONGEST_MOMENT = 100_000  # characters; somebody may speak for an hour over one slide
MAX_FOLDERS = 2  # whose names are held: a worker takes files folder by folder

# what may stand between the names of a film and of its subtitles: `.en`, `.pt-BR.forced`
_LANGUAGE = re.compile(rb"(?:\.[a-z0-9_-]{2,20}){0,2}")
_TIME = r"(-?)(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?"
_CUE = re.compile(rf"\s*{_TIME}\s*-->", re.ASCII)
_STAMP = re.compile(rf"\s*{_TIME}\s*", re.ASCII)
_DRAWING = re.compile(r"\\p[1-9]")  # what follows are the lines of a drawing
_BREAK = re.compile(r"\\[Nnh]")
_EVENT = ("layer", "start", "end", "style", "name", "l", "r", "v", "effect", "text")

# by codec: the number of commas before the words of a packet
_TEXTS = {"subrip": 0, "srt": 0, "text": 0, "webvtt": 0, "mov_text": 0, "ass": 8, "ssa": 8}


def belongs(name: bytes, films: Iterable[bytes]) -> bytes | None:
    """Return the first of these films whose subtitles a file holds, by its name; None if none."""
    stem, suffix = os.path.splitext(name.lower())
    if suffix not in SUFFIXES:
        return None
    for film in films:
        own = os.path.splitext(film.lower())[0]
        if stem.startswith(own) and _LANGUAGE.fullmatch(stem, len(own)):
            return film
    return None


def beside(film: bytes) -> list[Line]:
    """Return the lines of the subtitle files beside a film, given its path."""
    return [line for each in files_beside(film) for line in _read(each)]


def files_beside(film: bytes) -> list[bytes]:
    """Return the paths of the subtitle files beside a film, given its path."""
    folder, name = os.path.split(film)
    try:
        names = _subtitles(folder, Path(os.fsdecode(folder)).stat().st_mtime_ns)
    except OSError:
        return []
    own = (each for each in names if belongs(each, [name]) is not None)
    return [os.path.join(folder, each) for each in islice(own, MOST_FILES)]


@lru_cache(MAX_FOLDERS)
def _subtitles(folder: bytes, changed_ns: int) -> list[bytes]:
    with os.scandir(folder) as entries:
        return sorted(each.name for each in entries if each.name.lower().endswith(SUFFIXES))


def _read(path: bytes) -> list[Line]:
    """Return the lines of a file; none if it cannot be read or is no text."""
    from qvsearch.media.encoding import to_text

    try:
        text = to_text(read_start(path, MOST_BYTES))
    except (OSError, MediaError):
        return []
    return list(islice(lines(text, os.path.splitext(path)[1].lower()), MOST_LINES))


def lines(text: str, suffix: bytes) -> Iterator[Line]:
    """Yield the lines of a subtitle file in its order, without tags and repetitions."""
    rows = text.splitlines()
    return _unrepeated(_events(rows) if suffix in (b".ass", b".ssa") else _cues(rows))


def _cues(rows: Iterable[str]) -> Iterator[Line]:
    """Yield each row of each cue of SubRip or WebVTT; a cue ends at a blank row."""
    spoken: float | None = None
    for row, following in pairwise(chain(rows, [""])):
        if (cue := _CUE.match(row)) is not None:
            spoken = _seconds(cue)
        elif not row.strip():
            spoken = None
        elif spoken is not None and not (row.strip().isdecimal() and _CUE.match(following)):
            yield Line(spoken, row)


def _events(rows: Iterable[str]) -> Iterator[Line]:
    """Yield the dialogue of (Advanced) SubStation Alpha; its columns have an order of their own."""
    columns = list(_EVENT)
    for row in rows:
        head, _, rest = row.partition(":")
        if head.strip() == "Format":
            columns = [each.strip().lower() for each in rest.split(",")]
        elif head.strip() == "Dialogue":
            fields = dict(zip(columns, rest.split(",", len(columns) - 1), strict=False))
            stamp = _STAMP.fullmatch(fields.get("start", ""))
            if stamp is not None and not _DRAWING.search(fields.get("text", "")):
                yield Line(_seconds(stamp), fields.get("text", ""))


def _seconds(stamp: re.Match[str]) -> float:
    sign, hours, minutes, seconds, fraction = stamp.groups()
    whole = 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)
    return (-1 if sign else 1) * (whole + float(f"0.{fraction or 0}"))


def _unrepeated(spoken: Iterable[Line]) -> Iterator[Line]:
    """Yield lines without tags; captions that roll up repeat the lines above."""
    recent: deque[str] = deque(maxlen=2)
    for each in spoken:
        text = " ".join(_plain(each.text).split())[:LONGEST_LINE]
        if text and text not in recent:
            recent.append(text)
            yield Line(each.time, text)


def _plain(text: str) -> str:
    return html.unescape(_BREAK.sub(" ", TAG.sub("", text[: 4 * LONGEST_LINE])))


def inside(container: InputContainer, zero: float, seconds: float) -> list[Line]:
    """Return the chapters and the text tracks of a film that is read from its beginning.

    `zero` is the time stamp of its start. It stops after so many seconds of work, and at damage.
    """
    from qvsearch.media.packets import DAMAGE, of_known_streams

    found: list[Line] = []
    with suppress(*DAMAGE):
        found += _unrepeated(_titles(container, zero))
    codecs = {each.index: each.codec_context for each in container.streams.subtitles}
    names = {index: codec.name for index, codec in codecs.items() if codec is not None}
    tracks: dict[int, list[Line]] = {index: [] for index in names if names[index] in _TEXTS}
    ends, left = time.monotonic() + seconds, MOST_BYTES
    with suppress(*DAMAGE):
        streams = [container.streams[index] for index in tracks]
        for packet in of_known_streams(container.demux(streams)) if streams else ():
            left -= packet.size
            if left < 0 or time.monotonic() > ends:
                break
            if packet.size and packet.pts is not None:
                stamp, track = float(packet.pts * packet.time_base) - zero, packet.stream_index
                tracks[track] += [Line(stamp, row) for row in _packet_rows(packet, names[track])]
    return found + [line for each in tracks.values() for line in _unrepeated(each)]


def _titles(container: InputContainer, zero: float) -> Iterator[Line]:
    """Yield the titles of chapters."""
    for each in container.chapters()[:MOST_LINES]:
        if each["time_base"] is not None:
            start = float(each["start"] * each["time_base"])
            yield Line(start - zero, each["metadata"].get("title", ""))


def _packet_rows(packet: Packet[Any], codec: str) -> list[str]:
    """Return the rows of text in the packet of a track."""
    data = bytes(packet)
    if codec == "mov_text":  # 3GPP TS 26.245: its length comes first, and styles follow
        data = data[2 : 2 + int.from_bytes(data[:2])]
    if commas := _TEXTS[codec]:
        data = data.split(b",", commas)[-1]
        if _DRAWING.search(data.decode("utf-8", "replace")):
            return []
    return data.decode("utf-8", "replace").splitlines()


def spoken_between(all_lines: Sequence[Line], start: float, end: float) -> str | None:
    """Return the text of the lines that begin in `[start, end)`; None if there is none.

    `all_lines` are sorted by time. Those before the film begin with it.
    """
    first = 0 if start <= 0 else bisect_left(all_lines, start, key=lambda line: line.time)
    last = bisect_left(all_lines, end, key=lambda line: line.time)
    return timed_text(all_lines[first:last])[:LONGEST_MOMENT] or None


def snippet(words: str | None) -> str | None:
    """Return the beginning of what is spoken, without the times."""
    if words is None:
        return None
    return " ".join(without_times(words).split())[:SNIPPET_CHARACTERS]
