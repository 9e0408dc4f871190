"""Pictures as the bytes that make a terminal draw them.

Sources: Kitty's "Terminal graphics protocol", iTerm2's "Inline images protocol", and the manual of
the VT340 for sixels.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvsearch.choices import Pictures
from qvsearch.cli.terminal import ALL_COLOURS, Screen

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = 4096  # bytes of base64 in one command of Kitty's protocol
SIXEL_COLOURS = 128  # all terminals with sixels have as many
SIXEL_ROWS = 6  # of pixels in one row of sixels
MOST_ENLARGED = 2.0
RESET = b"\x1b\\\x1b[0m"  # ends any command, and colours


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture for a terminal: its size in characters, and its bytes.

    `lines` are those of half blocks, one a line; else `data` is drawn below and right of the
    cursor.
    """

    columns: int
    rows: int
    data: bytes = b""
    lines: tuple[bytes, ...] = ()


def draw(webp: bytes, screen: Screen, columns: int, rows: int) -> Drawing:
    """Return a picture that fits in a box of characters; raises OSError if it cannot be read."""
    from PIL import Image

    picture = Image.open(io.BytesIO(webp)).convert("RGB")
    if screen.way is Pictures.BLOCKS:
        # half a character is about a square
        picture = _fitted(picture, columns, 2 * rows)
        lines = tuple(_block_lines(picture, all_colours=screen.colours == ALL_COLOURS))
        return Drawing(picture.width, len(lines), lines=lines)
    width, height = screen.cell
    picture = _fitted(picture, columns * width, rows * height)
    columns, rows = math.ceil(picture.width / width), math.ceil(picture.height / height)
    if screen.way is Pictures.SIXEL:
        return Drawing(columns, rows, _sixels(picture))
    encode = _kitty if screen.way is Pictures.KITTY else _iterm2
    # whole characters, which the terminal need not stretch
    png = _png(picture, columns * width, rows * height)
    return Drawing(columns, rows, encode(png, columns, rows))


def _fitted(picture: Image, width: int, height: int) -> Image:
    from PIL.Image import Resampling

    scale = min(width / picture.width, height / picture.height, MOST_ENLARGED)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Resampling.LANCZOS)


def _png(picture: Image, width: int, height: int) -> bytes:
    """Return a picture at the upper left of a transparent one (width, height), as PNG."""
    from PIL import Image

    canvas = Image.new("RGBA", (width, height))
    canvas.paste(picture)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _kitty(png: bytes, columns: int, rows: int) -> bytes:
    """Return Kitty's commands: the terminal answers nothing, and the cursor stays."""
    data = base64.b64encode(png)
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    control = f"a=T,f=100,q=2,C=1,c={columns},r={rows},".encode()
    commands = []
    for number, chunk in enumerate(chunks, start=1):
        more = number < len(chunks)
        commands.append(b"\x1b_G%sm=%d;%s\x1b\\" % (control, more, chunk))
        control = b"q=2,"
    return b"".join(commands)


def _iterm2(png: bytes, columns: int, rows: int) -> bytes:
    options = f"inline=1;size={len(png)};width={columns};height={rows};preserveAspectRatio=1"
    return b"\x1b]1337;File=%s:%s\x07" % (options.encode(), base64.b64encode(png))


def _sixels(picture: Image) -> bytes:
    """Return a picture as sixels, each six pixels of a column; a colour is drawn after another."""
    import numpy as np

    reduced = picture.quantize(SIXEL_COLOURS)
    colours = np.asarray(reduced.getpalette()).reshape(-1, 3)
    pixels = np.asarray(reduced)
    parts = [b'\x1bP0;1q"1;1;%d;%d' % picture.size]
    for number in np.unique(pixels):
        shares = (round(int(value) * 100 / 255) for value in colours[number])
        parts.append(b"#%d;2;%d;%d;%d" % (number, *shares))
    for top in range(0, picture.height, SIXEL_ROWS):
        band = pixels[top : top + SIXEL_ROWS]
        bits = 1 << np.arange(len(band))[:, None]
        rows = []
        for number in np.unique(band):
            codes = ((band == number) * bits).sum(axis=0) + ord("?")
            row = codes.astype(np.uint8).tobytes().rstrip(b"?")
            rows.append(b"#%d%s" % (number, re.sub(rb"(.)\1{3,}", _repeated, row)))
        parts.append(b"$".join(rows) + b"-")
    return b"".join(parts) + b"\x1b\\"


def _repeated(run: re.Match[bytes]) -> bytes:
    return b"!%d%s" % (len(run[0]), run[1])


def _block_lines(picture: Image, *, all_colours: bool) -> Iterator[bytes]:
    """Yield lines of upper half blocks, two rows of pixels each."""
    import numpy as np

    pixels = np.asarray(picture)
    code = _code if all_colours else _nearest_code
    for top in range(0, len(pixels), 2):
        line, before = [], b""
        for column in range(pixels.shape[1]):
            upper = code(*map(int, pixels[top, column]))
            is_last = top + 1 == len(pixels)
            lower = "49" if is_last else f"48;{code(*map(int, pixels[top + 1, column]))}"
            style = f"\x1b[38;{upper};{lower}m".encode()
            line.append((style if style != before else b"") + "▀".encode())
            before = style
        yield b"".join(line) + b"\x1b[0m"


def _code(red: int, green: int, blue: int) -> str:
    return f"2;{red};{green};{blue}"


def _nearest_code(red: int, green: int, blue: int) -> str:
    """Return the nearest of xterm's 256 colours: a cube of 6x6x6 steps, and 24 greys."""
    colour = red, green, blue
    steps = [0 if value < 48 else 1 if value < 115 else (value - 35) // 40 for value in colour]
    cube = [0 if step == 0 else 55 + 40 * step for step in steps]
    grey = min(max(round((sum(colour) / 3 - 8) / 10), 0), 23)
    level = 8 + 10 * grey

    def distance(other: list[int]) -> int:
        return sum((a - b) ** 2 for a, b in zip(colour, other, strict=True))

    if distance([level] * 3) < distance(cube):
        return f"5;{232 + grey}"
    return f"5;{16 + 36 * steps[0] + 6 * steps[1] + steps[2]}"
