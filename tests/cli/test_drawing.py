"""What a terminal gets decodes to the picture, by decoders of these tests' own."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from support.images import scene
from support.scripted_terminal import (
    TABLE,
    block_picture,
    iterm2_pictures,
    kitty_pictures,
    sixel_pictures,
)

from qvsearch.choices import Pictures
from qvsearch.cli.drawing import draw
from qvsearch.cli.terminal import Screen

SIZES = [(320, 240), (320, 100), (120, 320), (33, 7), (1, 1), (320, 3)]


def webp(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def expected(picture, size):
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS), int)


def drawn(picture, way, cell=(9, 19), colours=256, box=(24, 8)):
    drawing = draw(webp(picture), Screen(way, cell, colours), *box)
    assert 1 <= drawing.columns <= box[0]
    assert 1 <= drawing.rows <= box[1]
    return drawing


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("way", "read"), [(Pictures.KITTY, kitty_pictures), (Pictures.ITERM2, iterm2_pictures)]
)
def test_a_png_is_the_picture_in_its_shape(way, read, size):
    picture = scene(*size)
    drawing = drawn(picture, way)
    [(shown, values)] = read(drawing.data)
    columns, rows = (b"c", b"r") if way is Pictures.KITTY else (b"width", b"height")
    assert (int(values[columns]), int(values[rows])) == (drawing.columns, drawing.rows)
    assert shown.size == (drawing.columns * 9, drawing.rows * 19)  # whole characters
    seen = shown.getbbox()
    assert seen[:2] == (0, 0)
    inner = shown.crop(seen).convert("RGB")
    assert math.isclose(inner.width / size[0], inner.height / size[1], abs_tol=0.51 / min(size))
    assert np.array_equal(np.asarray(inner), expected(picture, inner.size))


@pytest.mark.parametrize("size", SIZES)
def test_sixels_are_the_picture_in_few_colours(size):
    picture = scene(*size)
    drawing = drawn(picture, Pictures.SIXEL)
    [shown] = sixel_pictures(drawing.data)
    assert math.ceil(shown.shape[1] / 9) == drawing.columns
    assert math.ceil(shown.shape[0] / 19) == drawing.rows
    difference = np.abs(shown.astype(int) - expected(picture, shown.shape[1::-1]))
    assert difference.mean() < 12  # of 128 colours


def test_sixels_of_few_colours_are_exact():
    flat = Image.new("RGB", (90, 90), (255, 0, 0))
    flat.paste((0, 0, 255), (0, 0, 45, 90))
    [shown] = sixel_pictures(drawn(flat, Pictures.SIXEL, cell=(10, 20), box=(9, 9)).data)
    assert np.array_equal(shown, expected(flat, shown.shape[1::-1]))


@pytest.mark.parametrize("size", SIZES)
def test_half_blocks_are_the_picture(size):
    picture = scene(*size)
    drawing = drawn(picture, Pictures.BLOCKS, colours=2**24)
    shown = block_picture(drawing.lines)
    assert math.ceil(shown.shape[0] / 2) == drawing.rows == len(drawing.lines)
    assert shown.shape[1] == drawing.columns
    assert np.array_equal(shown, expected(picture, shown.shape[1::-1]))
    assert all(line.endswith(b"\x1b[0m") for line in drawing.lines)


def test_of_256_colours_each_half_block_has_the_nearest():
    picture = scene(320, 240)
    picture.paste(Image.linear_gradient("L").resize((160, 120)).convert("RGB"))
    shown = block_picture(drawn(picture, Pictures.BLOCKS).lines).astype(int)
    wanted = expected(picture, shown.shape[1::-1])
    table = np.array(TABLE)
    nearest = ((wanted[:, :, None] - table) ** 2).sum(-1).min(-1)
    assert np.array_equal(((shown - wanted) ** 2).sum(-1), nearest)
