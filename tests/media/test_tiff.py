"""TIFF files as scanners, microscopes and maps have them, and pictures whose alpha says nothing."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.images import MEDIUM, decode, item_of, scene

from qvsearch.errors import MediaError
from qvsearch.media import image
from qvsearch.media.pixels import fit
from qvsearch.media.tiff import count_pages

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
SHORT, LONG, LONG8 = 3, 4, 16


def page(file, values, form, order, subfile, more):
    """Write the values (h, w) or (h, w, 3), and the entries of their directory (TIFF 6.0)."""
    height, width, samples = (*values.shape, 1)[:3]
    place = file.seek(0, io.SEEK_END)
    file.write(values.astype(values.dtype.newbyteorder(order)).tobytes())
    size = file.tell() - place
    bits = 8 * values.dtype.itemsize
    return {
        254: (LONG, [subfile]),
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [bits] * samples),
        259: (SHORT, [1]),
        262: (SHORT, [2 if samples == 3 else 1]),
        273: (LONG, [place]),
        277: (SHORT, [samples]),
        278: (LONG, [height]),
        279: (LONG, [size]),
        339: (SHORT, [form] * samples),
        **more,
    }


def tiff(*pages, order="<", big=False, more=None):
    """Return a TIFF of pages (values, form, subfile), as its specification has it."""
    offset, count, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    marks = {SHORT: "H", LONG: "I", LONG8: "Q"}
    file = io.BytesIO()
    file.write(b"II" if order == "<" else b"MM")
    file.write(struct.pack(order + ("HHH" if big else "H"), *((43, 8, 0) if big else (42,))))
    link = file.tell()
    file.write(struct.pack(order + offset, 0))
    for values, form, subfile in pages:
        entries = page(file, values, form, order, subfile, more or {})
        packed = b""
        for tag, (kind, numbers) in sorted(entries.items()):
            data = struct.pack(f"{order}{len(numbers)}{marks[kind]}", *numbers)
            if len(data) > room:
                place = file.seek(0, io.SEEK_END)
                file.write(data)
                data = struct.pack(order + offset, place)
            packed += struct.pack(f"{order}HH{offset}", tag, kind, len(numbers))
            packed += data.ljust(room, b"\0")
        place = file.seek(0, io.SEEK_END)
        file.write(struct.pack(order + count, len(entries)) + packed + bytes(room))
        file.seek(link)
        file.write(struct.pack(order + offset, place))
        link = place + struct.calcsize(order + count) + len(packed)
    return file.getvalue()


def shown(tmp_path, data, suffix="tif"):
    path = tmp_path / f"picture.{suffix}"
    path.write_bytes(data)
    [(segment, source)] = decode(path).segments
    return source.images[0].astype(int), (segment.width, segment.height)


GREY = np.linspace(0, 1, 64 * 96).reshape(64, 96)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], -1)
PICTURE, SMALL = (np.asarray(scene(*size)) for size in [(320, 240), (160, 120)])
REDUCED, MASK = 1, 4

PAGES = {
    "the reduced one first": ([(SMALL, REDUCED), (PICTURE, 0)], 1),
    "several reduced ones first": ([(SMALL[:60, :80], 1), (SMALL, 1), (PICTURE, 0)], 1),
    "reduced ones of several pages": ([(SMALL, 1), (PICTURE, 0), (SMALL, 1), (SMALL, 0)], 2),
    "a pyramid": ([(PICTURE, 0), (SMALL, REDUCED), (SMALL[:60, :80], REDUCED)], 1),
    "reduced ones only": ([(SMALL, REDUCED), (PICTURE, REDUCED)], 0),
    "a mask behind": ([(PICTURE, 0), (SMALL, MASK), (SMALL, REDUCED | MASK)], 1),
    "a mask first": ([(SMALL, MASK), (PICTURE, 0)], 1),
}


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("name", PAGES)
def test_the_picture_is_the_largest_page(tmp_path, name, big, order):
    pages, several = PAGES[name]
    data = tiff(*((values, UNSIGNED, subfile) for values, subfile in pages), order=order, big=big)
    pixels, size = shown(tmp_path, data)
    assert size == (320, 240)
    np.testing.assert_array_equal(pixels, fit(Image.fromarray(PICTURE), MEDIUM))
    assert count_pages(io.BytesIO(data)) == several


def test_the_old_name_of_a_reduced_page(tmp_path):
    data = tiff((SMALL, 1, 0), (PICTURE, 1, 0), more={255: (SHORT, [2])})
    assert shown(tmp_path, data)[1] == (320, 240)


def test_of_equal_pages_the_first_is_read(tmp_path):
    data = tiff((SMALL, UNSIGNED, 0), (PICTURE, UNSIGNED, 0))
    assert shown(tmp_path, data)[1] == (160, 120)


def test_a_preview_stands_for_what_cannot_be_read(tmp_path):
    raw = np.zeros((240, 320, 3), np.float64)
    data = tiff((SMALL, UNSIGNED, REDUCED), (raw, FLOAT, 0))
    assert shown(tmp_path, data)[1] == (160, 120)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("values", "form", "reason"),
    [
        (RGB.astype(np.float32), FLOAT, "not supported: a TIFF of 3 x 32 bits, float"),
        ((RGB * 4e9).astype(np.uint32), UNSIGNED, "not supported: a TIFF of 3 x 32 bits, integer"),
        (GREY.astype(np.float64), FLOAT, "not supported: a TIFF of 1 x 64 bits, float"),
        (GREY.astype(np.float16), FLOAT, "not supported: a TIFF of 1 x 16 bits, float"),
    ],
)
def test_what_is_not_supported_is_not_called_damaged(tmp_path, values, form, reason, order):
    for big in (False, True):
        with pytest.raises(MediaError, match=reason):
            shown(tmp_path, tiff((values, form, 0), order=order, big=big))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("order", "<>")
def test_deep_grey_is_visible(tmp_path, bits, order):
    values = (GREY * (2**bits - 1)).astype(np.uint16)
    pixels, _ = shown(tmp_path, tiff((values, UNSIGNED, 0), order=order))
    np.testing.assert_allclose(pixels[..., 0], 255 * GREY, atol=2)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("order", "<>")
def test_deep_colours_are_visible(tmp_path, bits, order):
    values = (RGB * (2**bits - 1)).astype(np.uint16)
    pixels, _ = shown(tmp_path, tiff((values, UNSIGNED, 0), order=order))
    levels = 2 ** (bits - 8)  # that Pillow leaves
    np.testing.assert_allclose(pixels, 255 * RGB, atol=255 / levels + 2)


def test_unsigned_grey_of_32_bits_is_visible(tmp_path):
    values = (GREY * (2**32 - 1)).astype(np.uint32)
    pixels, _ = shown(tmp_path, tiff((values, UNSIGNED, 0)))
    np.testing.assert_allclose(pixels[..., 0], 255 * GREY, atol=2)


def test_a_loop_of_pages_ends(tmp_path):
    data = bytearray(tiff((SMALL, UNSIGNED, REDUCED)))
    data[-4:] = data[4:8]
    assert shown(tmp_path, bytes(data))[1] == (160, 120)


def looked_at(tmp_path, data, suffix, since=1):
    path = tmp_path / f"picture.{suffix}"
    path.write_bytes(data)
    with path.open("rb") as file:
        return image.reads_otherwise(file, item_of(path), since)


def test_what_an_older_version_read_otherwise_is_read_anew(tmp_path):
    grey, deep = (GREY * 4095).astype(np.uint16), (RGB * 4095).astype(np.uint16)
    small = tiff((SMALL, UNSIGNED, REDUCED), (PICTURE, UNSIGNED, 0))
    anew = [small, *(tiff((values, UNSIGNED, 0)) for values in (grey, deep))]
    for data in anew:
        assert looked_at(tmp_path, data, "tif")
        assert not looked_at(tmp_path, data, "tif", since=2)
    assert looked_at(tmp_path, bmp_of_version_5(0), "bmp")
    for form in ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP"):
        file = io.BytesIO()
        scene().save(file, form)
        assert not looked_at(tmp_path, file.getvalue(), form.lower())
    assert not looked_at(tmp_path, tiff((PICTURE, UNSIGNED, 0), (SMALL, UNSIGNED, REDUCED)), "tif")
    with pytest.raises(MediaError, match="not an image"):
        looked_at(tmp_path, b"words", "png")


def test_several_pages_are_known_from_the_header(tmp_path):
    path = tmp_path / "pages.tif"
    for count in (1, 2):
        path.write_bytes(tiff(*[(PICTURE, UNSIGNED, 0)] * count))
        with path.open("rb") as file:
            said = image.read_metadata(file, item_of(path))
        assert said.several is (True if count > 1 else None)
        assert replace(decode(path).segments[0][0].metadata, page=None) == said


def bmp_of_version_5(alpha):
    """Return a BMP of 32 bits that names masks of all four bytes (BITMAPV5HEADER)."""
    colours = np.asarray(scene(96, 64))[::-1, :, ::-1]
    pixels = np.dstack([colours, np.full(colours.shape[:2], alpha, np.uint8)]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 124, 96, 64, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header += masks + b"BGRs" + bytes(124 - 60)
    return b"BM" + struct.pack("<IHHI", 14 + 124 + len(pixels), 0, 0, 138) + header + pixels


@pytest.mark.parametrize("alpha", [0, 255])
def test_an_empty_alpha_hides_no_picture(tmp_path, alpha):
    data = bmp_of_version_5(alpha)
    assert Image.open(io.BytesIO(data)).mode == "RGBA"
    pixels, _ = shown(tmp_path, data, "bmp")
    np.testing.assert_array_equal(pixels, fit(scene(96, 64), MEDIUM))


@pytest.mark.parametrize("form", ["TGA", "ICO"])
def test_an_empty_alpha_hides_no_picture_in_other_formats(tmp_path, form):
    clear = scene(96, 64).convert("RGBA")
    clear.putalpha(0)
    file = io.BytesIO()
    clear.save(
        file, form, **({"sizes": [(96, 64)], "bitmap_format": "bmp"} if form == "ICO" else {})
    )
    pixels, _ = shown(tmp_path, file.getvalue(), form.lower())
    np.testing.assert_array_equal(pixels, fit(scene(96, 64), MEDIUM))


def test_an_alpha_that_says_something_holds(tmp_path):
    pixels, _ = shown(tmp_path, bmp_of_version_5(128), "bmp")
    assert pixels.min() >= 126
    file = io.BytesIO()
    clear = scene(96, 64).convert("RGBA")
    clear.putalpha(0)
    clear.save(file, "PNG")
    assert (shown(tmp_path, file.getvalue(), "png")[0] == 255).all()
