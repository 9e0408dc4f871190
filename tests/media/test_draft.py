"""JPEGs that are reduced while they are decoded: against Pillow called the plain way."""

import numpy as np
import pytest
from PIL import Image
from support.images import item_of, scene

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.types import DecodeOptions

LOW = 256 * 32 * 32
SIZE = (1600, 1200)  # 7 times LOW, so that half of it suffices and a quarter does not


def decode(path, *, draft=True, max_pixels=LOW):
    options = DecodeOptions(max_pixels, draft=draft)
    [(segment, source)] = media.decode(item_of(path), "", options).segments
    return segment, source.images[0]


def photo(width=SIZE[0], height=SIZE[1]):
    """Soft shapes of several sizes with noise, as photos have."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(0, 5, (height, width, 3))
    for side in (3, 11, 43):
        part = Image.fromarray(rng.integers(0, 80, (side, side, 3), np.uint8))
        pixels += np.asarray(part.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def difference(one, other):
    """The mean difference of two pictures of one size, of 255."""
    assert one.shape == other.shape
    return np.abs(one.astype(int) - other).mean()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_jpeg_is_reduced_before_it_is_resized(tmp_path, mode, progressive):
    path = tmp_path / "a.jpg"
    photo().convert(mode).save(path, quality=90, progressive=progressive)
    drafted, whole = decode(path), decode(path, draft=False)
    height, width, _ = whole[1].shape
    with Image.open(path) as opened:
        opened.draft(None, (SIZE[0] // 2, SIZE[1] // 2))
        assert opened.size == (SIZE[0] // 2, SIZE[1] // 2)
        plain = opened.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(drafted[1], plain)
    assert 0 < difference(drafted[1], whole[1]) < 1
    assert (drafted[0].width, drafted[0].height) == SIZE == (whole[0].width, whole[0].height)
    assert bin(drafted[0].dhash ^ whole[0].dhash).count("1") <= 1


def test_without_draft_all_pixels_are_decoded(tmp_path):
    path = tmp_path / "a.jpg"
    photo().save(path)
    pixels = decode(path, draft=False)[1]
    with Image.open(path) as opened:
        plain = opened.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels, plain)


@pytest.mark.parametrize(
    ("name", "size"),
    [("a.jpg", (1000, 750)), ("a.jpg", (200, 150)), ("a.png", SIZE), ("a.webp", SIZE)],
)
def test_other_pictures_are_the_same_with_and_without(tmp_path, name, size):
    photo(*size).save(tmp_path / name)
    drafted, whole = decode(tmp_path / name), decode(tmp_path / name, draft=False)
    assert drafted[0] == whole[0]
    np.testing.assert_array_equal(drafted[1], whole[1])


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("size", [(1607, 1601), (2001, 700)])
def test_the_size_is_the_whole_one_upright(tmp_path, size, orientation):
    """Reduced to an eighth, sides of 1601 and 1607 pixels are equal."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    scene(*size).save(path, exif=exif)
    for max_pixels in (128**2, LOW):
        drafted, whole = (
            decode(path, draft=draft, max_pixels=max_pixels) for draft in (True, False)
        )
        assert (drafted[0].width, drafted[0].height) == (whole[0].width, whole[0].height)
        assert drafted[1].shape == whole[1].shape
    assert (drafted[0].width, drafted[0].height) == (size if orientation < 5 else size[::-1])


def test_the_missing_part_is_reported_alike(tmp_path):
    path = tmp_path / "a.jpg"
    photo().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    shares = [
        int(decode(path, draft=draft)[0].metadata.damaged.split()[2]) for draft in (True, False)
    ]
    assert abs(shares[0] - shares[1]) <= 1
    assert 20 < shares[0] < 60


def test_a_strip_is_refused_alike(tmp_path):
    path = tmp_path / "a.jpg"
    scene(9000, 40).save(path)
    for draft in (True, False):
        with pytest.raises(MediaError, match="too long a strip: 9000x40 is 225 to 1"):
            decode(path, draft=draft)
    scene(7900, 40).save(path)
    assert decode(path)[1].shape == decode(path, draft=False)[1].shape
