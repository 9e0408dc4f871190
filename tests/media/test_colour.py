"""Colours that are not sRGB: what a file names comes out as the colours that it shows."""

import io
import os
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pillow_heif
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageCms
from support.icc_profiles import ADOBE, LINEAR, P3, PROPHOTO, icc, rgb_profile, rgb_tags, xyz

from qvsearch import media
from qvsearch.demo.world import Scene, Thing, draw
from qvsearch.media.colour import MAX_PROFILE, coded, read_colours
from qvsearch.media.pixels import fit
from qvsearch.types import DecodeOptions, EmbedInput, Item, kind_of

LOW = 256 * 32 * 32
QUAD = ((220, 30, 30), (30, 180, 40), (30, 40, 200), (250, 250, 250))


def quad(width=192, height=128):
    pixels = np.zeros((height, width, 3), np.uint8)
    halves = [
        (slice(0, height // 2), slice(height // 2, None)),
        (slice(0, width // 2), slice(width // 2, None)),
    ]
    for number, colour in enumerate(QUAD):
        pixels[halves[0][number // 2], halves[1][number % 2]] = colour
    return pixels


def quarters(pixels):
    height, width, _ = pixels.shape
    return [
        tuple(map(int, pixels[y, x]))
        for y in (height // 4, 3 * height // 4)
        for x in (width // 4, 3 * width // 4)
    ]


def as_profile(pixels, profile):
    """Pixels of sRGB in the colours of a profile, by lcms."""
    theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(Image.fromarray(pixels), srgb, theirs, 1)


def decode(path):
    status = os.stat(path)
    kind = kind_of(os.fsencode(path))
    item = Item(os.fsencode(path), b"", kind, status.st_size, status.st_mtime_ns)
    source = media.decode(item, "", DecodeOptions(LOW)).segments[0][1]
    return source.images[0]


def changes(path):
    with path.open("rb") as file, Image.open(file) as image:
        return read_colours(image, file) is not None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {"quality": 95, "subsampling": 0}),
        ("a.png", {}),
        ("a.webp", {"lossless": True}),
        ("a.tif", {}),
        ("a.avif", {"quality": 100, "subsampling": "4:4:4"}),
        ("a.heic", {"quality": 95}),
    ],
)
@pytest.mark.parametrize(
    "colours", [ADOBE, PROPHOTO, P3, LINEAR], ids=["adobe", "prophoto", "p3", "linear"]
)
def test_a_picture_with_a_profile_shows_its_colours(tmp_path, name, options, colours):
    pillow_heif.register_heif_opener()
    profile = rgb_profile(*colours)
    stored = as_profile(quad(), profile)
    assert np.abs(np.asarray(stored).astype(int) - quad()).max() > 15
    stored.save(tmp_path / name, icc_profile=profile, **options)
    assert changes(tmp_path / name)
    # an error of 1 in dark linear light is one of 13 in sRGB
    within = 20 if colours is LINEAR and name == "a.avif" else 8
    np.testing.assert_allclose(quarters(decode(tmp_path / name)), QUAD, atol=within)


def rec2100_profile(transfer):
    """A profile that names its codes, as systems write it for HDR beside curves of no use."""
    codes = (b"cicp", b"cicp\0\0\0\0" + bytes([9, transfer, 0, 1]))
    return icc(b"RGB ", [codes, *rgb_tags(*P3)])


@pytest.mark.parametrize("transfer", [16, 18])
def test_a_profile_of_high_dynamic_range(tmp_path, transfer):
    stored = Image.fromarray(as_8_bit(in_bt2020(quad(), transfer)))
    stored.save(tmp_path / "a.png", icc_profile=rec2100_profile(transfer))
    np.testing.assert_allclose(quarters(decode(tmp_path / "a.png"))[:3], QUAD[:3], atol=15)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_greys_with_a_profile(tmp_path, mode):
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 256)  # light itself
    profile = icc(b"GRAY", [(b"wtpt", xyz((0.9642, 1, 0.8249))), (b"kTRC", curve)])
    Image.new(mode, (64, 64), 55 if mode == "L" else (55, 255)).save(
        tmp_path / "a.png", icc_profile=profile
    )
    assert changes(tmp_path / "a.png")
    np.testing.assert_allclose(decode(tmp_path / "a.png")[9, 9], (128, 128, 128), atol=2)
    Image.new("RGB", (64, 64), QUAD[0]).save(tmp_path / "b.png", icc_profile=profile)
    assert not changes(tmp_path / "b.png")  # a profile for other pixels
    assert tuple(decode(tmp_path / "b.png")[9, 9]) == QUAD[0]


def press_profile():
    """A profile of four inks on paper: cyan is that of offset printing, black hides the others."""
    inks = {(0, 0, 0): (255, 128, 128), (1, 0, 0): (140, 91, 78)}  # L of 100 as 255, a and b + 128
    corners = np.array(
        [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    )
    clut = [
        (0, 128, 128) if k else inks.get((c, m, y), (90, 128, 128))
        for c, m, y, k in corners.tolist()
    ]
    identity = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel().tolist())
    ramp = bytes(range(256))
    table = (
        b"mft1\0\0\0\0"
        + bytes([4, 3, 2, 0])
        + identity
        + 4 * ramp
        + bytes(np.uint8(clut))
        + 3 * ramp
    )
    return icc(b"CMYK", [(b"wtpt", xyz((0.9642, 1, 0.8249))), (b"A2B0", table), (b"A2B1", table)])


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_with_a_profile(tmp_path, name):
    cyan = Image.new("CMYK", (64, 64), (255, 0, 0, 0))
    cyan.save(tmp_path / name)
    assert not changes(tmp_path / name)
    np.testing.assert_allclose(decode(tmp_path / name)[9, 9], (0, 255, 255), atol=3)
    cyan.save(tmp_path / name, icc_profile=press_profile())
    assert changes(tmp_path / name)
    # what ECI and SWOP give as the screen's colour of this Lab (55, -37, -50)
    np.testing.assert_allclose(decode(tmp_path / name)[9, 9], (0, 146, 218), atol=12)
    Image.new("RGB", (64, 64), QUAD[0]).save(tmp_path / "b.png", icc_profile=press_profile())
    assert tuple(decode(tmp_path / "b.png")[9, 9]) == QUAD[0]


def srgb_profiles():
    lcms = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "lcms": lcms,
        "none": b"",
        "noise": np.random.default_rng(1).bytes(3000),
        "cut": rgb_profile(*ADOBE)[:300],
        "head": rgb_profile(*ADOBE)[:128] + b"\xff\xff\xff\xff" + rgb_profile(*ADOBE)[132:],
        "long": rgb_profile(*ADOBE) + bytes(MAX_PROFILE),
    }


@pytest.mark.parametrize("kind", srgb_profiles())
def test_srgb_and_broken_profiles_change_not_a_bit(tmp_path, kind):
    profile = srgb_profiles()[kind]
    Image.fromarray(quad(200, 150)).save(tmp_path / "plain.jpg")
    Image.fromarray(quad(200, 150)).save(tmp_path / "tagged.jpg", icc_profile=profile)
    assert not changes(tmp_path / "tagged.jpg")
    plain, tagged = decode(tmp_path / "plain.jpg"), decode(tmp_path / "tagged.jpg")
    np.testing.assert_array_equal(tagged, plain)
    with Image.open(tmp_path / "tagged.jpg") as image:
        np.testing.assert_array_equal(tagged, fit(image, LOW))


def test_damaged_profiles_change_nothing_else():
    rng = np.random.default_rng(5)
    outcomes = set()
    profiles = ((rgb_profile(*PROPHOTO), 100), (rec2100_profile(16), 100), (press_profile(), 15))
    for good, count in profiles:
        for _ in range(count):
            damaged = np.frombuffer(good, np.uint8).copy()
            at = rng.integers(0, len(damaged) if rng.random() < 0.3 else 260, rng.integers(1, 20))
            damaged[at] = rng.integers(0, 256, len(at))
            image = Image.new("CMYK" if b"CMYK" in good else "RGB", (64, 64), 1)
            image.info["icc_profile"] = damaged.tobytes()
            colours = read_colours(image, io.BytesIO())
            outcomes.add(colours is None)
            assert fit(image, LOW, colours=colours).shape == (64, 64, 3)
    assert outcomes == {True, False}


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(path, pixels, *chunks):
    """Write a PNG with chunks before its pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    path.write_bytes(data[:33] + b"".join(chunks) + data[33:])
    return path


def gama(value):
    return chunk(b"gAMA", struct.pack(">I", round(100_000 * value)))


def chrm(*points):
    return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in points)))


def cicp(primaries, transfer):
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


SRGB_POINTS = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3_POINTS = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
BT2020_TO_SRGB = np.array(  # ITU-R BT.2087, the matrix of its annex
    [[1.6605, -0.5877, -0.0728], [-0.1246, 1.1330, -0.0084], [-0.0182, -0.1006, 1.1187]]
)


def light_of(pixels):
    """The light of sRGB, white being 1."""
    values = pixels / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def in_bt2020(pixels, transfer):
    """Pixels of sRGB as PQ (16), HLG (18) or plain (8) light of BT.2020, from 0 to 1.

    White is of 203 nits, as ITU-R BT.2408 has it; the curves are those of BT.2100.
    """
    light = np.clip(light_of(pixels) @ np.linalg.inv(BT2020_TO_SRGB).T, 0, None)
    if transfer == 16:
        power = (light * 203 / 10_000) ** (2610 / 16384)
        return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    if transfer == 18:
        screen = light * 0.203
        luminance = screen @ [[0.2627], [0.678], [0.0593]]
        scene = screen * np.maximum(luminance, 1e-6) ** (-0.2 / 1.2)
        logarithm = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithm)
    return light


def test_the_curves_have_the_standards_own_levels():
    white = np.full((1, 1, 3), 255)
    assert in_bt2020(white, 16)[0, 0, 0] == pytest.approx(0.58, abs=0.005)  # BT.2408, table 1
    assert in_bt2020(white, 18)[0, 0, 0] == pytest.approx(0.75, abs=0.005)


def as_8_bit(values):
    return np.rint(255 * values).astype(np.uint8)


@pytest.mark.parametrize(
    ("stored", "chunks", "within"),
    [
        (as_8_bit(light_of(quad())), [gama(1.0)], 8),
        (as_8_bit(light_of(quad())), [gama(1.0), chrm(*SRGB_POINTS)], 8),
        (as_8_bit(light_of(quad())), [cicp(1, 8)], 8),
        (as_8_bit(light_of(quad()) ** (1 / 1.8)), [gama(1 / 1.8)], 2),
        (as_8_bit(in_bt2020(quad(), 16)), [cicp(9, 16)], 15),
        (as_8_bit(in_bt2020(quad(), 18)), [cicp(9, 18)], 15),
        (as_8_bit(in_bt2020(quad(), 16)), [gama(1 / 2.2), cicp(9, 16)], 15),
    ],
)
def test_a_png_with_chunks_of_its_own(tmp_path, stored, chunks, within):
    path = png(tmp_path / "a.png", stored, *chunks)
    assert changes(path)
    np.testing.assert_allclose(quarters(decode(path)), QUAD, atol=within)


def test_wide_colours_of_a_png(tmp_path):
    """By its chunks the same as by its profile."""
    Image.fromarray(quad()).save(tmp_path / "icc.png", icc_profile=rgb_profile(*P3))
    by_profile = quarters(decode(tmp_path / "icc.png"))
    assert by_profile[0][0] > QUAD[0][0] + 10
    for chunks in ([chrm(*P3_POINTS)], [chrm(*P3_POINTS), gama(1 / 2.2)], [cicp(12, 13)]):
        path = png(tmp_path / "a.png", quad(), *chunks)
        np.testing.assert_allclose(quarters(decode(path)), by_profile, atol=6)


@pytest.mark.parametrize(
    "chunks",
    [
        [gama(1 / 2.2), chrm(*SRGB_POINTS)],
        [gama(0.4545)],
        [chunk(b"sRGB", b"\0"), gama(1.0)],
        [cicp(1, 13), gama(1.0)],
        [cicp(1, 1)],
        [cicp(2, 2)],
        [gama(0)],
        [gama(20_000)],
        [chrm(*[0] * 8)],
        [chrm(*[1 / 3] * 8)],
        [chunk(b"cICP", b"\1\10")],
    ],
)
def test_a_png_that_is_shown_as_srgb_changes_not_a_bit(tmp_path, chunks):
    path = png(tmp_path / "a.png", quad(), *chunks)
    assert not changes(path)
    np.testing.assert_array_equal(decode(path), quad())


def test_a_png_of_endless_chunks_is_read_no_further(tmp_path):
    path = png(tmp_path / "a.png", quad(), *[chunk(b"teSt", b"")] * 300, cicp(9, 16))
    assert not changes(path)


@pytest.mark.parametrize("name", ["a.heic", "a.avif"])
@pytest.mark.parametrize("transfer", [16, 18])
def test_a_picture_of_high_dynamic_range(tmp_path, name, transfer):
    pillow_heif.register_heif_opener()
    path = tmp_path / name
    stored = in_bt2020(quad(), transfer)
    if name == "a.heic":
        deep = np.rint(65535 * stored).astype(np.uint16)
        heif = pillow_heif.from_bytes("RGB;16", (192, 128), deep.tobytes())
        codes = {
            "color_primaries": 9,
            "transfer_characteristics": transfer,
            "matrix_coefficients": 9,
        }
        heif.save(path, quality=95, chroma=444, full_range_flag=1, **codes)
    else:
        write_film(path, [stored], transfer, codec="libsvtav1", form="avif")
    assert changes(path)
    shown = quarters(decode(path))
    np.testing.assert_allclose(shown[0], QUAD[0], atol=15)
    # the AVIF decoder's 8 bits are coarse where sRGB has nearly no light
    np.testing.assert_allclose(shown[1:], QUAD[1:], atol=30 if name == "a.avif" else 20)


OPTIONS = {
    "libx265": {"x265-params": "log-level=none", "preset": "ultrafast", "crf": "5"},
    "libsvtav1": {"crf": "5"},
    "prores_ks": {},
}


def write_film(path, frames, transfer, primaries=9, codec="libx265", form="mp4"):
    """Encode frames of values from 0 to 1 with 10 bits, by BT.2020's matrix."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=Fraction(5), options=OPTIONS[codec])
        stream.height, stream.width, _ = frames[0].shape
        stream.pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc = primaries, transfer
        context.colorspace, context.color_range = 9, 1
        for values in frames:
            deep = np.rint(65535 * values).astype(np.uint16)
            frame = av.VideoFrame.from_ndarray(deep, "rgb48le").reformat(
                format=stream.pix_fmt,
                dst_colorspace=Colorspace.BT2020,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )
            frame.color_primaries, frame.color_trc = primaries, transfer
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("a.mp4", "mp4", "libx265"),
        ("a.mov", "mov", "prores_ks"),
        ("a.webm", "webm", "libsvtav1"),
        ("a.mkv", "matroska", "libsvtav1"),
    ],
)
def test_a_film_of_high_dynamic_range(tmp_path, transfer, name, form, codec):
    path = tmp_path / name
    write_film(path, [in_bt2020(quad(), transfer)] * 10, transfer, codec=codec, form=form)
    np.testing.assert_allclose(quarters(decode(path))[:3], QUAD[:3], atol=15)


def test_a_plain_film_of_wide_colours(tmp_path):
    light = np.clip(light_of(quad()) @ np.linalg.inv(BT2020_TO_SRGB).T, 0, None)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    write_film(tmp_path / "a.mp4", [values] * 10, transfer=14)
    np.testing.assert_allclose(quarters(decode(tmp_path / "a.mp4")), QUAD, atol=12)


@pytest.mark.parametrize("size", [(192, 128), (1280, 720)])
@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601])
@pytest.mark.parametrize("range_", [ColorRange.MPEG, ColorRange.JPEG])
def test_a_plain_film_is_read_by_its_matrix_and_range(tmp_path, size, matrix, range_):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=5, options={"crf": "5", "preset": "ultrafast"}
        )
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = 1 if matrix is Colorspace.ITU709 else 6
        context.color_range = range_
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(quad(*size), "rgb24")
            target = {"dst_colorspace": matrix, "dst_color_range": range_}
            container.mux(stream.encode(frame.reformat(format="yuv420p", **target)))
        container.mux(stream.encode())
    np.testing.assert_allclose(quarters(decode(path)), QUAD, atol=5)


def test_bright_light_stays_below_white_and_in_order():
    greys = np.arange(130, 256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    for transfer in (16, 18):
        shown = np.asarray(coded(9, transfer).to_srgb(Image.fromarray(greys)))[0].astype(int)
        assert (np.diff(shown[:, 0]) >= 0).all()
        assert np.ptp(shown, axis=1).max() <= 1
        assert len(set(shown[:, 0])) > 30


@pytest.mark.parametrize("transfer", [16, 18])
def test_a_scene_of_high_dynamic_range_has_the_vector_of_the_plain_one(
    tmp_path, transfer, demo_embedder
):
    scene = Scene(
        "water", (Thing("bottom right", "circle", "blue"), Thing("middle", "ring", "yellow"))
    )
    drawn = draw(scene, np.random.default_rng(3), 160, 128)
    path = tmp_path / "a.mp4"
    write_film(path, [in_bt2020(drawn, transfer)] * 5, transfer)
    pictures = [drawn, decode(path)]
    plain, shown = demo_embedder.embed([EmbedInput(images=(each,)) for each in pictures])
    assert plain @ shown > 0.98


@pytest.mark.parametrize("transfer", [1, 2, 6, 13, 14])
def test_what_players_show_as_srgb_is_left(transfer):
    for primaries in (1, 2, 5, 6):
        assert coded(primaries, transfer) is None
    assert coded(9, transfer) is not None
