"""Pages, drawn as programs and scanners make them, against scenes."""

import io
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from qvsearch.demo.world import draw, random_scene
from qvsearch.media.pixels import fit, is_page

MEDIUM = 768 * 32 * 32
WORDS = [
    "please",
    "find",
    "enclosed",
    "the",
    "invoice",
    "of",
    "our",
    "tea",
    "party",
    "on",
    "May",
    "12",
]
THEMES = {
    "light": ((255, 255, 255), (0, 0, 0)),
    "dark": ((28, 28, 32), (225, 225, 225)),
    "sepia": ((244, 236, 216), (70, 50, 30)),
    "terminal": ((0, 0, 0), (80, 220, 80)),
}


def written(theme="light", size=20, width=900, height=1200, lines=1000):
    ground, ink = THEMES[theme]
    image = Image.new("RGB", (width, height), ground)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    rng = np.random.default_rng(size)
    for y in range(height // 12, height * 11 // 12, size * 3 // 2)[:lines]:
        words = " ".join(rng.permutation(WORDS))
        pen.text((width // 12, y), words[: int(width * 0.8 / size * 2)], fill=ink, font=font)
    return image


@lru_cache(60)  # those of the largest size are compared as JPEG too
def scene(size=640, seed=5):
    rng = np.random.default_rng(seed)
    return Image.fromarray(draw(random_scene(rng), rng, size, size))


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def scanned(image, noise=6):
    """Yellow paper, unevenly lit, not quite straight, not quite sharp."""
    light = np.linspace(0.85, 1, image.width)[None, :, None] * np.array([238, 226, 195])
    values = np.asarray(image) / 255 * light
    values += np.random.default_rng(1).normal(0, noise, values.shape)
    paper = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    turned = paper.rotate(1, Image.Resampling.BICUBIC, fillcolor=(230, 220, 190))
    return jpeg(turned.filter(ImageFilter.GaussianBlur(0.7)), 75)


def tells(image):
    return is_page(fit(image, MEDIUM))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", [12, 20, 40])
def test_text_of_any_size_and_colour(theme, size):
    assert tells(written(theme, size))
    assert tells(jpeg(written(theme, size), 40))
    assert tells(written(theme, size, 800, 600))


@pytest.mark.parametrize("noise", [3, 9])
def test_a_scanned_page(noise):
    assert tells(scanned(written(size=28, width=1654, height=2339), noise))


def test_a_letter_of_a_few_lines():
    assert tells(written(lines=6))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_chat_with_a_photo_in_it(theme):
    page = written(theme, 24)
    page.paste(scene(400), (100, 100))
    assert tells(page)


def test_a_sheet_of_numbers():
    page = Image.new("RGB", (1200, 800), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for y in range(0, 800, 20):
        pen.line((0, y, 1200, y), fill=(210, 210, 210))
        for x in range(0, 1200, 80):
            pen.text((x + 5, y + 3), str(x * y), fill="black", font=font)
    assert tells(page)


def test_a_chart():
    page = written(lines=2)
    pen = ImageDraw.Draw(page)
    pen.rectangle((100, 300, 800, 1000), outline="black", width=3)
    pen.line([(x, 650 + 300 * np.sin(x / 40)) for x in range(100, 800)], fill="blue", width=3)
    for y in range(300, 1000, 20):
        pen.line((100, y, 800, y), fill=(60, 60, 60))
    assert tells(page)


@pytest.mark.parametrize("size", [128, 256, 640])
def test_the_demos_scenes_are_none(size):
    assert not any(tells(scene(size, seed)) for seed in range(60))


@pytest.mark.parametrize("quality", [60, 92])
def test_a_scene_as_jpeg_is_none(quality):
    assert not any(tells(jpeg(scene(640, seed), quality)) for seed in range(20))


def light_on(values, noise):
    noisy = values + np.random.default_rng(0).normal(0, noise, (*values.shape[:2], 3))
    return jpeg(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), 88)


@pytest.mark.parametrize("noise", [0, 2, 6])
def test_sky_wall_snow_and_night_are_none(noise):
    down = np.linspace(0, 1, 768)[:, None, None] * np.ones((1, 1024, 3))
    stars = (np.random.default_rng(3).random((768, 1024, 1)) > 0.999) * 220.0 + 8
    assert not tells(light_on(np.array([90, 140, 220]) + 90 * down, noise))
    assert not tells(light_on(225 - 40 * down, noise))
    assert not tells(light_on(np.full((768, 1024, 3), 243.0), noise))
    assert not tells(light_on(stars, noise))


def test_a_thing_on_white_is_none():
    picture = Image.new("RGB", (1000, 1000), "white")
    mask = Image.new("L", (1000, 1000))
    ImageDraw.Draw(mask).ellipse((250, 300, 750, 700), fill=255)
    picture.paste(scene(1000), mask=mask.filter(ImageFilter.GaussianBlur(2)))
    assert not tells(picture)


@pytest.mark.parametrize("colour", ["white", "black", "red"])
def test_one_colour_is_none(colour):
    assert not tells(Image.new("RGB", (64, 64), colour))
