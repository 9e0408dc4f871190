"""What is known of a picture from the files beside it and from its name."""

import json
import os
from dataclasses import replace

import pytest
from PIL import ExifTags, Image

from qvsearch import media
from qvsearch.media.companion import MAX_FOLDERS, completed
from qvsearch.media.descriptions import MAX_PACKET
from qvsearch.media.workers import Decoders
from qvsearch.times import time_taken
from qvsearch.types import NO_METADATA, DecodeOptions, Item, Kind, Metadata

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description
 exif:DateTimeOriginal="2015-08-22T10:09:08+02:00" exif:GPSLatitude="48,12.5N"
 exif:GPSLongitude="16,22,30E"><tiff:Make>Canon</tiff:Make>
 <tiff:Model>EOS &amp; 5D</tiff:Model></rdf:Description></rdf:RDF></x:xmpmeta>"""
FROM_XMP = Metadata(
    "2015-08-22T10:09:08+02:00", "Canon EOS & 5D", 48.2083333, 16.375, taken_from="xmp"
)
TAKEOUT = json.dumps(
    {
        "title": "IMG.jpg",
        "creationTime": {"timestamp": "1700000000"},
        "photoTakenTime": {"timestamp": "1388534400", "formatted": "1 Jan 2014"},
        "geoData": {"latitude": -33.87, "longitude": 151, "altitude": 0.0},
    }
)
FROM_JSON = Metadata(
    taken="2014-01-01T00:00:00+00:00", latitude=-33.87, longitude=151, taken_from="json"
)


def decode(path, kind=Kind.IMAGE, taken=None):
    exif = Image.Exif()
    if taken:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    Image.effect_noise((64, 48), 50).save(path, "JPEG", exif=exif)
    status = path.stat()
    item = Item(
        os.fsencode(path.parent), os.fsencode(path.name), kind, status.st_size, status.st_mtime_ns
    )
    [(segment, _)] = media.decode(item, "", DecodeOptions(1 << 20)).segments
    return segment


def about(path, **options):
    found = decode(path, **options).metadata
    return Metadata(
        found.taken, found.camera, found.latitude, found.longitude, taken_from=found.taken_from
    )


def test_when_a_picture_was_scanned_counts_less_than_when_it_was_taken(tmp_path):
    scanned = '<rdf:Description xmp:CreateDate="2024-01-02T03:04:05"/>'
    (tmp_path / "IMG.xmp").write_text(f"<rdf:RDF>{scanned}</rdf:RDF>")
    assert about(tmp_path / "IMG.jpg", taken="1999:08:07 06:05:04").taken == "1999-08-07T06:05:04"
    assert about(tmp_path / "IMG.jpg").taken == "2024-01-02T03:04:05"


@pytest.mark.parametrize("name", ["IMG.jpg.xmp", "IMG.xmp", "IMG.JPG.XMP", "img.xmp"])
def test_an_xmp_file_beside_a_picture(tmp_path, name):
    (tmp_path / name).write_text(XMP)
    assert about(tmp_path / "IMG.jpg") == FROM_XMP
    assert about(tmp_path / "IMG.jpg", taken="2001:01:01 01:01:01") == FROM_XMP


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        ("IMG.jpg", "IMG.jpg.json"),
        ("IMG.JPG", "IMG.JPG.json"),
        ("IMG.jpg", "IMG.json"),
        ("IMG.jpg", "IMG.jpg.supplemental-metadata.json"),
        ("IMG.jpg", "IMG.jpg.suppl.json"),
        ("IMG(1).jpg", "IMG.jpg(1).json"),
        ("IMG(1).jpg", "IMG(1).jpg.json"),
        ("IMG(12).jpg", "IMG.jpg.supplemental-metadata(12).json"),
        ("IMG-edited.jpg", "IMG.jpg.json"),
        ("IMG-edited(1).jpg", "IMG.jpg(1).json"),
        ("IMG-bearbeitet.jpg", "IMG.jpg.json"),
        (f"{'x' * 47}.jpg", f"{'x' * 46}.json"),
        ("PXL_123456789.NIGHT.abcdefgh.jpg", "PXL_123456789.NIGHT.abcdefgh.jpg.supplemental-.json"),
        (f"{'x' * 40}.jpg", f"{'x' * 40}.jpg.s.json"),
        ("IMG.mp4", "IMG.HEIC.json"),
        ("IMG.mp4", "IMG.JPG.supplemental-metadata.json"),
    ],
)
def test_a_file_of_google_takeout(tmp_path, picture, name):
    (tmp_path / name).write_text(TAKEOUT)
    assert about(tmp_path / picture) == FROM_JSON
    own = about(tmp_path / picture, taken="2001:01:01 01:01:01")
    assert (own.taken, own.taken_from) == ("2001-01-01T01:01:01", None)


@pytest.mark.parametrize(
    "name", ["IMG.jpg(1).json", "IMG2.jpg.json", "IM.json", "IMG.png.xmp", "IMG.jpg.jsonl"]
)
def test_files_beside_another_picture(tmp_path, name):
    (tmp_path / name).write_text(XMP if name.endswith("xmp") else TAKEOUT)
    assert about(tmp_path / "IMG.jpg") == NO_METADATA


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b'{"photoTakenTime": 5, "geoData": []}',
        b'{"photoTakenTime": {"timestamp": []}, "geoData": {"latitude": "x", "longitude": 1}}',
        b'{"geoData": {"latitude": 0.0, "longitude": 0.0}}',
        b'{"geoData": {"latitude": 1e400, "longitude": true}}',
        b"[" * 100_000,
        b"\xff\xfe\0",
        b" " * 2 * MAX_PACKET,
        b"exif:DateTimeOriginal=" * 50_000,
        b"<!ENTITY a '&b;&b;'>" * 1000,
    ],
)
@pytest.mark.parametrize("name", ["IMG.jpg.json", "IMG.jpg.xmp"])
def test_nonsense_beside_a_picture(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert about(tmp_path / "IMG.jpg") == NO_METADATA


def test_what_is_no_file_beside_a_picture(tmp_path):
    (tmp_path / "IMG.jpg.xmp").mkdir()
    os.mkfifo(tmp_path / "IMG.jpg.json")
    assert about(tmp_path / "IMG.jpg") == NO_METADATA


def test_a_confined_process_reads_it_too(tmp_path):
    (tmp_path / "IMG.jpg.xmp").write_text(XMP)
    item = decode(tmp_path / "IMG.jpg").item
    with Decoders(1) as decoders:
        [decoded] = decoders.decode([(item, "")], DecodeOptions(1 << 20))
    [(segment, _)] = decoded.segments
    assert segment.metadata == replace(FROM_XMP, page=segment.metadata.page)


def test_the_place_of_a_picture_is_kept(tmp_path):
    (tmp_path / "IMG.jpg.json").write_text(TAKEOUT)
    item = Item(os.fsencode(tmp_path), b"IMG.jpg", Kind.IMAGE, 1, 0)
    found = completed(Metadata(latitude=1.0, longitude=2.0), item)
    assert (found.latitude, found.longitude) == (1.0, 2.0)


def test_files_that_appear_later_are_seen(tmp_path):
    assert about(tmp_path / "IMG.jpg") == NO_METADATA
    (tmp_path / "IMG.jpg.xmp").write_text(XMP)
    os.utime(tmp_path, ns=(0, 10**9))
    assert about(tmp_path / "IMG.jpg") == FROM_XMP
    for number in range(2 * MAX_FOLDERS):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert about(folder / "IMG.jpg") == NO_METADATA


def test_the_date_in_a_name_comes_last(tmp_path):
    path = tmp_path / "IMG-20190704-WA0001.jpg"
    segment = decode(path)
    assert (segment.metadata.taken, segment.metadata.taken_from) == ("2019-07-04", "name")
    assert time_taken(segment) < time_taken(decode(tmp_path / "IMG-20190705-WA0001.jpg"))
    assert about(path, taken="2001:01:01 01:01:01").taken == "2001-01-01T01:01:01"
    (tmp_path / f"{path.name}.json").write_text(TAKEOUT)
    assert about(path) == FROM_JSON


def test_a_text_has_no_date():
    item = Item(b"/nowhere", b"2019-07-04.txt", Kind.TEXT, 1, 0)
    assert completed(NO_METADATA, item) == NO_METADATA
