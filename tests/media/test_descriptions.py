"""Titles, authors, keywords and ratings, as programs write them, and as nonsense."""

import io
import os
import shutil
import struct
import subprocess
import time

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from support.images import decode, item_of

from qvsearch.media import look
from qvsearch.media.companion import completed
from qvsearch.media.descriptions import (
    MAX_KEYWORD,
    MAX_TITLE,
    MOST_KEYWORDS,
    iptc_description,
    xmp_description,
)
from qvsearch.media.metadata import image_metadata, video_metadata
from qvsearch.tasks.labelling.sidecars import add_keywords
from qvsearch.types import Kind, Metadata, Segment

LISTS = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description rdf:about="">
 <xmp:Rating>4</xmp:Rating>
 <dc:title><rdf:Alt><rdf:li xml:lang="de-DE">Fest</rdf:li>
  <rdf:li xml:lang="x-default">Fair &amp; lights</rdf:li></rdf:Alt></dc:title>
 <dc:creator><rdf:Seq><rdf:li>Ada Byron</rdf:li><rdf:li>B. Ortiz</rdf:li></rdf:Seq></dc:creator>
 <dc:subject>
  <rdf:Bag>
   <rdf:li>night</rdf:li>
   <rdf:li>Ferris  wheel</rdf:li>
  </rdf:Bag>
 </dc:subject>
 <lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Austria|Vienna</rdf:li><rdf:li>Night</rdf:li>
  <rdf:li>darktable|exported</rdf:li></rdf:Bag></lr:hierarchicalSubject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""
ALL = Metadata(
    title="Fair & lights",
    author="Ada Byron, B. Ortiz",
    keywords=("night", "Ferris wheel", "Places", "Austria", "Vienna"),
    rating=4,
)


def test_a_packet_of_lists():
    assert xmp_description(LISTS) == ALL


def test_a_packet_of_attributes():
    packet = b"""<rdf:Description xmp:Rating='5' dc:title="A &quot;B&quot;" dc:creator="Ada"/>"""
    assert xmp_description(packet) == Metadata(title='A "B"', author="Ada", rating=5)


@pytest.mark.parametrize(
    ("packet", "rating"),
    [
        (b'<a xmp:Rating="0"/>', 0),
        (b'<a xap:Rating="3"/>', 3),
        (b'<a xmp:Rating="-1"/>', None),  # rejected
        (b'<a xmp:Rating="6"/>', None),
        (b'<a xmp:Rating="4.0"/>', 4),
        (b'<a xmp:Rating="nan"/>', None),
        (b'<a xmp:Rating="many"/>', None),
        (b'<a MicrosoftPhoto:Rating="75"/>', 4),
        (b'<a MicrosoftPhoto:Rating="99"/>', 5),
        (b'<a MicrosoftPhoto:Rating="75" xmp:Rating="2"/>', 2),
        (b'<a xmp:RatingPercent="75"/>', None),
    ],
)
def test_ratings(packet, rating):
    assert xmp_description(packet).rating == rating


def dataset(number, data):
    return b"\x1c\2" + bytes([number]) + struct.pack(">H", len(data)) + data


def test_a_block_of_iptc():
    block = b"\x1c\1\x5a\0\3\x1b%G" + dataset(5, b"Fair") + dataset(25, "Größe".encode())
    block += dataset(25, b"night") + dataset(25, b"Night") + dataset(80, b"Ada")
    described = Metadata(title="Fair", author="Ada", keywords=("Größe", "night"))
    assert iptc_description(block) == described
    assert iptc_description(dataset(25, "Größe".encode("latin-1"))).keywords == ("Größe",)


def test_limits_of_texts():
    packet = f"<a dc:title='{'x' * 900}'/><dc:subject><rdf:Bag>"
    packet += "".join(f"<rdf:li>{number}{'k' * 200}</rdf:li>" for number in range(50))
    packet += "".join(f"<rdf:li>{number}</rdf:li>" for number in range(900))
    found = xmp_description(f"{packet}</rdf:Bag></dc:subject>".encode())
    assert len(found.title) == MAX_TITLE
    assert len(found.keywords) == MOST_KEYWORDS
    assert max(map(len, found.keywords)) == MAX_KEYWORD


def test_no_character_has_an_effect_on_a_terminal():
    packet = "<a dc:title='a\x1b[31mb\u202ec\n d'/>".encode()
    assert xmp_description(packet).title == "a[31mbc d"


@given(st.binary(max_size=300))
def test_random_bytes(data):
    iptc_description(data)
    xmp_description(data)
    xmp_description(LISTS[: len(data)] + data + LISTS[len(data) :])


@pytest.mark.parametrize(
    "part", ["<dc:subject>", "<rdf:li ", "<a dc:title=", "<dc:subject><rdf:li>"]
)
def test_a_packet_that_repeats_an_opening_takes_little_time(part):
    began = time.process_time()
    xmp_description(part.encode() * (2**20 // len(part)))
    assert time.process_time() - began < 20


def saved(form, **options):
    file = io.BytesIO()
    Image.effect_noise((64, 48), 50).convert("RGB").save(file, form, **options)
    image = Image.open(file)
    image.load()
    found = image_metadata(image)
    return Metadata(
        title=found.title, author=found.author, keywords=found.keywords, rating=found.rating
    )


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "HEIF", "PNG", "TIFF"])
def test_every_format(form):
    import pillow_heif

    pillow_heif.register_heif_opener()
    if form == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", LISTS.decode())
        options = {"pnginfo": info}
    elif form == "TIFF":
        options = {"tiffinfo": {700: LISTS}}
    else:
        options = {"xmp": LISTS}
    assert saved(form, **options) == ALL


def test_exif_alone():
    block = Image.Exif()
    block[ExifTags.Base.Artist], block[0x4746] = "Ada", 3
    assert saved("JPEG", exif=block) == Metadata(author="Ada", rating=3)


def test_texts_of_a_png():
    info = PngInfo()
    info.add_text("Title", "Fair")
    info.add_text("Author", "Ada")
    assert saved("PNG", pnginfo=info) == Metadata(title="Fair", author="Ada")


def write_film(file):
    with av.open(file, "w", "matroska") as container:
        container.metadata.update({"title": "Fair", "artist": "Ada", "keywords": "night, wheel"})
        stream = container.add_stream("mpeg4", 5)
        stream.width, stream.height = 64, 48
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())


def test_a_film():
    file = io.BytesIO()
    write_film(file)
    file.seek(0)
    with av.open(file) as container:
        found = video_metadata(container, 1.0)
    assert (found.title, found.author, found.keywords) == ("Fair", "Ada", ("night", "wheel"))


def test_a_film_that_an_older_version_read_is_looked_at_for_them(tmp_path):
    path = tmp_path / "a.mkv"
    with path.open("wb") as file:
        write_film(file)
    item = item_of(path, Kind.VIDEO)
    assert Segment(item, "", reading=2).is_older
    assert look(item, 2).keywords == ("night", "wheel")


def test_a_sidecar_replaces_and_adds_keywords(tmp_path):
    path = tmp_path / "IMG.jpg"
    path.write_bytes(b"a picture")
    own = Metadata(title="old", author="Ada", keywords=("pier", "NIGHT"), rating=1)
    (tmp_path / "IMG.xmp").write_bytes(LISTS.replace(b"dc:creator", b"dc:other"))
    found = completed(own, item_of(path))
    assert (found.title, found.author, found.rating) == ("Fair & lights", "Ada", 4)
    assert found.keywords == (*ALL.keywords, "pier")


def test_keywords_that_classify_writes_are_read_back(tmp_path):
    path = tmp_path / "IMG.jpg"
    Image.effect_noise((64, 48), 50).save(path)
    for _ in range(2):
        add_keywords(os.fsencode(path), ["Größe & <light>", "night"], dry_run=False)
    [(segment, _)] = decode(path).segments
    assert segment.metadata.keywords == ("Größe & <light>", "night")


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("groups", [("XMP-dc", "XMP-dc", "XMP-dc"), ("IPTC", "IPTC", "IPTC")])
def test_what_exiftool_writes(tmp_path, groups):
    path = tmp_path / "IMG.jpg"
    Image.effect_noise((64, 48), 50).save(path)
    names = ("Subject", "Title", "Creator")
    if groups[0] == "IPTC":
        names = ("Keywords", "ObjectName", "By-line")
    values = [("Größe", "Riesenrad"), ("Fest",), ("Ada",)]
    arguments = [
        f"-{group}:{name}={value}"
        for group, name, some in zip(groups, names, values, strict=True)
        for value in some
    ]
    command = ["exiftool", "-q", "-codedcharacterset=utf8", "-XMP-xmp:Rating=4", *arguments]
    subprocess.run([*command, path], check=True, capture_output=True)
    found = decode(path).segments[0][0].metadata
    assert (found.title, found.author, found.rating) == ("Fest", "Ada", 4)
    assert found.keywords == ("Größe", "Riesenrad")
