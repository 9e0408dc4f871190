"""Raw files in our own bytes: a DNG (1.4) of a Bayer sensor, and the NEF of a film scanner."""

import io
import struct

import numpy as np
from PIL import Image

RED, BLUE = (230, 40, 30), (30, 40, 230)
FORMS = {1: "B", 3: "H", 4: "I"}
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8}


def halves(width, height):
    """A picture whose upper half is red and whose lower half is blue."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = RED, BLUE
    return pixels


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def mosaic(pixels):
    """The values of a sensor with the pattern RGGB, 16 bits, little-endian."""
    red, green, blue = np.moveaxis(pixels.astype("<u2") * 200, -1, 0)
    values = green.copy()
    values[::2, ::2], values[1::2, 1::2] = red[::2, ::2], blue[1::2, 1::2]
    return values.tobytes()


def directory(tags, start):
    """A directory of TIFF at an offset, and its long values: (type, bytes) by tag."""
    entries, values = b"", b""
    behind = start + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        kind, data = tags[tag]
        entries += struct.pack("<HHI", tag, kind, len(data) // SIZES[kind])
        if len(data) <= 4:
            entries += data.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", behind + len(values))
            values += data + bytes(len(data) % 2)
    return struct.pack("<H", len(tags)) + entries + bytes(4) + values


def number(value, kind=4):
    return kind, struct.pack("<" + FORMS[kind], value)


def fractions(*values):
    return 10, b"".join(struct.pack("<ii", round(10_000 * each), 10_000) for each in values)


def dng(
    width=64,
    height=48,
    orientation=1,
    preview=None,
    pixels=None,
    xmp=None,
    taken=b"2024:05:06 07:08:09",
):
    """A DNG that shows `halves`; `preview` is a JPEG of its own."""
    pixels = halves(width, height) if pixels is None else pixels
    data = mosaic(pixels)
    inner = {0x9003: (2, taken + b"\0")}
    main = {
        **{254: number(0), 256: number(width), 257: number(height), 258: number(16, 3)},
        **{259: number(1, 3), 262: number(32803, 3), 277: number(1, 3), 278: number(height)},
        **{279: number(len(data)), 33421: (3, struct.pack("<HH", 2, 2)), 33422: (1, b"\0\1\1\2")},
        **{271: (2, b"Leica\0"), 272: (2, b"M11\0"), 274: number(orientation, 3)},
        **{50706: (1, b"\1\4\0\0"), 50707: (1, b"\1\1\0\0"), 50708: (2, b"Leica M11\0")},
        **{50721: fractions(1, 0, 0, 0, 1, 0, 0, 0, 1), 50728: fractions(1, 1, 1)},
        **{50714: number(0), 50717: number(51_000), 50778: number(21, 3)},
        **{273: number(0), 34665: number(0)},
    }
    if preview is not None:
        main[330] = number(0)
    if xmp is not None:
        main[700] = (1, xmp)
    exif_place = 8 + len(directory(main, 8))
    behind = exif_place + len(directory(inner, exif_place))
    parts = [directory(inner, exif_place)]
    if preview is not None:
        with Image.open(io.BytesIO(preview)) as image:
            wide, high = image.size
        smaller = {
            **{254: number(1), 256: number(wide), 257: number(high), 259: number(7, 3)},
            **{258: (3, struct.pack("<HHH", 8, 8, 8)), 262: number(6, 3), 277: number(3, 3)},
            **{273: number(0), 278: number(high), 279: number(len(preview))},
        }
        main[330] = number(behind)
        smaller[273] = number(behind + len(directory(smaller, behind)))
        parts += [directory(smaller, behind), preview]
    main[34665] = number(exif_place)
    main[273] = number(exif_place + sum(map(len, parts)))
    return b"II*\0" + struct.pack("<I", 8) + directory(main, 8) + b"".join(parts) + data


def scan(pixels):
    """The NEF of a film scanner: a small picture, and in a directory of its own the whole one."""

    def described(shown, kind):
        height, width, _ = shown.shape
        return {
            **{254: number(kind), 256: number(width), 257: number(height), 259: number(1, 3)},
            **{258: (3, struct.pack("<HHH", 8, 8, 8)), 262: number(2, 3), 277: number(3, 3)},
            **{273: number(0), 278: number(height), 279: number(shown.size), 284: number(1, 3)},
        }

    small = pixels[::4, ::4]
    main, whole = described(small, 1), described(pixels, 0)
    main |= {271: (2, b"Nikon\0"), 272: (2, b"Nikon COOLSCAN IV ED\0"), 274: number(1, 3)}
    main[330] = number(0)
    place = 8 + len(directory(main, 8))
    behind = place + len(directory(whole, place))
    main[330], main[273] = number(place), number(behind)
    whole[273] = number(behind + small.size)
    directories = directory(main, 8) + directory(whole, place)
    return b"II*\0" + struct.pack("<I", 8) + directories + small.tobytes() + pixels.tobytes()
