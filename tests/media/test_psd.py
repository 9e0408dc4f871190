"""Files of Photoshop: all depths, further channels, and what their resources describe."""

import numpy as np
import pytest
from PIL import Image
from support.icc_profiles import LINEAR, rgb_profile
from support.images import decode, item_of
from support.psd_files import BITMAP, CMYK, GREY, RGB, gradients, psd

from qvsearch.media import image
from qvsearch.types import Metadata


def decoded(tmp_path, data):
    (tmp_path / "a.psd").write_bytes(data)
    [(segment, source)] = decode(tmp_path / "a.psd").segments
    return segment, source.images[0].astype(int)


def expected(channels):
    return np.moveaxis(channels[:3], 0, -1).astype(int)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("count", [3, 5])
def test_deep_colours_look_like_those_of_8_bits(tmp_path, count, pack):
    channels = gradients(count)
    shown = expected(channels)
    light = channels / np.float32(255)
    linear = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    deep = channels.astype(np.uint16) * 257
    # of linear light in the colours of sRGB, as Photoshop writes it into such files
    profile = {1039: rgb_profile(*LINEAR)}
    for each, resources in ((channels, None), (deep, None), (linear.astype(np.float32), profile)):
        data = psd(each, layers=2, resources=resources, pack=pack)
        segment, pixels = decoded(tmp_path, data)
        assert (segment.width, segment.height) == (160, 96)
        assert np.abs(pixels - shown).max() <= 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("mode", [GREY, CMYK])
def test_other_modes(tmp_path, mode, kind):
    channels = gradients(1 if mode == GREY else 4)
    data = psd(channels if kind == np.uint8 else channels.astype(kind) * 257, mode)
    _, pixels = decoded(tmp_path, data)
    if mode == GREY:
        shown = expected(np.stack([channels[0]] * 3))
    else:
        inks = Image.merge("CMYK", [Image.fromarray(255 - each) for each in channels])
        shown = np.asarray(inks.convert("RGB")).astype(int)
    assert np.abs(pixels - shown).max() <= 1


def test_the_ink_of_a_bitmap_is_black(tmp_path):
    ink = np.zeros((1, 64, 8), np.uint8)
    ink[0, :32] = 255
    _, pixels = decoded(tmp_path, psd(ink, BITMAP))
    assert (pixels[2, 2].tolist(), pixels[-2, 2].tolist()) == ([0, 0, 0], [255, 255, 255])


def test_a_selection_is_not_transparent(tmp_path):
    channels = gradients(4)
    whole = expected(channels)
    alpha = channels[3][..., None] / 255
    for layers, shown in ((3, whole), (None, whole), (-3, whole * alpha + 255 * (1 - alpha))):
        _, pixels = decoded(tmp_path, psd(channels, layers=layers))
        assert np.abs(pixels - shown).max() <= 1


@pytest.mark.parametrize("pack", [True, False])
def test_a_selection_of_a_deep_file_is_not_transparent(tmp_path, pack):
    channels = gradients(4)
    deep = channels.astype(np.uint16) * 257
    whole = expected(channels)
    alpha = channels[3][..., None] / 255
    seen_through = whole * alpha + 255 * (1 - alpha)
    for layers, keys, shown in (
        (None, (), whole),
        (None, (b"Patt", b"Lr16"), whole),
        (3, (b"Lr16",), whole),
        (None, (b"Lr16", b"Mt16"), seen_through),
        (None, (b"Mt32",), seen_through),
        (-3, (), seen_through),
    ):
        _, pixels = decoded(tmp_path, psd(deep, layers=layers, keys=keys, pack=pack))
        assert np.abs(pixels - shown).max() <= 1, (layers, keys)


@pytest.mark.parametrize(
    ("count", "layers", "differs"),
    [(3, -2, False), (4, -2, False), (4, 2, True), (4, None, True), (5, -2, True)],
)
def test_version_4_gave_others_with_further_channels(tmp_path, count, layers, differs):
    path = tmp_path / "a.psd"
    path.write_bytes(psd(gradients(count), layers=layers))
    with path.open("rb") as file:
        found = [image.reads_otherwise(file, item_of(path), since) for since in (4, 5)]
    assert found == [differs, False]


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmp:Rating="4">
<dc:subject><rdf:Bag><rdf:li>harbour</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>
</x:xmpmeta>"""


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_its_resources_describe_it(tmp_path, kind):
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Leica", "Leica M11", 6
    exif[306] = "2024:05:06 07:08:09"
    title = b"\x1c\x02\x05\0\x07A title"
    resources = {1058: exif.tobytes().removeprefix(b"Exif\0\0"), 1060: XMP, 1028: title}
    data = psd(gradients(3).astype(kind), RGB, resources=resources)
    segment, pixels = decoded(tmp_path, data)
    assert (segment.width, segment.height) == (96, 160)
    assert pixels.shape[0] > pixels.shape[1]
    assert segment.metadata == Metadata(
        taken="2024-05-06T07:08:09",
        camera="Leica M11",
        page=False,
        title="A title",
        keywords=("harbour",),
        rating=4,
    )
