"""Files of Photoshop in our own bytes: the header, resources, and the merged picture."""

import struct

import numpy as np

BITMAP, GREY, RGB, CMYK = 0, 1, 3, 4  # modes


def packed(row):
    """A row as PackBits, of literal runs alone."""
    runs = (row[start : start + 128] for start in range(0, len(row), 128))
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def psd(channels, mode=RGB, layers=None, resources=None, pack=True, keys=()):
    """A file of these channels (n, h, w), whose type is that of its numbers.

    A byte of a bitmap has eight pixels. `layers` is the number of layers as it is written, None for
    a flat picture. `keys` are those of blocks behind the layers, with some bytes in each.
    """
    count, height, width = channels.shape
    depth = 8 * channels.itemsize
    if mode == BITMAP:
        depth, width = 1, 8 * width
    data = channels.astype(channels.dtype.newbyteorder(">"))
    blocks = b""
    for number, block in (resources or {}).items():
        blocks += b"8BIM" + struct.pack(">HHI", number, 0, len(block)) + block
        blocks += bytes(len(block) % 2)
    information = b"" if layers is None else struct.pack(">Ih", 2, layers)
    if keys:
        information = information or bytes(4)
        information += bytes(4) + b"".join(
            b"8BIM" + key + struct.pack(">I", 5) + b"5 BIM" + bytes(3) for key in keys
        )
    rows = [row.tobytes() for channel in data for row in channel]
    if pack:
        rows = [packed(row) for row in rows]
    return b"".join(
        [
            b"8BPS" + struct.pack(">H6xHIIHH", 1, count, height, width, depth, mode),
            struct.pack(">I", 0),
            struct.pack(">I", len(blocks)) + blocks,
            struct.pack(">I", len(information)) + information,
            struct.pack(">H", pack),
            *(struct.pack(">H", len(row)) for row in rows if pack),
            *rows,
        ]
    )


def gradients(count, height=96, width=160):
    """Channels (n, h, w) of 8 bits that are unlike each other."""
    y, x = np.mgrid[:height, :width]
    plains = [x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)]
    return np.stack([np.roll(plains[n % 3], 20 * n) for n in range(count)]).astype(np.uint8)
