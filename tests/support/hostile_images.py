"""Draws pictures of many formats, damages them by a seed, and builds bombs; nothing is copied.

A damaged picture is known by its number alone: `damaged(number)` gives the same bytes anywhere
that the encoders are the same.
"""

import functools
import io
import random
import struct
import zlib

import cv2
import numpy as np
import pillow_heif
import pylibjxl
from PIL import Image

from support.damage import mutated
from support.raw_files import dng, halves, jpeg

WIDTH, HEIGHT = 61, 47  # odd, so that blocks and passes end within the picture


def scene(mode="RGB"):
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rng = np.random.default_rng(1)
    colours = np.stack([4 * x, 5 * y, 2 * (x + y), 255 - 4 * x], -1) + rng.integers(
        0, 9, (HEIGHT, WIDTH, 4)
    )
    image = Image.fromarray((colours % 256).astype(np.uint8), "RGBA")
    if mode == "I;16":
        return Image.fromarray((colours[..., 0] * 250).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(colours[..., 0].astype(np.float32))
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def encoded(form, mode="RGB", frames=1, **options):
    first = scene(mode)
    if frames > 1:
        turned = [first.rotate(10 * number) for number in range(1, frames)]
        options |= {"save_all": True, "append_images": turned}
    file = io.BytesIO()
    first.save(file, form, **options)
    return file.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


PNG_START = b"\x89PNG\r\n\x1a\n"


def png(width, height, *chunks, depth=8, colour=0, interlaced=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return PNG_START + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def interlaced_png():
    """Adam7 (the PNG specification, section 8), which Pillow reads but does not write."""
    pixels = np.asarray(scene())
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    rows = [
        b"\0" + row.tobytes()
        for x, y, step_x, step_y in [*passes, (0, 1, 1, 2)]
        for row in pixels[y::step_y, x::step_x]
    ]
    data = zlib.compress(b"".join(rows))
    return png(WIDTH, HEIGHT, chunk(b"IDAT", data), colour=2, interlaced=1)


def psd(image, packed=False):
    """A picture without layers (Adobe Photoshop File Formats Specification, 2019)."""
    planes = [np.asarray(image.getchannel(band)) for band in image.getbands()]
    mode = 1 if image.mode == "L" else 3
    sizes = (len(planes), image.height, image.width, 8, mode)
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, *sizes) + bytes(12)
    if not packed:
        return header + b"\0\0" + b"".join(plane.tobytes() for plane in planes)
    rows = [
        b"".join(bytes([len(part) - 1]) + part for part in pieces(row.tobytes(), 128))
        for plane in planes
        for row in plane
    ]
    lengths = b"".join(struct.pack(">H", len(row)) for row in rows)
    return header + b"\0\1" + lengths + b"".join(rows)


def pieces(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


def talkative_png():
    """A picture with all that may stand beside it."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "some words " * 40, zip=True)
    info.add_itxt("Title", "more words", "en", "Title", zip=True)
    return encoded("PNG", pnginfo=info, exif=exif(3), icc_profile=bytes(400), dpi=(72, 72))


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "Maker"
    tags.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    return tags.tobytes()


@functools.cache
def seeds():
    """One small picture of each format and way of writing it, by name."""
    pillow_heif.register_heif_opener()
    return {
        "jpeg": encoded("JPEG"),
        "jpeg progressive": encoded("JPEG", progressive=True),
        "jpeg grey": encoded("JPEG", "L"),
        "jpeg cmyk": encoded("JPEG", "CMYK"),
        "jpeg turned": encoded("JPEG", exif=exif(6)),
        "jpeg restarts": encoded("JPEG", restart_marker_blocks=2, subsampling=2),
        "mpo": encoded("MPO", frames=2),
        "png 1 bit": encoded("PNG", "1"),
        "png 8 bit": encoded("PNG"),
        "png alpha": encoded("PNG", "RGBA"),
        "png grey alpha": encoded("PNG", "LA"),
        "png palette": encoded("PNG", "P", transparency=3),
        "png 2 bit palette": encoded("PNG", "P", bits=2),
        "png 16 bit": encoded("PNG", "I;16"),
        "png interlaced": interlaced_png(),
        "png talkative": talkative_png(),
        "apng": encoded("PNG", frames=3),
        "webp": encoded("WEBP"),
        "webp alpha": encoded("WEBP", "RGBA", exif=exif(8)),
        "webp lossless": encoded("WEBP", "RGBA", lossless=True),
        "webp animated": encoded("WEBP", frames=3),
        "gif": encoded("GIF", "P", interlace=1),
        "gif animated": encoded("GIF", frames=3, duration=50),
        "bmp": encoded("BMP"),
        "bmp palette": encoded("BMP", "P"),
        "bmp 1 bit": encoded("BMP", "1"),
        "dib": encoded("DIB", "RGBA"),
        "tiff": encoded("TIFF", exif=exif(5)),
        "tiff lzw": encoded("TIFF", compression="tiff_lzw"),
        "tiff deflate": encoded("TIFF", "CMYK", compression="tiff_adobe_deflate"),
        "tiff jpeg": encoded("TIFF", compression="jpeg"),
        "tiff packbits": encoded("TIFF", "P", compression="packbits"),
        "tiff fax": encoded("TIFF", "1", compression="group4"),
        "tiff 16 bit": encoded("TIFF", "I;16"),
        "tiff float": encoded("TIFF", "F"),
        "tiff big": encoded("TIFF", big_tiff=True),
        "tiff pages": encoded("TIFF", frames=3, compression="tiff_lzw"),
        "avif": encoded("AVIF", speed=10),
        "avif alpha": encoded("AVIF", "RGBA", speed=10),
        "avif animated": encoded("AVIF", frames=2, speed=10),
        "heic": encoded("HEIF"),
        "heic alpha": encoded("HEIF", "RGBA"),
        "heic images": encoded("HEIF", frames=2),
        "jpeg xl.jxl": pylibjxl.encode(np.asarray(scene())),
        "jpeg xl alpha.jxl": pylibjxl.encode(np.asarray(scene("RGBA")), lossless=True),
        "jpeg xl of jpeg.jxl": pylibjxl.jpeg_to_jxl(encoded("JPEG", exif=exif(6))),
        "raw.dng": dng(WIDTH + 3, HEIGHT + 1),
        "raw with preview.dng": dng(WIDTH + 3, HEIGHT + 1, 6, jpeg(halves(200, 150))),
        "jpeg 2000": encoded("JPEG2000"),
        "jpeg 2000 alpha": encoded("JPEG2000", "RGBA", quality_layers=[20]),
        "jpeg 2000 stream": encoded("JPEG2000", "L", no_jp2=True),
        "jpeg 2000 16 bit": cv2.imencode(".jp2", 257 * np.uint16(scene()))[1].tobytes(),
        "tga.tga": encoded("TGA", "RGBA"),
        "tga packed.tga": encoded("TGA", compression="tga_rle"),
        "tga palette.tga": encoded("TGA", "P"),
        "psd": psd(scene()),
        "psd packed": psd(scene("RGBA"), packed=True),
        "ico": encoded("ICO", "RGBA", sizes=[(16, 16), (48, 32)]),
        "ico of bitmaps": encoded("ICO", sizes=[(16, 16), (48, 32)], bitmap_format="bmp"),
        "dds": encoded("DDS", "RGBA"),
        "dds packed": encoded("DDS", "RGBA", pixel_format="DXT5"),
        "dds two planes": encoded("DDS", pixel_format="BC5"),
        "pbm": encoded("PPM", "1"),
        "pgm": encoded("PPM", "L"),
        "ppm": encoded("PPM"),
        "pfm": encoded("PPM", "F"),
        "ppm of words": b"P3 4 2 255 " + b"9 80 200 " * 8,
    }


def damaged(number):
    """Return the name of a seed and its bytes after one to three mutations."""
    rng = random.Random(f"hostile picture {number}")
    names = list(seeds())
    name = names[number % len(names)]
    data = mutated(seeds()[name], rng, list(seeds().values()))
    if data.startswith(PNG_START) and rng.random() < 0.7:
        data = with_right_sums(data)  # or nearly all of it would be refused by its checksums
    return name, bytes(data)


def with_right_sums(data):
    """Give every chunk of a PNG the checksum of what it holds now."""
    fixed, place = bytearray(data), len(PNG_START)
    while place + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, place)
        end = place + 8 + length
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[place + 4 : end]))
        place = end + 4
    return fixed


def many_frames_gif(count):
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + frame * count + b";"


def many_frames_png(count):
    control = chunk(b"acTL", struct.pack(">II", count, 0))
    first = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 4, 4, 0, 0, 1, 10, 0, 0))
    pixels = zlib.compress(bytes(4 * 5))
    frames = [
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * n + 1, 4, 4, 0, 0, 1, 10, 0, 0))
        + chunk(b"fdAT", struct.pack(">I", 2 * n + 2) + pixels)
        for n in range(count - 1)
    ]
    return png(4, 4, control, first, chunk(b"IDAT", pixels), *frames)


def tiff_directory(entries, following):
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


def grey_pixel_entries(pixel_offset):
    return [
        (256, 4, 1, 1),
        (257, 4, 1, 1),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, pixel_offset),
        (277, 3, 1, 1),
        (278, 4, 1, 1),
        (279, 4, 1, 1),
    ]


def many_directories_tiff(count):
    entries = grey_pixel_entries(8)
    size = 2 + 12 * len(entries) + 4
    directories = [
        tiff_directory(entries, 12 + size * (n + 1) if n + 1 < count else 0) for n in range(count)
    ]
    return b"II*\0" + struct.pack("<I", 12) + b"\x80\0\0\0" + b"".join(directories)


def looping_tiff():
    return (
        b"II*\0" + struct.pack("<I", 12) + b"\x80\0\0\0" + tiff_directory(grey_pixel_entries(8), 12)
    )


def many_entries_tiff(count):
    """A directory of as many entries as it may have, each a list of 16 million numbers."""
    entries = [
        *grey_pixel_entries(8),
        *((40_000 + n % 9_000, 1, 2**24, 8) for n in range(count - 9)),
    ]
    return b"II*\0" + struct.pack("<I", 12) + b"\x80\0\0\0" + tiff_directory(entries, 0)


def large_webp():
    """A canvas of 16384 x 16384, and of nothing on it."""
    size = (16_383).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size + size
    still = (
        b"VP8L" + struct.pack("<I", 6) + b"\x2f" + struct.pack("<I", 16_383 | 16_383 << 14) + b"\0"
    )
    return b"RIFF" + struct.pack("<I", len(body + still)) + body + still


def large_jpeg():
    data = bytearray(encoded("JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def with_size_claimed(data, side):
    """A HEIF whose `ispe` boxes (ISO/IEC 23008-12) tell another size."""
    changed, place = bytearray(data), data.find(b"ispe")
    while place >= 0:
        struct.pack_into(">II", changed, place + 8, side, side)
        place = data.find(b"ispe", place + 1)
    return bytes(changed)


def large_ico():
    """An icon that claims 16 x 16 pixels, and has a PNG of 30,000 x 30,000."""
    still = png(30_000, 30_000, chunk(b"IDAT", squeezed(1_000_000)))
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(still), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + still


def large_jpeg_2000():
    """A stream whose SIZ marker (ISO/IEC 15444-1, A.5.1) claims 60,000 x 60,000."""
    data = bytearray(seeds()["jpeg 2000 stream"])
    place = data.index(b"\xff\x51") + 6
    struct.pack_into(">IIIIIIII", data, place, *[60_000] * 2, 0, 0, *[60_000] * 2, 0, 0)
    return bytes(data)


def with_numbers(name, place, form, *numbers):
    """A seed with other numbers in a place."""
    data = bytearray(seeds()[name])
    struct.pack_into(form, data, place, *numbers)
    return bytes(data)


def squeezed(count):
    """As many zeros as told, deflated."""
    squeezer = zlib.compressobj(9)
    whole, rest = divmod(count, 1 << 20)
    blocks = [squeezer.compress(bytes(1 << 20)) for _ in range(whole)]
    return b"".join([*blocks, squeezer.compress(bytes(rest)), squeezer.flush()])


def text_bomb():
    return png(4, 4, chunk(b"zTXt", b"Comment\0\0" + squeezed(10**8)))


def international_text_bomb():
    return png(4, 4, chunk(b"iTXt", b"Title\0\1\0en\0\0" + squeezed(10**8)))


def colour_profile_bomb():
    return png(4, 4, chunk(b"iCCP", b"p\0\0" + squeezed(10**8)))


def large_bmp():
    sizes = struct.pack("<iiHHIIiiII", 2**30, 2**30, 1, 24, *[0] * 6)
    return b"BM" + struct.pack("<IIII", 54, 0, 54, 40) + sizes


def endless_png():
    """A whole picture whose pixels' chunk claims four gigabytes."""
    data = bytearray(seeds()["png 8 bit"])
    struct.pack_into(">I", data, data.index(b"IDAT") - 4, 2**32 - 1)
    return bytes(data)


BOMBS = {  # small files that ask for much
    "pixels.png": lambda: png(30_000, 30_000, chunk(b"IDAT", squeezed(50_000_000))),
    "endless.png": endless_png,
    "text.png": text_bomb,
    "title.png": international_text_bomb,
    "profile.png": colour_profile_bomb,
    "frames.apng.png": lambda: many_frames_png(60_000),
    "frames.gif": lambda: many_frames_gif(60_000),
    "directories.tif": lambda: many_directories_tiff(100_000),
    "loop.tif": looping_tiff,
    "entries.tif": lambda: many_entries_tiff(65_535),
    "canvas.webp": large_webp,
    "canvas.gif": lambda: b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6),
    "canvas.bmp": large_bmp,
    "canvas.jpg": large_jpeg,
    "canvas.heic": lambda: with_size_claimed(seeds()["heic"], 60_000),
    "canvas.ico": large_ico,
    "canvas.j2k": large_jpeg_2000,
    "canvas.tga": lambda: with_numbers("tga packed.tga", 12, "<HH", 65_535, 65_535),
    "canvas.psd": lambda: with_numbers("psd", 14, ">II", 30_000, 30_000),
    "channels.psd": lambda: with_numbers("psd", 12, ">H", 56),
    "canvas.dds": lambda: with_numbers("dds", 12, "<II", 65_535, 65_535),
    "canvas.ppm": lambda: b"P6 60000 60000 255 " + bytes(100),
    "words.ppm": lambda: b"P3 6000 6000 255 " + b"1 " * 100_000,
    "icons.ico": lambda: struct.pack("<HHH", 0, 1, 65_535) + bytes([9, 9, *bytes(14)] * 65_535),
    "canvas.avif": lambda: with_size_claimed(seeds()["avif"], 60_000),
}
