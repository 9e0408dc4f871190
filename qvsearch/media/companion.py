"""Completes a file's metadata from the files beside it and, last, from its name.

Photo programs write metadata to `IMG.jpg.xmp` or `IMG.xmp`. Google Takeout writes it to
`IMG.jpg.json`, and shortens and numbers such names in ways of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from qvsearch.files import read_start
from qvsearch.media.dates import name_date, utc_date
from qvsearch.media.descriptions import MAX_PACKET, distinct, xmp_description
from qvsearch.media.metadata import (
    DIGITIZED,
    ORIGINAL,
    Place,
    camera,
    place,
    properties,
    xmp_date,
    xmp_place,
)
from qvsearch.types import Item, Kind, Metadata

MAX_FOLDERS = 2  # whose names are held: a worker takes files folder by folder
TAKEOUT_NAME = 46  # characters of a name before .json; Takeout cuts off the rest
_SUPPLEMENT = "supplemental-metadata"  # newer ones have it before .json, cut off anywhere
_SUFFIXES = (b".xmp", b".json")
_NUMBERED = re.compile(r"(.*)(\(\d{1,4}\))(\.\w+)", re.DOTALL)
# how Google Photos names edited files in English, German, French, Spanish, Portuguese, Italian,
# Dutch, Swedish, Polish and Japanese
_EDITED = re.compile(
    r"-(?:edited|bearbeitet|modifié|editado|editada|modificato|bewerkt|redigerad|edytowane"
    r"|編集済み)(?=\.\w+\Z)",
    re.IGNORECASE,
)


def completed(metadata: Metadata, item: Item) -> Metadata:
    """Return the metadata of a picture or video, completed from its companions.

    An XMP file was written later than the file itself and replaces its values; IMG.jpg.xmp replaces
    those of IMG.xmp. A JSON file, and then the name, adds only missing values. `taken_from` is the
    source of the date.
    """
    if item.kind is Kind.TEXT:
        return metadata
    name = os.path.basename(item.location)
    if found := companions(item.location):
        *packets, takeout = found
        for packet in packets:
            metadata = _with_xmp(metadata, packet)
        metadata = _with_json(metadata, takeout)
    if metadata.taken is None and (taken := name_date(os.fsdecode(name))):
        metadata = replace(metadata, taken=taken, taken_from="name")
    return metadata


def companions(location: bytes) -> tuple[bytes, ...]:
    """Return the contents of IMG.xmp, IMG.jpg.xmp and of Takeout's file, empty for absent ones.

    Without any in the folder the result is empty.
    """
    folder, name = os.path.split(location)
    try:
        beside = _beside(folder, Path(os.fsdecode(folder)).stat().st_mtime_ns)
    except OSError:
        return ()
    if not beside:
        return ()
    # IMG.jpg.xmp belongs to this file alone, IMG.xmp perhaps to a raw file of the same photo
    packets = (os.path.splitext(name)[0] + b".xmp", name + b".xmp")
    takeout = map(os.fsencode, _takeout_names(os.fsdecode(name)))
    return (*(_first(folder, beside, (each,)) for each in packets), _first(folder, beside, takeout))


def _first(folder: bytes, beside: dict[bytes, bytes], names: Iterable[bytes]) -> bytes:
    """Return the content of the first of these files that exists, or nothing."""
    existing = (beside[name.lower()] for name in names if name.lower() in beside)
    name = next(existing, None)
    return b"" if name is None else _read(folder, name)


@lru_cache(MAX_FOLDERS)
def _beside(folder: bytes, changed_ns: int) -> dict[bytes, bytes]:
    """Return the names of a folder that may be companions, by their lower case."""
    with os.scandir(folder) as entries:
        names = [each.name for each in entries if each.name.lower().endswith(_SUFFIXES)]
    return {name.lower(): name for name in names}


def _read(folder: bytes, name: bytes) -> bytes:
    """Return the beginning of a file, or nothing if it cannot be read."""
    try:
        return read_start(os.path.join(folder, name), MAX_PACKET)
    except OSError:
        return b""


def _with_xmp(metadata: Metadata, packet: bytes) -> Metadata:
    values = properties(packet)
    taken = xmp_date(values, ORIGINAL)
    if taken is None and metadata.taken is None:
        taken = xmp_date(values, DIGITIZED)  # by a scanner: later than the file's own date
    if taken is not None:
        metadata = replace(metadata, taken=taken, taken_from="xmp")
    device = camera(values.get("tiff:Make"), values.get("tiff:Model"))
    written = xmp_description(packet)
    metadata = replace(
        metadata,
        camera=device or metadata.camera,
        title=written.title or metadata.title,
        author=written.author or metadata.author,
        # of both: classify --write-xmp writes only the new ones
        keywords=distinct([*(written.keywords or ()), *(metadata.keywords or ())]),
        rating=metadata.rating if written.rating is None else written.rating,
    )
    return _with_place(metadata, xmp_place(values), over=True)


def _with_json(metadata: Metadata, data: bytes) -> Metadata:
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        return metadata
    taken = utc_date(_inner(content, "photoTakenTime").get("timestamp"))
    if metadata.taken is None and taken is not None:
        metadata = replace(metadata, taken=taken, taken_from="json")
    for name in ("geoData", "geoDataExif"):
        point = _inner(content, name)
        match point.get("latitude"), point.get("longitude"):
            case (int() | float()) as latitude, (int() | float()) as longitude:
                metadata = _with_place(metadata, place(latitude, longitude), over=False)
    return metadata


def _inner(content: object, name: str) -> dict[str, Any]:
    inner = content.get(name) if isinstance(content, dict) else None
    return inner if isinstance(inner, dict) else {}


def _with_place(metadata: Metadata, point: Place, over: bool) -> Metadata:
    latitude, longitude = point
    if latitude is None or not (over or metadata.latitude is None):
        return metadata
    return replace(metadata, latitude=latitude, longitude=longitude)


def _takeout_names(name: str) -> Iterator[str]:
    """Yield how Takeout may name the JSON file of `IMG.jpg`, `IMG(1).jpg` or `IMG-edited.jpg`."""
    yield f"{name}.json"
    numbered = _NUMBERED.fullmatch(name)
    number = numbered[2] if numbered else ""
    name = numbered[1] + numbered[3] if numbered else name
    name = _EDITED.sub("", name)
    stem = os.path.splitext(name)[0]
    # a video that belongs to a photo has the photo's
    for each in (name, f"{stem}.heic", f"{stem}.jpg", stem):
        for length in range(len(_SUPPLEMENT), 0, -1):
            yield f"{each}.{_SUPPLEMENT[:length]}{number}.json"
        yield f"{each}{number}.json"
        yield f"{each[:TAKEOUT_NAME]}{number}.json"
