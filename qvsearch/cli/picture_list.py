"""Prints results with their pictures in a terminal; only a command that does so imports it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from qvsearch.cli import output
from qvsearch.cli.drawing import RESET, Drawing, draw
from qvsearch.cli.layout import GAP, Column, Row, new_console
from qvsearch.cli.terminal import Screen
from qvsearch.display import safe_text
from qvsearch.media.thumbnails import Thumbnails
from qvsearch.types import Segment, Skipped

SHARE = 0.3  # of the terminal's width for pictures
LEAST_COLUMNS, MOST_COLUMNS = 16, 36  # of a picture
MOST_ROWS = 9
FEWEST_LINES = 6  # of a terminal with pictures


@dataclass(frozen=True, slots=True)
class Entry:
    """A result: a file, or `[start, end)` of a video in seconds, and its row in a table.

    A path that does not fit beside the picture gets a line of its own, whole. `above` is a line
    before it all.
    """

    segment: Segment
    start: float | None
    end: float | None
    columns: Sequence[Column]
    row: Row
    above: Text | None = None


def print_entries(entries: Sequence[Entry], screen: Screen) -> None:
    """Print each result as soon as its picture is there.

    A result is written at once; after Ctrl-C the terminal is as usual.
    """
    console = new_console()
    columns, rows = _box(console, screen)
    if not columns:
        rows = 0
    places = [(each.segment, each.start, each.end) for each in entries]
    with Thumbnails() as thumbnails:
        pictures = thumbnails.in_order(places)
        try:
            for number, (entry, picture) in enumerate(zip(entries, pictures, strict=True)):
                drawing, reason = _drawn(entry, picture, screen, columns, rows)
                before = b"" if number == 0 else b"\n"
                if not output.write(before + _block(console, entry, drawing, reason, columns)):
                    break
        except BaseException:
            output.write(RESET)
            raise
        finally:
            pictures.close()


def _box(console: Console, screen: Screen) -> tuple[int, int]:
    """Return the columns and rows for a picture, 3:2 in pixels; (0, 0) if there is no room."""
    if console.height < FEWEST_LINES or console.width < 2 * LEAST_COLUMNS:
        return 0, 0
    columns = round(min(max(console.width * SHARE, LEAST_COLUMNS), MOST_COLUMNS))
    rows = round(columns * screen.cell[0] * 2 / 3 / screen.cell[1])
    return columns, max(1, min(rows, MOST_ROWS, console.height - 3))


def _drawn(
    entry: Entry, picture: bytes | Skipped, screen: Screen, columns: int, rows: int
) -> tuple[Drawing | None, str]:
    """Return a drawing, or the reason why a file that should have one has none."""
    if isinstance(picture, Skipped):
        is_text = entry.segment.snippet is not None
        return None, "" if is_text else safe_text(f"no picture: {picture.reason}")
    if not rows:
        return None, ""
    return draw(picture, screen, columns, rows), ""


def _block(
    console: Console, entry: Entry, drawing: Drawing | None, reason: str, columns: int
) -> bytes:
    """Return the bytes of one result: the picture at the left, the texts beside it."""
    indent = columns + GAP if columns else 0
    room = max(1, console.width - indent)
    fits = entry.row.path.cell_len <= room
    texts = list(_facts(entry).wrap(console, room))
    texts += [entry.row.path] if fits else []
    for text in (*([Text(reason, style="dim")] if reason else []), *entry.row.below):
        text.overflow = "fold"
        texts += text.wrap(console, room)
    most = max(1, min(MOST_ROWS, console.height - 2))  # more would scroll the picture away
    lines = [_rendered(console, each, entry.row.style) for each in texts[:most]]
    move = f"\r\x1b[{indent}C" if indent else ""
    if drawing is None:
        body = "".join(f"{move}{each}\n" for each in lines).encode()
    elif drawing.lines:
        body = b"".join(_block_lines(drawing, lines, move))
    else:
        body = _placed(drawing, lines, move)
    parts = [b"" if entry.above is None else f"{_rendered(console, entry.above, '')}\n".encode()]
    parts.append(body)
    if not fits:
        parts.append(f"{_rendered(console, entry.row.path, entry.row.style)}\n".encode())
    return b"".join(parts)


def _block_lines(drawing: Drawing, lines: Sequence[str], move: str) -> Iterator[bytes]:
    for number in range(max(drawing.rows, len(lines))):
        picture = drawing.lines[number] if number < drawing.rows else b""
        text = f"{move}{lines[number]}" if number < len(lines) else ""
        yield picture + text.encode() + b"\n"


def _placed(drawing: Drawing, lines: Sequence[str], move: str) -> bytes:
    """Return a picture and texts beside it: the room is made first, so that nothing scrolls."""
    height = max(drawing.rows, len(lines))
    room = b"\n" * height + b"\x1b[%dA" % height
    texts = "".join(f"{move}{line}\n" for line in lines)
    rest = b"\r" + b"\n" * (height - len(lines))
    return room + b"\x1b7" + drawing.data + b"\x1b8" + texts.encode() + rest


def _facts(entry: Entry) -> Text:
    """Return the cells of a row as one line, with the names of numbers."""
    parts = []
    for column, cell in zip(entry.columns, entry.row.cells, strict=True):
        name = f"{column.name} " if column.right and column.name else ""
        parts += [Text(name + cell, column.style)] if cell else []
    return Text("  ").join(parts)


def _rendered(console: Console, text: Text, style: str) -> str:
    """Return a line with its colours and its link; the terminal breaks a long path."""
    text = text.copy()
    text.stylize(style)
    with console.capture() as capture:
        console.print(text, soft_wrap=True, end="")
    return capture.get().replace("\n", "")
