"""The pixels that the model sees, against qwen_vl_utils' own path and against plain arithmetic."""

import base64
import functools
import io
import random
import warnings

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from qvsearch.demo.world import draw, random_scene
from qvsearch.errors import MediaError
from qvsearch.media.pixels import check_size, dhash, fit, patches, smart_resize, upright_rgb

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies
    from qwen_vl_utils import vision_process as reference

BUDGETS = [256 * 1024, 768 * 1024, 1800 * 1024]


def picture(width, height, mode="RGB", seed=0):
    """Smooth colours with noise: every resampling difference shows."""
    rng = np.random.default_rng(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    x = np.linspace(0, 200, width)[None, :, None] + np.linspace(0, 50, height)[:, None, None]
    noise = rng.integers(0, 56, (height, width, channels))
    values = (x + noise).astype(np.uint8)
    return Image.fromarray(values[..., 0] if channels == 1 else values, mode=None)


def test_smart_resize_equals_the_reference():
    rng = random.Random(7)
    sizes = [(rng.randint(1, 6000), rng.randint(1, 6000)) for _ in range(3000)]
    sizes += [(rng.randint(1, 60), rng.randint(1, 60)) for _ in range(1000)]
    sizes += [(height, height * 200) for height in range(1, 100)]
    compared = 0
    for height, width in sizes:
        if max(height, width) > 200 * min(height, width):
            continue
        for budget in BUDGETS:
            ours = smart_resize(height, width, max_pixels=budget)
            theirs = reference.smart_resize(height, width, 32, 4096, budget)
            assert ours == theirs, (height, width, budget)
            compared += 1
    assert compared > 10_000


@pytest.mark.parametrize(("height", "width"), [(1, 201), (30, 6001), (6001, 30)])
def test_a_strip_is_refused_as_in_the_reference(height, width):
    with pytest.raises(ValueError, match="aspect ratio"):
        reference.smart_resize(height, width, 32, 4096, BUDGETS[0])
    with pytest.raises(MediaError, match=f"{width}x{height} is 20[01] to 1, the limit is 200 to 1"):
        smart_resize(height, width, max_pixels=BUDGETS[0])


def test_a_tiny_budget_never_makes_a_side_of_nothing():
    assert smart_resize(40, 7000, max_pixels=32 * 32 * 16)[0] == 32


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("size", [(640, 480), (1024, 768), (4032, 3024), (60, 50), (33, 1000)])
def test_pixels_equal_the_reference_bit_for_bit(mode, size):
    image = picture(*size, mode=mode)
    theirs = reference.fetch_image({"image": image, "max_pixels": BUDGETS[1]}, image_patch_size=16)
    ours = fit(image, BUDGETS[1])
    assert ours.dtype == np.uint8
    assert ours.flags.writeable  # torch warns about an array that it may not write to
    np.testing.assert_array_equal(ours, np.asarray(theirs))


def corners(image):
    """The colours near the four corners, clockwise from the top left."""
    w, h = image.size
    points = [(2, 2), (w - 3, 2), (w - 3, h - 3), (2, h - 3)]
    return [image.getpixel(point) for point in points]


RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)


def four_corners():
    image = Image.new("RGB", (60, 40))
    for box, colour in [
        ((0, 0, 30, 20), RED),
        ((30, 0, 60, 20), GREEN),
        ((30, 20, 60, 40), BLUE),
        ((0, 20, 30, 40), GREY),
    ]:
        image.paste(colour, box)
    return image


# what a viewer does with the stored picture, from the EXIF standard: where the stored first row
# and first column are shown
STORED_CORNERS = {  # upright corner colours of a picture stored as red, green, blue, grey
    1: [RED, GREEN, BLUE, GREY],
    2: [GREEN, RED, GREY, BLUE],
    3: [BLUE, GREY, RED, GREEN],
    4: [GREY, BLUE, GREEN, RED],
    5: [RED, GREY, BLUE, GREEN],
    6: [GREY, RED, GREEN, BLUE],
    7: [BLUE, GREEN, RED, GREY],
    8: [GREEN, BLUE, GREY, RED],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_exif_orientations_are_shown_upright(orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    options = {"lossless": True} if form == "WEBP" else {}
    four_corners().save(file, form, exif=exif, **options)
    upright = upright_rgb(Image.open(file))
    assert upright.size == ((60, 40) if orientation < 5 else (40, 60))
    assert corners(upright) == STORED_CORNERS[orientation]
    assert corners(upright_rgb(upright)) == STORED_CORNERS[orientation]  # turned once only


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_impossible_orientation_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    four_corners().save(file, "PNG", exif=exif)
    assert corners(upright_rgb(Image.open(file))) == [RED, GREEN, BLUE, GREY]


def test_damaged_exif_does_not_refuse_the_picture():
    file = io.BytesIO()
    four_corners().save(file, "PNG", exif=b"Exif\0\0MM\0\x2a\0\0\xff\xff\xff\xff")
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        assert upright_rgb(Image.open(file)).size == (60, 40)


def on_white(colour, alpha):
    return tuple(round(c * alpha / 255 + 255 * (1 - alpha / 255)) for c in colour)


@pytest.mark.parametrize("alpha", [0, 64, 128, 255])
def test_alpha_is_composited_on_white(alpha):
    rgba = Image.new("RGBA", (8, 8), (200, 100, 0, alpha))
    np.testing.assert_allclose(
        upright_rgb(rgba).getpixel((3, 3)), on_white((200, 100, 0), alpha), atol=1
    )
    grey = Image.new("LA", (8, 8), (40, alpha))
    np.testing.assert_allclose(
        upright_rgb(grey).getpixel((3, 3)), on_white((40, 40, 40), alpha), atol=1
    )


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return Image.open(file)


def test_transparent_palettes_and_colours_are_white():
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 0])
    palette.paste(2, (4, 0, 8, 8))
    for form in ("PNG", "GIF"):
        shown = upright_rgb(saved(palette, form, transparency=1))
        assert shown.getpixel((0, 0)) == (255, 255, 255), form
        assert shown.getpixel((6, 0)) == (200, 100, 0), form
    half = upright_rgb(saved(palette, "PNG", transparency=bytes([255, 128, 255])))
    np.testing.assert_allclose(half.getpixel((0, 0)), on_white((10, 20, 30), 128), atol=1)
    both = palette.convert("PA")
    assert both.mode == "PA"
    assert upright_rgb(both).getpixel((6, 0)) == (200, 100, 0)
    rgb = Image.new("RGB", (8, 8), (1, 2, 3))
    rgb.paste((9, 9, 9), (4, 0, 8, 8))
    shown = upright_rgb(saved(rgb, "PNG", transparency=(1, 2, 3)))
    assert (shown.getpixel((0, 0)), shown.getpixel((6, 0))) == ((255, 255, 255), (9, 9, 9))
    grey = Image.new("L", (8, 8), 7)
    assert upright_rgb(saved(grey, "PNG", transparency=7)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(form):
    values = np.array([[0, 255, 256, 32768], [65535, 1000, 50000, 257]], np.uint16)
    shown = np.asarray(upright_rgb(saved(Image.fromarray(values), form)))
    np.testing.assert_array_equal(shown[..., 0], np.round(values / 257))
    np.testing.assert_array_equal(shown[..., 0], shown[..., 2])


def test_16_bit_grey_with_a_transparent_value():
    values = np.array([[0, 4000], [65535, 4000]], np.uint16)
    shown = upright_rgb(saved(Image.fromarray(values), "PNG", transparency=4000))
    np.testing.assert_array_equal(np.asarray(shown)[..., 0], [[0, 255], [255, 255]])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),  # a rendering
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 32767.5, 65535.0], [0, 128, 255]),
        ([-100.0, 0.0, 100.0], [0, 128, 255]),  # degrees
        ([-5.0, -5.0, -5.0], [0, 0, 0]),
        ([float("nan"), float("inf"), 1.0], [0, 0, 255]),
    ],
)
def test_float_grey_is_scaled(values, shown):
    image = saved(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert image.mode == "F"
    np.testing.assert_allclose(np.asarray(upright_rgb(image))[0, :, 0], shown, atol=1)


def test_32_bit_integers_are_scaled():
    image = saved(Image.fromarray(np.array([[0, 30000, 65535]], np.int32)), "TIFF")
    assert image.mode == "I"
    np.testing.assert_allclose(np.asarray(upright_rgb(image))[0, :, 0], [0, 117, 255], atol=1)


def test_cmyk_as_photo_programs_write_it():
    inverted = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    shown = upright_rgb(saved(inverted, "JPEG", quality=95))
    np.testing.assert_allclose(shown.getpixel((8, 8)), (255, 0, 0), atol=6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV", "CMYK", "LA", "PA", "RGBa"])
def test_every_mode_becomes_rgb(mode):
    image = Image.new("RGBA" if mode == "RGBa" else "RGB", (40, 40), (90, 90, 90))
    converted = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)
    assert fit(converted, BUDGETS[0]).shape == (64, 64, 3)


def test_size_limits():
    check_size(10_000, 10_000)
    with pytest.raises(MediaError, match=r"10000x10001 is 100\.0 megapixels, the limit is 100"):
        check_size(10_000, 10_001)
    with pytest.raises(MediaError, match="no pixels"):
        check_size(0, 5)


@functools.cache
def drawn(count, seed=3):
    rng = np.random.default_rng(seed)
    return [Image.fromarray(draw(random_scene(rng), rng, 320, 240)) for _ in range(count)]


def hashes(images):
    return [dhash(fit(image, BUDGETS[1])) for image in images]


def distances(ours, theirs):
    pairs = zip(ours, theirs, strict=True)
    return sorted((a ^ b).bit_count() for a, b in pairs if a is not None and b is not None)


COPIES = {
    "four times smaller": lambda image: image.resize((80, 60), Image.Resampling.LANCZOS),
    "twice as large": lambda image: image.resize((640, 480), Image.Resampling.BICUBIC),
    "JPEG of low quality": lambda image: saved(image, "JPEG", quality=40),
    "WebP": lambda image: saved(image, "WEBP"),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_differ_in_a_few_bits(copy):
    pictures = drawn(40)
    found = distances(hashes(pictures), hashes([COPIES[copy](each) for each in pictures]))
    assert len(found) >= 25  # the others are nearly flat
    assert found[-1] <= 4


def test_different_pictures_differ_in_many_bits():
    found = distances(hashes(drawn(60)), hashes(drawn(60, seed=4)))
    assert found[len(found) // 2] >= 16
    assert found[2] > 4


def test_a_difference_hash_against_its_definition():
    cells = np.random.default_rng(2).integers(0, 256, (8, 9))
    pixels = np.repeat(np.repeat(cells, 32, 0), 32, 1)[..., None].repeat(3, 2).astype(np.uint8)
    bits = [row[x + 1] - row[x] > 2 for row in cells.tolist() for x in range(8)]
    assert dhash(pixels) == int("".join("01"[bit] for bit in bits), 2)


def test_patches_are_mean_colours():
    cells = np.random.default_rng(2).integers(0, 256, (4, 4, 3), np.uint8)
    noise = np.tile(np.array([[-2, 2], [2, -2]]), (32, 48))[..., None]
    pixels = np.repeat(np.repeat(cells, 16, 0), 24, 1) // 2 + 60 + noise
    assert base64.b64decode(patches(pixels.astype(np.uint8))) == (cells // 2 + 60).tobytes()


@pytest.mark.parametrize("copy", [name for name in COPIES if name != "darker"])
def test_copies_have_nearly_the_same_patches(copy):
    def colours(image):
        return np.frombuffer(base64.b64decode(patches(fit(image, BUDGETS[1]))), np.uint8)

    for each in drawn(12):
        step = colours(each).astype(int) - colours(COPIES[copy](each))
        assert np.abs(step).max() <= 4


@pytest.mark.parametrize("noise", [0, 5])
def test_flat_pictures_have_no_difference_hash(noise):
    rng = np.random.default_rng(1)
    for grey in (20, 128, 240):
        values = grey + rng.normal(0, noise, (480, 640, 3)) if noise else grey
        assert dhash(np.broadcast_to(values, (480, 640, 3)).astype(np.uint8)) is None


def test_a_lone_small_thing_is_too_little_for_a_difference_hash():
    image = Image.new("RGB", (640, 480), "white")
    image.paste("black", (300, 200, 340, 240))
    assert dhash(np.array(image)) is None
