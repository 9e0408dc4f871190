"""What pictures and videos say of themselves in headers other than EXIF, or in rare forms of it."""

import io
import shutil
import struct
import subprocess

import av
import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from qvsearch.media.metadata import image_metadata, video_metadata
from qvsearch.types import Metadata

BASE, GPS, IFD = ExifTags.Base, ExifTags.GPS, ExifTags.IFD
VIENNA, SANTIAGO = (48.2083333, 16.375), (-33.87, -70.67)
EXIFTOOL = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")


def read(form="JPEG", **options):
    """What is read from a picture that Pillow wrote."""
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, form, **options)
    return read_bytes(file.getvalue())


def read_bytes(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image_metadata(image)


def xmp(properties):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description rdf:about=""'
        f" {properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
@pytest.mark.parametrize(
    "properties",
    [
        'exif:DateTimeOriginal="2015-08-22T10:09:08" tiff:Make="Canon" tiff:Model="EOS 80D"'
        ' exif:GPSLatitude="48,12.5N" exif:GPSLongitude="16,22,30W">',
        "><exif:DateTimeOriginal>2015-08-22T10:09:08</exif:DateTimeOriginal>\n"
        "<xmp:CreateDate>2001-01-01</xmp:CreateDate><tiff:Make>Canon</tiff:Make>"
        "<tiff:Model>EOS 80D</tiff:Model><exif:GPSLatitude>48.2083333</exif:GPSLatitude>"
        "<exif:GPSLongitude>-16.375</exif:GPSLongitude>",
    ],
)
def test_a_picture_with_xmp_alone(form, properties):
    packet = xmp(properties)
    if form == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        options = {"pnginfo": text}
    elif form == "TIFF":
        options = {"tiffinfo": {700: packet}}
    else:
        options = {"xmp": packet}
    assert read(form, **options) == Metadata(
        "2015-08-22T10:09:08", "Canon EOS 80D", 48.2083333, -16.375
    )


@pytest.mark.parametrize(
    ("properties", "taken"),
    [
        ('photoshop:DateCreated="2015-08-22"', "2015-08-22"),
        ("photoshop:DateCreated = '1985'", "1985"),
        ('xmp:CreateDate="2015-08-22T10:09:08.12+02:00"', "2015-08-22T10:09:08+02:00"),
        ('xap:CreateDate="2015-08-22T10:09Z"', "2015-08-22T10:09:00+00:00"),
        ('exif:DateTimeDigitized="2015-08-22T10:09:08"', "2015-08-22T10:09:08"),
        ('xmp:ModifyDate="2015-08-22T10:09:08"', None),
        ('photoshop:DateCreated=""', None),
        ('photoshop:DateCreated="&#x32;015-08-22"', "2015-08-22"),
        ('xmpMM:DateTimeOriginal="2015-08-22"', None),
    ],
)
def test_dates_of_xmp(properties, taken):
    assert read(xmp=xmp(properties + ">")).taken == taken


def with_segment(marker, content):
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG")
    data = file.getvalue()
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


def iptc(*datasets):
    block = b"".join(
        b"\x1c\x02" + struct.pack(">BH", number, len(text)) + text for number, text in datasets
    )
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block + b"\0" * (len(block) % 2)


@pytest.mark.parametrize(
    ("datasets", "taken"),
    [
        ([(55, b"20150822"), (60, b"100908+0200")], "2015-08-22T10:09:08+02:00"),
        ([(5, b"title"), (55, b"20150822"), (80, b"Anna")], "2015-08-22"),
        ([(62, b"20150822"), (63, b"100908+0000")], "2015-08-22T10:09:08+00:00"),
        ([(55, b"19850000")], "1985"),
        ([(55, b"20150822"), (60, b"nonsense!!!")], "2015-08-22"),
        ([(55, b"2015")], None),
        ([(120, b"55 20150822")], None),
    ],
)
def test_dates_of_iptc(datasets, taken):
    block = iptc(*datasets)
    assert read_bytes(with_segment(0xED, b"Photoshop 3.0\0" + block)).taken == taken


def exif_block(main=None, inner=None, gps=None):
    block = Image.Exif()
    block.update(main or {})
    block.get_ifd(IFD.Exif).update(inner or {})
    block.get_ifd(IFD.GPSInfo).update(gps or {})
    return block


EOS = exif_block(
    {BASE.Make: "Canon", BASE.Model: "Canon EOS 80D"},
    {BASE.DateTimeOriginal: "2017:03:04 05:06:07"},
)


def png(**texts):
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name.replace("_", " "), text, zip=len(text) > 100)
    return {"form": "PNG", "pnginfo": info}


def raw_profile(kind, data):
    """A block as ImageMagick writes it into a PNG."""
    digits = data.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\n{kind}\n{len(data):8}\n{lines}\n"


@pytest.mark.parametrize("name", ["exif", "APP1"])
def test_exif_as_text_of_a_png(name):
    text = raw_profile(name, EOS.tobytes())
    found = read(**png(**{f"Raw_profile_type_{name}": text}))
    assert found == Metadata("2017-03-04T05:06:07", "Canon EOS 80D")


def test_iptc_and_xmp_as_text_of_a_png():
    block = iptc((55, b"20150822"))
    assert read(**png(Raw_profile_type_iptc=raw_profile("iptc", block))).taken == "2015-08-22"
    packet = xmp('photoshop:DateCreated="2015-08-22">')
    assert read(**png(Raw_profile_type_xmp=raw_profile("xmp", packet))).taken == "2015-08-22"


@pytest.mark.parametrize("text", ["", "exif", "\nexif\n  5\nxyz", "\nexif\n 2\n12 3", "é" * 500])
def test_nonsense_as_text_of_a_png(text):
    assert read(**png(Raw_profile_type_exif=text)) == Metadata()


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("Tue, 06 May 2014 10:11:12 +0000", "2014-05-06T10:11:12+00:00"),
        ("2014-05-06", "2014-05-06"),
        ("2014:05:06 10:11:12", "2014-05-06T10:11:12"),
        ("2014-05-06T10:11:12+02:00", "2014-05-06T10:11:12+02:00"),
        ("soon", None),
    ],
)
def test_the_creation_time_of_a_png(text, taken):
    assert read(**png(Creation_Time=text)).taken == taken


def test_a_tiff_for_large_files():
    block = exif_block({BASE.Model: "EOS 80D", BASE.DateTime: "2017:03:04 05:06:07"})
    assert read("TIFF", exif=block, big_tiff=True) == Metadata("2017-03-04T05:06:07", "EOS 80D")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("pointer", [4, 13, 16, 18])
def test_a_directory_for_large_files(order, pointer):
    form = "Q" if pointer > 15 else "I4x"
    data = struct.pack(f"{order}2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 16)
    data += struct.pack(f"{order}QHHQ{form}Q", 1, IFD.Exif, pointer, 1, 56, 0)
    data = data.ljust(56, b"\0")
    data += struct.pack(f"{order}QHHQQQ", 1, BASE.DateTimeOriginal, 2, 20, 100, 0)
    image = Image.new("RGB", (9, 9))
    image.info["exif"] = data.ljust(100, b"\0") + b"2017:03:04 05:06:07\0"
    assert image_metadata(image).taken == "2017-03-04T05:06:07"


def gps_block(entries):
    """A TIFF header with a GPS directory of (tag, type, count, bytes)."""
    inner = struct.pack("<H", len(entries))
    place = 8 + 18 + 2 + 12 * len(entries) + 4
    data = b""
    for tag, kind, count, value in entries:
        if len(value) > 4:
            data, value = data + value, struct.pack("<I", place + len(data))
        inner += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    main = struct.pack("<HHHIII", 1, IFD.GPSInfo, 4, 1, 26, 0)
    return b"II*\0\x08\0\0\0" + main + inner + bytes(4) + data


def signed(*fractions):
    return b"".join(struct.pack("<ii", *each) for each in fractions)


@pytest.mark.parametrize(
    ("kind", "count", "latitude", "longitude", "place"),
    [
        (5, 1, signed((482083333, 10**7)), signed((163750000, 10**7)), VIENNA),
        (5, 3, signed((48, 1), (125, 10), (0, 0)), signed((16, 1), (225, 10), (0, 0)), VIENNA),
        (2, 8, b"48,12.5N", b"16,22.5E", VIENNA),
        (2, 7, b"48,12.5", b"16,22.5", VIENNA),
        (10, 3, signed((-33, 1), (-52, 1), (-12, 1)), signed((-70, 1), (40, 1), (12, 1)), SANTIAGO),
        (10, 1, signed((-3387, 100)), signed((-7067, 100)), SANTIAGO),
        (12, 1, struct.pack("<d", -33.87), struct.pack("<d", -70.67), SANTIAGO),
        (5, 1, signed((1, 0)), signed((1, 0)), (None, None)),
        (5, 4, signed(*[(1, 1)] * 4), signed(*[(1, 1)] * 4), (None, None)),
    ],
)
@pytest.mark.parametrize("directions", [True, False])
def test_degrees_in_rare_forms(kind, count, latitude, longitude, place, directions):
    entries = [(GPS.GPSLatitude, kind, count, latitude), (GPS.GPSLongitude, kind, count, longitude)]
    if directions:
        north, east = (b"S", b"W") if place == SANTIAGO else (b"N", b"E")
        entries += [(GPS.GPSLatitudeRef, 2, 2, north), (GPS.GPSLongitudeRef, 2, 2, east)]
    elif place == VIENNA and b"N" not in latitude:
        place = (None, None)
    image = Image.new("RGB", (9, 9))
    image.info["exif"] = gps_block(sorted(entries))
    found = image_metadata(image)
    assert (found.latitude, found.longitude) == place


class Tagged:
    """As much of a container as metadata is read from; FFmpeg would not write these tags."""

    def __init__(self, **tags):
        self.metadata = {name.replace("__", "."): value for name, value in tags.items()}


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("+4812.5+01622.5/", (48.2083333, 16.375)),
        ("+481230+0162230/", (48.2083333, 16.375)),
        ("-335212.00-0704012.00+520/", (-33.87, -70.67)),
        ("+48.2083333+016.375CRSWGS_84/", VIENNA),
        ("+48.2083333+016.375+8850CRSWGS_84/", VIENNA),
        ("+4860+01622/", (None, None)),
        ("+48125+01622/", (None, None)),
    ],
)
def test_packed_places_of_videos(location, place):
    found = video_metadata(Tagged(location=location), None)
    assert (found.latitude, found.longitude) == place


@pytest.mark.parametrize(
    ("tags", "taken"),
    [
        ({"date": "2019-05-03T10:11:12+0200"}, "2019-05-03T10:11:12+02:00"),
        ({"date": "2019-05-03 10:11:12"}, "2019-05-03T10:11:12"),
        ({"date": "20190503"}, "2019-05-03"),
        ({"date": "2019"}, "2019"),
        ({"date": "2019", "creation_time": "2018-01-01T00:00:00Z"}, "2018-01-01T00:00:00+00:00"),
        ({"DATE_RECORDED": "2019-05-03 10:11:12"}, "2019-05-03T10:11:12"),
        ({"date": "someday"}, None),
    ],
)
def test_dates_of_videos(tags, taken):
    assert video_metadata(Tagged(**tags), None).taken == taken


def test_the_date_of_a_quicktime_film():
    file = io.BytesIO()
    with av.open(file, "w", "mov") as film:
        film.metadata["date"] = "2019-05-03T10:11:12+0200"
        stream = film.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 64, 48
        film.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        film.mux(stream.encode(None))
    file.seek(0)
    found = video_metadata(av.open(file), None)
    assert found.taken == "2019-05-03T10:11:12+02:00"


@EXIFTOOL
@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    "tags",
    [
        {"XMP-exif:DateTimeOriginal": "2015:08:22 10:09:08"},
        {"XMP-photoshop:DateCreated": "2015:08:22 10:09:08"},
        {"XMP-xmp:CreateDate": "2015:08:22 10:09:08"},
        {"IPTC:DateCreated": "2015:08:22", "IPTC:TimeCreated": "10:09:08+00:00"},
        {"IPTC:DigitalCreationDate": "2015:08:22", "IPTC:DigitalCreationTime": "10:09:08+00:00"},
        {"EXIF:DateTimeOriginal": "2015:08:22 10:09:08"},
        {"XMP:GPSLatitude": "-33.87", "XMP:GPSLongitude": "-70.67"},
        {"EXIF:GPSLatitude": "33.87", "EXIF:GPSLatitudeRef": "S"}
        | {"EXIF:GPSLongitude": "70.67", "EXIF:GPSLongitudeRef": "W"},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_what_exiftool_wrote(tmp_path, form, tags):
    path = tmp_path / f"a.{form.lower()}"
    Image.new("RGB", (64, 48)).save(path, form)
    arguments = [f"-{name}={value}" for name, value in tags.items()]
    subprocess.run(["exiftool", "-q", "-n", *arguments, path], check=True)
    found = read_bytes(path.read_bytes())
    if "GPS" in next(iter(tags)):
        assert (found.latitude, found.longitude) == (-33.87, -70.67)
    else:
        assert found.taken[:19] == "2015-08-22T10:09:08"


@EXIFTOOL
def test_a_file_beside_a_picture_that_exiftool_wrote(tmp_path):
    from qvsearch.media.companion import completed
    from qvsearch.types import NO_METADATA, Item, Kind

    tags = ["-XMP:DateTimeOriginal=2015:08:22 10:09:08", "-XMP:GPSLatitude=-33.87"]
    tags += ["-XMP:GPSLongitude=-70.67", "-XMP:Make=Canon", "-XMP:Model=EOS 80D"]
    subprocess.run(["exiftool", "-q", "-n", *tags, tmp_path / "a.jpg.xmp"], check=True)
    found = completed(NO_METADATA, Item(bytes(tmp_path), b"a.jpg", Kind.IMAGE, 1, 0))
    assert found == Metadata(
        "2015-08-22T10:09:08", "Canon EOS 80D", -33.87, -70.67, taken_from="xmp"
    )
