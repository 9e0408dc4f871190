"""Profiles of colours in our own bytes (ICC.1:2001-04)."""

import struct

# red, green and blue of an ICC profile (XYZ, D50) and its gamma, as Adobe, Kodak and Apple publish
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), 2.2)
PROPHOTO = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249), 1.8)
P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407), 2.2)
LINEAR = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141), 1.0)


def icc(space, tags):
    """An ICC profile of version 2 with these tags (name, content)."""
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    connection = b"Lab " if space == b"CMYK" else b"XYZ "
    head = struct.pack(
        ">I4s4s4s4s4s",
        start + len(body),
        b"",
        b"\2\x40\0\0",
        b"mntr" if space != b"CMYK" else b"prtr",
        space,
        connection,
    )
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def rgb_tags(red, green, blue, gamma):
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))
    tags = [
        (b"wtpt", xyz((0.9642, 1, 0.8249))),
        (b"rXYZ", xyz(red)),
        (b"gXYZ", xyz(green)),
        (b"bXYZ", xyz(blue)),
    ]
    return [*tags, (b"rTRC", curve), (b"gTRC", curve), (b"bTRC", curve)]


def rgb_profile(red, green, blue, gamma):
    return icc(b"RGB ", rgb_tags(red, green, blue, gamma))
