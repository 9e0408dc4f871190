"""Runs Python in a terminal that answers questions by a script, and decodes what it receives."""

import base64
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass

import numpy as np
from PIL import Image

# a session of its own, whose terminal is the one that it opens first
OWN_TERMINAL = "import os; os.close(os.open(os.ttyname(0), os.O_RDWR))\n"

KITTY = b"\x1b_Gi=4207;OK\x1b\\\x1bP>|kitty(0.36.4)\x1b\\\x1b[6;20;10t\x1b[?62;52c"
ITERM2 = b"\x1bP>|iTerm2 3.5.4\x1b\\\x1b[6;34;16t\x1b[?62;4c"
FOOT = b"\x1bP>|foot(1.16.2)\x1b\\\x1b[6;20;10t\x1b[?62;4;22c"
XTERM = b"\x1bP>|XTerm(379)\x1b\\\x1b[6;19;9t\x1b[?64;1;2;6;9;15;18;21;22c"


@dataclass
class Ran:
    output: bytes
    code: int
    is_restored: bool  # the terminal's mode
    unread: bytes  # what a shell would take for typed text


def run(code, answers=b"", *, size=(80, 40), pixels=(0, 0), typed=b"", **environment):
    """Run Python code; the first question is answered, and then `typed` is typed."""
    ours, theirs = pty.openpty()
    columns, lines = size
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, *pixels))
    before = termios.tcgetattr(theirs)
    for name in (
        *("NO_COLOR", "COLORTERM", "TERM_PROGRAM", "LC_TERMINAL", "TMUX", "STY"),
        *("COLUMNS", "LINES"),  # they would count before the size of the terminal
    ):
        environment.setdefault(name, None)
    environment = {"TERM": "xterm-256color", "PYTHONUTF8": "1", **environment}
    whole = {**os.environ, **environment}
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL + code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={name: value for name, value in whole.items() if value is not None},
    )
    received, waiting = b"", answers + typed
    while True:
        ended = process.poll() is not None
        if select.select([ours], [], [], 0 if ended else 0.02)[0]:
            received += os.read(ours, 65536)
        elif ended:
            break
        if waiting and b"\x1b[c" in received:
            waiting = waiting[os.write(ours, waiting[:1024]) :]
    restored = termios.tcgetattr(theirs) == before
    mode = termios.tcgetattr(theirs)
    mode[3] &= ~termios.ICANON
    mode[6][termios.VMIN] = 0
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    unread = os.read(theirs, 65536)
    os.close(ours)
    os.close(theirs)
    return Ran(received.replace(b"\r\n", b"\n"), process.returncode, restored, unread)


def kitty_pictures(output):
    """The pictures of Kitty's commands, each with its control data."""
    pictures, data, first = [], b"", None
    for control, chunk in re.findall(rb"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", output):
        values = dict(each.split(b"=") for each in control.split(b","))
        if values.get(b"a") == b"q":
            continue
        assert len(chunk) <= 4096
        assert values[b"q"] == b"2"  # or the terminal would answer into the shell
        first = first or values
        data += chunk
        if values[b"m"] == b"0":
            pictures.append((opened(data), first))
            data, first = b"", None
    assert first is None
    return pictures


def iterm2_pictures(output):
    found = re.findall(rb"\x1b\]1337;File=([^:\x07]*):([^\x07]*)\x07", output)
    pictures = []
    for options, data in found:
        values = dict(each.split(b"=") for each in options.split(b";"))
        assert values[b"inline"] == b"1"
        assert int(values[b"size"]) == len(base64.b64decode(data))
        pictures.append((opened(data), values))
    return pictures


def opened(data):
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def sixel_pictures(output):
    """The pictures of sixel commands, each as (h, w, 3) uint8."""
    return [
        sixel_picture(width, height, body)
        for width, height, body in re.findall(rb'\x1bP0;1q"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\', output)
    ]


def sixel_picture(width, height, body):
    width, height = int(width), int(height)
    canvas = np.zeros((-(-height // 6) * 6, width, 3), np.uint8)
    colours, colour, column, top, times = {}, None, 0, 0, 1
    for define, select_, repeat, sixel, control in re.findall(
        rb"#(\d+;2;\d+;\d+;\d+)|#(\d+)|!(\d+)(?=.)|([?-~])|([$-])", body
    ):
        if define:
            number, _, *shares = map(int, define.split(b";"))
            colours[number] = [share * 255 / 100 for share in shares]
        elif select_:
            colour = colours[int(select_)]
        elif repeat:
            times = int(repeat)
        elif sixel:
            for row in range(6):
                if (sixel[0] - 63) >> row & 1:
                    canvas[top + row, column : column + times] = colour
            column, times = column + times, 1
        else:
            column, top = 0, top + (6 if control == b"-" else 0)
    return canvas[:height]


LEVELS = [0, 0x5F, 0x87, 0xAF, 0xD7, 0xFF]
TABLE = [(r, g, b) for r in LEVELS for g in LEVELS for b in LEVELS]
TABLE += [(8 + 10 * step,) * 3 for step in range(24)]


def block_picture(lines):
    """The picture of lines of half blocks, as (h, w, 3) uint8; a missing last row is left out."""
    rows = []
    for line in lines:
        upper, lower, pair = [], [], None
        for style, block in re.findall(rb"\x1b\[([\d;]*)m|(\xe2\x96\x80)", line):
            if style and style != b"0":
                pair = [
                    colour_of(each) for each in re.findall(rb"[34]8;(?:2;\d+;\d+;\d+|5;\d+)", style)
                ]
            if block:
                upper.append(pair[0])
                lower += pair[1:]
        rows += [upper, lower] if lower else [upper]
    return np.array(rows, np.uint8)


def colour_of(code):
    _, kind, *values = map(int, code.split(b";"))
    return TABLE[values[0] - 16] if kind == 5 else tuple(values)
