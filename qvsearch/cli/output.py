"""Writes harmless text, JSON lines, errors and hints.

Results go to standard output. Progress and hints go to standard error, and only to a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from qvsearch.display import clock as clock
from qvsearch.display import json_line as json_line
from qvsearch.display import part_text
from qvsearch.display import safe_text as safe_text
from qvsearch.errors import QvsearchError
from qvsearch.formats import path_fields as path_fields
from qvsearch.formats import present as present
from qvsearch.types import Fingerprint, Hit, Moment, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.answers.evidence import Source

SHOWN_SKIPPED = 20  # more would push the summary off the screen; `status` lists all


def open_streams() -> None:
    """Open /dev/null for each standard stream that is missing (`>&-`).

    Without it, output would be written to the next file that is opened, perhaps of a library, in
    this process or in one that it starts.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: SIM115, PTH123


def write(data: bytes) -> bool:
    """Write to standard output; return False if the reader has left (`| head`), which is no error.

    Raises QvsearchError if it cannot be written, e.g. on a full disk.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return True
    except OSError as error:
        _discard(sys.stdout)
        # without a reader the work goes on and its exit code stands
        if not isinstance(error, BrokenPipeError):
            raise QvsearchError(f"cannot write to standard output: {error.strerror}") from error
        return False


def is_read() -> bool:
    """Return whether the reader of standard output was there for all that was written."""
    return sys.stdout not in _left


_left: list[TextIO] = []  # streams without a reader


def _discard(stream: TextIO) -> None:
    """Drop the buffer of a stream, which Python would try to write again at its exit."""
    _left.append(stream)
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def write_json(records: Iterable[Mapping[str, object]]) -> None:
    """Write each record as a line of JSON."""
    for record in records:
        write(json_line(record))


def line(text: str = "") -> None:
    """Print one harmless line to standard output."""
    encoding = sys.stdout.encoding or "utf-8"
    write((safe_text(text) + "\n").encode(encoding, "backslashreplace"))


def stream(piece: str) -> None:
    """Print a piece of a text as it arrives: harmless, with its lines."""
    lines = piece.replace("\r", "").replace("\t", "    ").split("\n")
    encoding = sys.stdout.encoding or "utf-8"
    write("\n".join(map(safe_text, lines)).encode(encoding, "backslashreplace"))


def fail(message: str) -> None:
    """Print an error on standard error."""
    _to_stderr(f"qvsearch: {message}")


def note(message: str) -> None:
    """Print a line about the work on standard error, for a person or a log."""
    _to_stderr(message)


def hint(message: str, quiet: bool = False) -> None:
    """Print a hint for a person: on standard error, and only to a terminal."""
    if is_watched(quiet):
        _to_stderr(message)


def is_watched(quiet: bool) -> bool:
    """Return whether a person reads the hints."""
    return sys.stderr.isatty() and not quiet


def progress(what: str, quiet: bool = False) -> None:
    """Print the current work on a terminal, in the place of the previous message."""
    if is_watched(quiet):
        _to_stderr(what, before="\r\x1b[2K", end="")


def hint_demo(fingerprint: Fingerprint, quiet: bool) -> None:
    """Point out that the demo's model is for drawn shapes only."""
    if fingerprint.model == "demo":
        hint("the demo model is for drawn shapes only; other files need another model", quiet)


def alert(message: str) -> None:
    """Print from a signal handler, which must not use the buffered stream."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), f"{message}\n".encode())


def _to_stderr(message: str, before: str = "", end: str = "\n") -> None:
    encoding = sys.stderr.encoding or "utf-8"
    text = safe_text(message).encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(f"{before}{text}", file=sys.stderr, end=end, flush=True)  # noqa: T201
    except OSError:  # nobody reads errors, and the exit code stands
        _discard(sys.stderr)


def write_paths(hits: Sequence[Hit], end: bytes) -> None:
    """Write the exact path bytes of each hit, and `end`; on a terminal their harmless form."""
    for hit in hits:
        path = hit.segment.item.location
        shown = safe_text(path).encode() if sys.stdout.isatty() else path
        write(shown + end)


def place_text(place: Hit | Moment | Source) -> str:
    """Return a moment's place: `02:13-02:19`, `lines 12-31`; an image's is its size."""
    return part_text(place.segment, place.start, place.end)


def segment_text(segment: Segment) -> str:
    """Return the place of a segment in its item, like `place_text`."""
    return part_text(segment, segment.start, segment.end)


def counted(number: int, what: str) -> str:
    """Return `1 file`, or `2,000 files`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def size_text(count: int) -> str:
    """Return a number of bytes as `980 bytes`, `2.1 kB`, `3.0 MB` or `1.5 GB`."""
    thousands = min((len(str(count)) - 1) // 3, 3)
    unit = ("bytes", "kB", "MB", "GB")[thousands]
    return f"{count / 1000**thousands:.{min(thousands, 1)}f} {unit}"


def older_text(files: int, segments: int) -> str:
    """Return how many files of an older version `index` will look at."""
    return (
        f"{counted(files, 'file')} that an older version read;"
        f" at most {counted(segments, 'segment')} will be embedded again"
    )


def print_skipped(skipped: Sequence[Skipped], shown: int | None = SHOWN_SKIPPED) -> None:
    """Print the first `shown` skipped files with their reasons, and the number of the others."""
    for each in skipped[:shown]:
        line(f"  {safe_text(each.path)}: {each.reason}")
    if shown is not None and len(skipped) > shown:
        line(f"  ... and {len(skipped) - shown:,} more; --json lists them all")
