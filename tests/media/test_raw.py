"""Raw files of cameras: DNGs in our own bytes, from which the right picture is taken, upright."""

import io
import shutil
import struct
import subprocess

import numpy as np
import pytest
from PIL import Image
from support import raw_files
from support.images import decode
from support.raw_files import dng, halves, jpeg, scan

from qvsearch.errors import MediaError
from qvsearch.kinds import RAW, Kind, kind_of
from qvsearch.types import Metadata

FEW_PIXELS = 64 * 32 * 32
PREVIEW = jpeg(halves(600, 400)[::-1])  # its halves are exchanged, so that it can be told apart


def decoded(tmp_path, data, name="IMG.dng", max_pixels=FEW_PIXELS):
    path = tmp_path / name
    path.write_bytes(data)
    [(segment, source)] = decode(path, max_pixels).segments
    return segment, source.images[0].astype(int)


def is_red(pixel):
    return pixel[0] > pixel[2] + 100


def test_raw_files_are_pictures():
    assert len(RAW) == 20
    assert {kind_of(b"IMG" + suffix.upper().encode()) for suffix in RAW} == {Kind.IMAGE}


def test_a_large_preview_is_taken(tmp_path):
    segment, pixels = decoded(tmp_path, dng(640, 480, preview=PREVIEW))
    assert (segment.width, segment.height) == (640, 480)  # the raw file's own
    assert is_red(pixels[-2, 2])
    assert not is_red(pixels[2, 2])


def test_a_preview_keeps_its_proportions(tmp_path):
    wide = jpeg(halves(800, 200)[::-1])  # cropped by the camera
    _, pixels = decoded(tmp_path, dng(640, 480, preview=wide))
    assert pixels.shape[1] == pytest.approx(4 * pixels.shape[0], rel=0.2)


def test_a_small_preview_is_not_enough(tmp_path):
    _, pixels = decoded(tmp_path, dng(640, 480, preview=jpeg(halves(60, 40)[::-1])))
    assert is_red(pixels[2, 2])
    assert not is_red(pixels[-2, 2])


def test_without_a_preview_it_is_developed(tmp_path):
    segment, pixels = decoded(tmp_path, dng())
    assert (segment.width, segment.height) == (64, 48)
    assert is_red(pixels[2, 2])
    assert not is_red(pixels[-2, 2])


@pytest.mark.parametrize("preview", [None, PREVIEW])
@pytest.mark.parametrize(
    ("orientation", "red"), [(1, (0, 1)), (3, (2, 1)), (6, (1, 2)), (8, (1, 0))]
)
def test_it_is_upright(tmp_path, preview, orientation, red):
    data = dng(640, 480, orientation, preview and jpeg(halves(600, 400)))
    segment, pixels = decoded(tmp_path, data)
    lies = orientation > 4
    assert (segment.width, segment.height) == ((480, 640) if lies else (640, 480))
    assert (pixels.shape[0] > pixels.shape[1]) == lies
    rows, columns = (np.linspace(4, side - 5, 3).astype(int) for side in pixels.shape[:2])
    assert is_red(pixels[rows[red[0]], columns[red[1]]])
    assert not is_red(pixels[rows[2 - red[0]], columns[2 - red[1]]])


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmp:Rating="4">
<dc:subject><rdf:Bag><rdf:li>harbour</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>
</x:xmpmeta>"""


@pytest.mark.parametrize("preview", [None, PREVIEW])
def test_its_own_header_describes_it(tmp_path, preview):
    segment, _ = decoded(tmp_path, dng(640, 480, preview=preview, xmp=XMP))
    assert segment.metadata == Metadata(
        taken="2024-05-06T07:08:09",
        camera="Leica M11",
        page=False,
        keywords=("harbour",),
        rating=4,
    )


def test_without_a_date_it_has_none(tmp_path):
    segment, _ = decoded(tmp_path, dng(640, 480, preview=PREVIEW, taken=b""))
    assert segment.metadata.taken is None


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("preview", [None, PREVIEW])
def test_exiftool_reads_the_same(tmp_path, preview):
    segment, _ = decoded(tmp_path, dng(640, 480, 6, preview))
    command = ["exiftool", "-s3", "-Make", "-Model", "-DateTimeOriginal", "-ImageSize"]
    lines = subprocess.run([*command, tmp_path / "IMG.dng"], capture_output=True, check=True)
    make, model, taken, size = lines.stdout.decode().split("\n")[:4]
    assert segment.metadata.camera == f"{make} {model}"
    assert segment.metadata.taken == taken.replace(":", "-", 2).replace(" ", "T")
    assert size == f"{segment.height}x{segment.width}"  # which does not turn it


def cr3_boxes(**directories):
    boxes = b"".join(
        struct.pack(">I4s", 8 + len(data), name.encode()) + data
        for name, data in directories.items()
    )
    return b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + boxes


def test_the_boxes_of_a_cr3_describe_it():
    from qvsearch.media.metadata import image_metadata
    from qvsearch.media.raw import _blocks

    def tiff(tags):
        return b"II*\0" + struct.pack("<I", 8) + raw_files.directory(tags, 8)

    data = cr3_boxes(
        CMT1=tiff({271: (2, b"Canon\0"), 272: (2, b"Canon EOS R5\0")}),
        CMT2=tiff({0x9003: (2, b"2023:01:02 03:04:05\0")}),
    )
    blocks, xmp = _blocks(io.BytesIO(data))
    metadata = image_metadata(Image.new("RGB", (8, 8)), blocks=blocks)
    assert (metadata.taken, metadata.camera, xmp) == ("2023-01-02T03:04:05", "Canon EOS R5", None)


def test_a_development_has_the_exif_of_a_preview_if_the_file_has_none(tmp_path, monkeypatch):
    """As in files of Fujifilm and Sigma, which are not TIFFs."""
    monkeypatch.setattr("qvsearch.media.raw._blocks", lambda _: ((), None))
    segment, pixels = decoded(tmp_path, dng(640, 480, preview=jpeg(halves(60, 40)[::-1])))
    assert is_red(pixels[2, 2])  # a development
    # LibRaw writes them into previews that have none
    assert (segment.metadata.taken, segment.metadata.camera) == ("2024-05-06T07:08:09", "Leica M11")


def test_one_that_was_cut_off_has_its_preview(tmp_path):
    small = jpeg(halves(60, 40)[::-1])
    whole = dng(640, 480, 6, small)
    segment, pixels = decoded(tmp_path, whole)
    assert segment.metadata.damaged is None
    assert is_red(pixels[2, -2])  # a development
    segment, pixels = decoded(tmp_path, whole[: len(whole) // 2])
    assert segment.metadata.damaged == "all but its preview is missing"
    assert (segment.width, segment.height, segment.metadata.camera) == (480, 640, "Leica M11")
    assert is_red(pixels[2, 2])  # the preview has its halves exchanged


def test_a_scan_of_film_has_its_own_colours(tmp_path):
    pixels = halves(256, 224)
    segment, shown = decoded(tmp_path, scan(pixels), "IMG.nef")
    assert (segment.width, segment.height) == (256, 224)
    assert (segment.metadata.camera, segment.metadata.damaged) == ("Nikon COOLSCAN IV ED", None)
    assert np.array_equal(shown, pixels)


@pytest.mark.parametrize("share", [1, 0.5, 0.2])
@pytest.mark.parametrize("data", [dng(640, 480), scan(halves(256, 224))])
def test_the_share_of_its_values_is_measured(data, share):
    """LibRaw raises no error for some makers' files that were cut off, and shows noise."""
    from qvsearch.media.raw import _stored

    stored = _stored(io.BytesIO(data[: int(share * len(data))]))
    assert stored.share == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize(
    "data", [b"no raw file" * 9, dng()[:500], dng()[: len(dng()) // 2], PREVIEW]
)
def test_a_damaged_one_has_a_reason(tmp_path, data):
    with pytest.raises(MediaError, match="not a raw file of a known camera, or damaged"):
        decoded(tmp_path, data)


def test_a_large_one_is_refused_by_its_header(tmp_path):
    data = dng()
    for tag, value in ((256, 64), (257, 48)):
        small, large = (struct.pack("<HHII", tag, 4, 1, each) for each in (value, 30_000))
        data = data.replace(small, large)
    with pytest.raises(MediaError, match="too large: 30000x30000 is 900.0 megapixels, the limit"):
        decoded(tmp_path, data)
