"""What files say of themselves, written by other programs' hands and by nonsense."""

import io
import os
import struct
import tracemalloc

import av
import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media.metadata import image_metadata, video_metadata
from qvsearch.times import moment_taken
from qvsearch.types import NO_METADATA, DecodeOptions, Item, Kind, Metadata

BASE, GPS, IFD = ExifTags.Base, ExifTags.GPS, ExifTags.IFD

PARIS = {  # as an iPhone writes it
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (48.0, 51.0, 27.72),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (2.0, 17.0, 42.0),
}


def exif(main=None, inner=None, gps=None):
    """An EXIF block as Pillow writes it."""
    block = Image.Exif()
    for directory, tags in ((block, main), (IFD.Exif, inner), (IFD.GPSInfo, gps)):
        into = directory if directory is block else block.get_ifd(directory)
        into.update(tags or {})
    return block.tobytes()


def read(block, form="PNG", **options):
    """What is read from a file with an EXIF block."""
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, form, exif=block, **options)
    image = Image.open(file)
    image.load()
    return image_metadata(image)


HOLIDAY = exif(
    {BASE.Make: "Apple", BASE.Model: "iPhone 12", BASE.DateTime: "2024:01:01 00:00:00"},
    {BASE.DateTimeOriginal: "2023:07:04 18:30:00", BASE.OffsetTimeOriginal: "+02:00"},
    PARIS,
)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF", "MPO"])
def test_a_photo(form):
    assert read(HOLIDAY, form) == Metadata(
        "2023-07-04T18:30:00+02:00", "Apple iPhone 12", 48.8577, 2.295
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF", "GIF", "BMP"])
def test_a_picture_that_says_nothing(form):
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, form)
    image = Image.open(file)
    image.load()
    assert image_metadata(image) == image_metadata(Image.new("RGB", (9, 9))) == NO_METADATA


def item_of(path):
    status = os.stat(path)
    return Item(os.fsencode(path), b"", Kind.IMAGE, status.st_size, status.st_mtime_ns)


def test_a_compressed_tiff_that_lies_on_its_side(tmp_path):
    path = tmp_path / "scan.tif"
    block = Image.Exif()
    block.update({BASE.Orientation: 6, BASE.Model: "Perfection V600"})
    Image.new("RGB", (64, 48)).save(path, compression="tiff_lzw", exif=block)
    [(segment, _)] = media.decode(item_of(path), "", DecodeOptions(1 << 20)).segments
    assert (segment.width, segment.height) == (48, 64)
    assert segment.metadata.camera == "Perfection V600"


def test_both_byte_orders():
    order = Image.Exif()
    order.endian = "<"
    order[BASE.Model] = "X100"
    order.get_ifd(IFD.GPSInfo).update(PARIS)
    little = order.tobytes()
    order.endian = ">"
    big = order.tobytes()
    assert little[6:8] + big[6:8] == b"IIMM"
    assert read(little) == read(big) == Metadata(None, "X100", 48.8577, 2.295)


ORIGINAL, DIGITIZED, CHANGED = "2001:01:01 01:01:01", "2002:02:02 02:02:02", "2003:03:03 03:03:03"


@pytest.mark.parametrize(
    ("main", "inner", "taken"),
    [
        ({306: CHANGED}, {36867: ORIGINAL, 36868: DIGITIZED}, "2001-01-01T01:01:01"),
        ({306: CHANGED}, {36868: DIGITIZED}, "2002-02-02T02:02:02"),
        ({306: CHANGED}, {}, "2003-03-03T03:03:03"),
        ({306: CHANGED}, {36867: "0000:00:00 00:00:00"}, "2003-03-03T03:03:03"),
        # a program's zone of its own change says nothing of where the photo was taken
        ({306: CHANGED}, {36867: ORIGINAL, 36880: "+05:00"}, "2001-01-01T01:01:01"),
        ({306: CHANGED}, {36880: "-03:30"}, "2003-03-03T03:03:03-03:30"),
        ({}, {36867: ORIGINAL, 36881: "Z"}, "2001-01-01T01:01:01+00:00"),
        ({}, {36867: ORIGINAL, 36881: "+99:00"}, "2001-01-01T01:01:01"),
        ({}, {36867: ORIGINAL, 36881: "   :  "}, "2001-01-01T01:01:01"),
        ({}, {36867: "2011-11-11T11:11:11.123"}, "2011-11-11T11:11:11"),
        ({}, {36867: "1899:12:31 00:00:00\0\0"}, "1899-12-31T00:00:00"),
        ({}, {36867: "    :  :     :  :  "}, None),
        ({}, {36867: "2023:02:30 00:00:00"}, "2023-02"),
        ({}, {36867: "2023:07:04 25:00:00"}, "2023-07-04"),
        ({}, {36867: "9999:12:31 23:59:59"}, None),
        ({}, {36867: "2023:07:04"}, "2023-07-04"),
        ({}, {36867: "2015:08:22 24:08:19"}, "2015-08-22T00:08:19"),
        ({}, {36867: "2015:08:22 10:09"}, "2015-08-22T10:09:00"),
        ({}, {36867: "2015-08-22T10:09:08+02:00"}, "2015-08-22T10:09:08+02:00"),
        ({}, {36867: "2015/08/22 10:09:08"}, "2015-08-22T10:09:08"),
        ({}, {36867: "2015: 8: 2  1: 9: 8"}, "2015-08-02T01:09:08"),
        ({}, {36867: "2015:08:22 10:09:60"}, "2015-08-22"),
        # an old picture that was scanned: never when it was scanned
        ({}, {36867: "1985:00:00 00:00:00", 36868: "2021:03:04 05:06:07"}, "1985"),
        ({}, {36867: "1985:07:00 00:00:00", 36868: "2021:03:04 05:06:07"}, "1985-07"),
        ({}, {36867: "1985", 36868: "2021:03:04 05:06:07"}, "1985"),
        ({}, {36867: "\xb2023:07:04 18:30:00"}, None),
        ({}, {36867: ORIGINAL * 1000}, None),
        ({}, {36867: 1234567890}, None),
    ],
)
def test_dates_of_photos(main, inner, taken):
    assert read(exif(main, inner)).taken == taken


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "W"}, (-48.8577, -2.295)),
        ({GPS.GPSLatitudeRef: "s\0", GPS.GPSLongitudeRef: "West"}, (-48.8577, -2.295)),
        ({GPS.GPSLatitude: (48.8577, 0.0, 0.0)}, (48.8577, 2.295)),
        ({GPS.GPSLatitude: (90.0, 0.0, 0.0)}, (90.0, 2.295)),
        ({GPS.GPSLatitude: (90.0, 0.0, 1.0)}, (None, None)),
        ({GPS.GPSLongitude: (180.0, 0.0, 1.0)}, (None, None)),
        ({GPS.GPSLatitudeRef: "X"}, (None, None)),
        ({GPS.GPSLatitudeRef: ""}, (None, None)),
        ({GPS.GPSLatitude: (48.0, 51.0)}, (48.85, 2.295)),
        ({GPS.GPSLatitude: (48.0,)}, (48.0, 2.295)),
        ({GPS.GPSLatitude: IFDRational(482083333, 10000000)}, (48.2083333, 2.295)),
        (
            {GPS.GPSLatitude: (IFDRational(482083333, 10000000),) + (IFDRational(0, 0),) * 2},
            (48.2083333, 2.295),
        ),
        ({GPS.GPSLatitude: (48.0, IFDRational(0, 0), IFDRational(0, 0))}, (None, None)),
        ({GPS.GPSLatitude: (IFDRational(0, 0),) * 3}, (None, None)),
        ({GPS.GPSLatitude: (48.0, 51.0, IFDRational(0, 0))}, (48.85, 2.295)),
        ({GPS.GPSLatitude: (0.0,) * 3, GPS.GPSLongitude: (0.0,) * 3}, (None, None)),  # no fix
        ({GPS.GPSLatitude: (0.0,) * 3}, (0.0, 2.295)),
    ],
)
def test_places_of_photos(changes, place):
    found = read(exif(gps=PARIS | changes))
    assert (found.latitude, found.longitude) == place


@pytest.mark.parametrize("missing", PARIS)
def test_a_place_needs_all_its_parts(missing):
    found = read(exif(gps={tag: value for tag, value in PARIS.items() if tag != missing}))
    assert (found.latitude, found.longitude) == (None, None)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0\x2a\0\0\xff\xff\xff\xff",
        b"Exif\0\0II\x2a\0\x08\0\0\0\xff\xff",
        b"Exif\0\0XX\x2a\0\x08\0\0\0\0\0",
        HOLIDAY[:30],
        bytes(1000),
    ],
)
def test_a_damaged_block_says_nothing(block):
    assert image_metadata(image_with(block)) == NO_METADATA


def test_the_marker_may_come_twice():
    assert image_metadata(image_with(b"Exif\0\0" + HOLIDAY)).camera == "Apple iPhone 12"


def test_a_damaged_part_leaves_the_others():
    place = HOLIDAY.index(struct.pack(">H", IFD.GPSInfo) + b"\0\4")
    block = HOLIDAY[: place + 8] + b"\xff\xff\xff\xff" + HOLIDAY[place + 12 :]
    assert image_metadata(image_with(block)) == Metadata(
        "2023-07-04T18:30:00+02:00", "Apple iPhone 12"
    )


def image_with(block):
    image = Image.new("RGB", (64, 48))
    image.info["exif"] = block
    return image


def test_a_bomb_costs_nothing():
    # each entry claims all of the block: as Pillow's own values they would take gigabytes
    count = 5000
    entries = b"".join(struct.pack("<HHII", tag, 3, 30_000, 8) for tag in range(count))
    inner = struct.pack("<H", count) + entries
    main = struct.pack("<HHHIII", 1, IFD.Exif, 4, 1, 26, 0)
    tracemalloc.start()
    assert image_metadata(image_with(b"II\x2a\0\x08\0\0\0" + main + inner)) == NO_METADATA
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def mutated(block, changes):
    data = bytearray(block)
    for place, value in changes:
        data[place % len(data)] = value
    return bytes(data)


CHANGES = st.lists(st.tuples(st.integers(6, 1000), st.integers(0, 255)), max_size=20)


@settings(deadline=None, max_examples=150)
@given(CHANGES, st.sampled_from(["PNG", "JPEG", "WEBP", "AVIF", "HEIF", "TIFF"]))
def test_no_exif_is_an_error(tmp_path_factory, changes, form):
    pillow_heif.register_heif_opener()
    path = tmp_path_factory.getbasetemp() / f"fuzz.{form.lower()}"
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, form, exif=HOLIDAY)
    data = file.getvalue()
    # a TIFF is one EXIF block
    start, size = (0, len(data)) if form == "TIFF" else (data.index(b"MM\0\x2a"), len(HOLIDAY) - 6)
    path.write_bytes(
        data[:start] + mutated(data[start : start + size], changes) + data[start + size :]
    )
    try:
        [(segment, _)] = media.decode(item_of(path), "", DecodeOptions(1 << 20)).segments
    except MediaError:
        # only these decoders refuse a picture for its metadata
        assert form in {"TIFF", "PNG", "AVIF"}
        return
    found = segment.metadata
    assert found.taken is None or moment_taken(found.taken).year in range(1826, 2100)
    assert found.latitude is None or -90 <= found.latitude <= 90
    assert found.longitude is None or -180 <= found.longitude <= 180
    assert (found.camera or "").isprintable()


def container(tags, form="mov"):
    """An open video of two frames with some tags."""
    file = io.BytesIO()
    with av.open(file, "w", form, container_options={"movflags": "use_metadata_tags"}) as film:
        film.metadata.update(tags)
        stream = film.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 64, 48
        for grey in (0, 200):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8))
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    file.seek(0)
    return av.open(file, "r", metadata_errors="replace")


def test_an_iphones_video():
    tags = {
        "creation_time": "2023-07-04T16:30:00.000000Z",
        "com.apple.quicktime.creationdate": "2023-07-04T18:30:00+0200",
        "com.apple.quicktime.location.ISO6709": "+48.8577+002.2950+035.000/",
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.model": "iPhone 12",
    }
    assert video_metadata(container(tags), 0.4) == Metadata(
        "2023-07-04T18:30:00+02:00", "Apple iPhone 12", 48.8577, 2.295, 0.4
    )


def test_an_android_phones_video():
    tags = {
        "creation_time": "2023-07-04T16:30:00Z",
        "location": "-33.8568+151.2153/",
        "com.android.manufacturer": "Google",
        "com.android.model": "Pixel 6",
    }
    assert video_metadata(container(tags, "mp4"), 0.4) == Metadata(
        "2023-07-04T16:30:00+00:00", "Google Pixel 6", -33.8568, 151.2153, 0.4
    )


@pytest.mark.parametrize("form", ["avi", "matroska", "mpeg", "mov"])
def test_a_video_that_says_nothing(form):
    assert video_metadata(container({}, form), None) == NO_METADATA


class Tagged:
    """As much of a container as metadata is read from; FFmpeg would not write these tags."""

    def __init__(self, **tags):
        self.metadata = {name.replace("__", "."): value for name, value in tags.items()}


@pytest.mark.parametrize(
    "when",
    [
        "1904-01-01T00:00:00.000000Z",
        "1970-01-01T00:00:00Z",
        "2040-02-30T00:00:00Z",
        "0000-00-00 00:00:00",
        "12345-01-01T00:00:00",
        "yesterday",
        "",
        "\0",
    ],
)
def test_no_date_of_a_video(when):
    assert video_metadata(Tagged(creation_time=when), None).taken is None


def test_a_nonsensical_date_with_a_zone_leaves_the_other():
    tags = {"com.apple.quicktime.creationdate": "n/a", "creation_time": "2023-07-04T16:30:00Z"}
    assert video_metadata(Tagged(**tags), None).taken == "2023-07-04T16:30:00+00:00"


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("+48.8577+002.2950/", (48.8577, 2.295)),
        ("-00.5-078.25+2850/", (-0.5, -78.25)),
        ("+90-180", (90.0, -180.0)),
        ("+00.0000+000.0000/", (None, None)),  # no fix
        ("+91.0+002.0/", (None, None)),
        ("+48.0+181.0/", (None, None)),
        ("+48.8577", (None, None)),
        ("+nan+inf/", (None, None)),
        ("+" + "9" * 5000, (None, None)),
        ("Paris", (None, None)),
        ("\N{ARABIC-INDIC DIGIT FOUR}+2", (None, None)),
    ],
)
def test_places_of_videos(location, place):
    found = video_metadata(Tagged(location=location), None)
    assert (found.latitude, found.longitude) == place


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), float("inf"), None])
def test_no_duration(duration):
    assert video_metadata(Tagged(), duration).duration is None


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
        ("EASTMAN KODAK COMPANY", "KODAK DX6490 ZOOM", "KODAK DX6490 ZOOM"),
        ("samsung\0\0\0", "  SM-G991B  ", "samsung SM-G991B"),
        ("SONY", "", "SONY"),
        ("", "DSC-F828", "DSC-F828"),
        ("Red\x1b[31m", "X100", "X100"),
        ("x" * 10_000, "X100", "X100"),
        ("\ufffd\ufffd", "\u202e", None),
        ("\n", "\ud800", None),
    ],
)
def test_cameras(make, model, camera):
    assert video_metadata(Tagged(make=make, model=model), None).camera == camera


TAGS = st.sampled_from(
    ["creation_time", "com.apple.quicktime.creationdate", "location", "make", "model", "LOCATION"]
)
NONSENSE = st.text(st.characters(), max_size=200) | st.from_regex(r"[-+0-9.:TZ /]{0,40}")


@settings(deadline=None)
@given(st.dictionaries(TAGS, NONSENSE), st.floats() | st.none())
def test_no_tag_is_an_error(tags, duration):
    found = video_metadata(Tagged(**tags), duration)
    assert found.latitude is None or -90 <= found.latitude <= 90
    assert found.longitude is None or -180 <= found.longitude <= 180
    assert (found.camera or "").isprintable()
