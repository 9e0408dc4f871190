"""Finds out how a terminal shows pictures, by its answers to queries."""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from qvsearch.choices import Pictures
from qvsearch.cli.interrupt import cancelling

SECONDS = 1.0  # for all answers; one over a slow network takes half of it
MOST_BYTES = 4096  # of all answers
CELL = (10, 20)  # pixels of a character, if neither the system nor the terminal has them
LEAST_CELL, MOST_CELL = 4, 128  # others are not believed
ALL_COLOURS, FEW_COLOURS = 2**24, 256
SILENT = {"", "dumb", "linux"}  # values of TERM whose terminals answer nothing

# a picture of one pixel to test; tmux and screen would take it for a title
_KITTY_QUERY = b"\x1b_Gi=4207,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
# the name and version, the size of a character, and the attributes, which all terminals answer:
# then the other answers are there; at last the line is cleared, if a terminal prints some of it
_QUERIES = b"\x1b[>0q\x1b[16t\x1b[c\r\x1b[K"
_KITTY = b"\x1b_Gi=4207;OK\x1b\\"
_NAME = re.compile(rb"\x1bP>\|([ -~]{1,100})\x1b\\")
_CELL_SIZE = re.compile(rb"\x1b\[6;(\d{1,4});(\d{1,4})t")
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]{1,200})c")
_SIXEL = b"4"  # among the attributes
_ITERM2_NAMES = (b"iTerm2 ", b"WezTerm ", b"mintty ")
_ITERM2_PROGRAMS = {"iTerm.app", "WezTerm", "mintty"}  # of TERM_PROGRAM


@dataclass(frozen=True, slots=True)
class Screen:
    """A terminal that shows pictures: how, the pixels (w, h) of a character, and its colours."""

    way: Pictures
    cell: tuple[int, int]
    colours: int


def find_screen(way: Pictures) -> Screen | None:
    """Return how standard output shows pictures; None if it cannot.

    `way` is AUTO or what the user has chosen. A terminal that does not answer, or gives answers
    that make no sense, shows half blocks; without colours (NO_COLOR) or UTF-8 it cannot.
    """
    term = os.environ.get("TERM", "")
    if not sys.stdout.isatty() or term == "dumb":
        return None
    cell = _system_cell()
    answers = b""
    if term not in SILENT and (way is Pictures.AUTO or cell is None):
        answers = _answers()
    if way is Pictures.AUTO:
        way = _best_way(answers)
    if way is Pictures.BLOCKS and not _has_blocks():
        return None
    colours = ALL_COLOURS if _has_all_colours() else FEW_COLOURS
    return Screen(way, cell or _answered_cell(answers) or CELL, colours)


def _best_way(answers: bytes) -> Pictures:
    """Return the best way among the answers of a terminal."""
    attributes = _ATTRIBUTES.search(answers)
    if attributes is None:
        return Pictures.BLOCKS
    if _KITTY in answers:
        return Pictures.KITTY
    name = _NAME.search(answers)
    if name is None and _is_iterm2_by_environment():
        return Pictures.ITERM2
    if name is not None and name[1].startswith(_ITERM2_NAMES):
        return Pictures.ITERM2
    return Pictures.SIXEL if _SIXEL in attributes[1].split(b";") else Pictures.BLOCKS


def _is_iterm2_by_environment() -> bool:
    """Return whether variables name a terminal of iTerm2's protocol."""
    if _is_multiplexed():  # the variables are those of the terminal around it
        return False
    return (
        os.environ.get("LC_TERMINAL") == "iTerm2"  # which ssh passes on
        or os.environ.get("TERM_PROGRAM") in _ITERM2_PROGRAMS
    )


def _is_multiplexed() -> bool:
    """Return whether the terminal is a window of tmux or screen."""
    variables = map(os.environ.get, ("TMUX", "STY"))
    return any(variables) or os.environ.get("TERM", "").startswith(("screen", "tmux"))


def _has_blocks() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _has_all_colours() -> bool:
    return os.environ.get("COLORTERM") in {"truecolor", "24bit"} or os.environ.get(
        "TERM", ""
    ).endswith("-direct")


def _system_cell() -> tuple[int, int] | None:
    """Return the pixels of a character by the system's size of the terminal."""
    import fcntl
    import struct
    import termios

    try:
        packed = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns, width, height = struct.unpack("4H", packed)
    return _believed(width // columns, height // rows) if rows and columns else None


def _answered_cell(answers: bytes) -> tuple[int, int] | None:
    size = _CELL_SIZE.search(answers)
    return None if size is None else _believed(int(size[2]), int(size[1]))


def _believed(width: int, height: int) -> tuple[int, int] | None:
    is_likely = all(LEAST_CELL <= side <= MOST_CELL for side in (width, height))
    return (width, height) if is_likely else None


def _answers() -> bytes:
    """Query the terminal of standard output; return its answers, empty if there can be none."""
    try:
        terminal = os.open(os.ttyname(sys.stdout.fileno()), os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        # a process in the background would be stopped
        if os.tcgetpgrp(terminal) != os.getpgrp():
            return b""
        with cancelling(), _unbuffered(terminal):
            os.write(terminal, (b"" if _is_multiplexed() else _KITTY_QUERY) + _QUERIES)
            return _read_answers(terminal)
    except OSError:  # it is not the terminal of this process, or it has closed
        return b""
    finally:
        os.close(terminal)


def _read_answers(terminal: int) -> bytes:
    """Read until the last answer, and for SECONDS and MOST_BYTES at most."""
    answers = b""
    deadline = time.monotonic() + SECONDS
    while (left := deadline - time.monotonic()) > 0 and len(answers) < MOST_BYTES:
        ready, _, _ = select.select([terminal], [], [], left)
        data = os.read(terminal, MOST_BYTES) if ready else b""
        answers += data
        if not data or _ATTRIBUTES.search(answers):
            break
    return answers[:MOST_BYTES]


@contextmanager
def _unbuffered(terminal: int) -> Iterator[None]:
    """Let a terminal give each byte at once, and show none; then it is as it was before.

    What it has sent but was not read is dropped, since a shell would take it for typed text.
    """
    import termios

    before = termios.tcgetattr(terminal)
    mode = termios.tcgetattr(terminal)
    mode[3] &= ~(termios.ECHO | termios.ICANON)  # ISIG stays, for Ctrl-C
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, mode)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
