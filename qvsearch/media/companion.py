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
from io import BufferedReader
from pathlib import Path
from typing import Any

import orjson

from qvsearch.files import open_file
from qvsearch.media.dates import name_date, utc_date
from qvsearch.media.metadata import camera
from qvsearch.media.places import Place, place
from qvsearch.media.xmp import DIGITIZED, MAX_BYTES, ORIGINAL, properties, xmp_date, xmp_place
from qvsearch.types import Item, Kind, Metadata

MAX_FOLDERS = 2  # whose names are held: a worker takes files folder by folder
TAKEOUT_NAME = 46  # characters of a name before .json; Takeout cuts off the rest
_SUPPLEMENT = "supplemental-metadata"  # newer ones have it before .json, cut off anywhere
_SUFFIXES = (b".xmp", b".json")
_NUMBERED = re.compile(r"(.*)(\(\d{1,4}\))(\.\w+)", re.DOTALL)
# as Google Photos names what was edited in English, German, French, Spanish, Portuguese, Italian,
# Dutch, Swedish, Polish and Japanese
_EDITED = re.compile(
    r"-(?:edited|bearbeitet|modifié|editado|editada|modificato|bewerkt|redigerad|edytowane"
    r"|編集済み)(?=\.\w+\Z)",
    re.IGNORECASE,
)


def completed(found: Metadata, item: Item) -> Metadata:
    """Return the metadata of a picture or video with what its companions contain.

    An XMP file was written later than the file itself and replaces its values. A JSON file, and
    then the name, adds only what is missing. `taken_from` is the source of the date.
    """
    if item.kind is Kind.TEXT:
        return found
    folder, name = os.path.split(item.location)
    try:
        beside = _beside(folder, Path(os.fsdecode(folder)).stat().st_mtime_ns)
    except OSError:
        beside = {}
    if beside:
        stem = os.path.splitext(name)[0]
        found = _with_xmp(found, _first(folder, beside, (name + b".xmp", stem + b".xmp")))
        takeout = map(os.fsencode, _takeout_names(os.fsdecode(name)))
        found = _with_json(found, _first(folder, beside, takeout))
    if found.taken is None and (taken := name_date(os.fsdecode(name))):
        found = replace(found, taken=taken, taken_from="name")
    return found


def _first(folder: bytes, beside: dict[bytes, bytes], names: Iterable[bytes]) -> bytes:
    """Return the content of the first of these files that is there, or nothing."""
    there = (beside[name.lower()] for name in names if name.lower() in beside)
    name = next(there, None)
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
        with BufferedReader(open_file(os.path.join(folder, name))) as file:
            return file.read(MAX_BYTES)
    except OSError:
        return b""


def _with_xmp(found: Metadata, packet: bytes) -> Metadata:
    said = properties(packet)
    taken = xmp_date(said, ORIGINAL)
    if taken is None and found.taken is None:
        taken = xmp_date(said, DIGITIZED)  # by a scanner: later than what the file itself says
    if taken is not None:
        found = replace(found, taken=taken, taken_from="xmp")
    device = camera(said.get("tiff:Make"), said.get("tiff:Model"))
    found = replace(found, camera=device or found.camera)
    return _placed(found, xmp_place(said), over=True)


def _with_json(found: Metadata, data: bytes) -> Metadata:
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        return found
    taken = utc_date(_inner(said, "photoTakenTime").get("timestamp"))
    if found.taken is None and taken is not None:
        found = replace(found, taken=taken, taken_from="json")
    for name in ("geoData", "geoDataExif"):
        where = _inner(said, name)
        match where.get("latitude"), where.get("longitude"):
            case (int() | float()) as latitude, (int() | float()) as longitude:
                found = _placed(found, place(latitude, longitude), over=False)
    return found


def _inner(said: object, name: str) -> dict[str, Any]:
    inner = said.get(name) if isinstance(said, dict) else None
    return inner if isinstance(inner, dict) else {}


def _placed(found: Metadata, where: Place, over: bool) -> Metadata:
    latitude, longitude = where
    if latitude is None or not (over or found.latitude is None):
        return found
    return replace(found, latitude=latitude, longitude=longitude)


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
