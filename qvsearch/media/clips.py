"""Saves moments of videos as files of a folder, cut out by a process that may be killed."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qvsearch.errors import MediaError, QvsearchError
from qvsearch.files import content_hash
from qvsearch.media.clip_writer import write_clip
from qvsearch.media.sandbox import ConfinedProcess
from qvsearch.types import KIND_OF_SUFFIX, Kind
from qvsearch.wire import BadMessage, send

if TYPE_CHECKING:
    import socket

    from qvsearch.wire import Array

UNFINISHED = ".qvsearch-"  # how a folder's name begins in which a clip is written
MAX_NAME = 100  # bytes of the source's name; a file system takes 255 in all
DIGITS = 6  # of the film's content hash, which tell films of one name apart
SUFFIXES = sorted(suffix for suffix, kind in KIND_OF_SUFFIX.items() if kind is Kind.VIDEO)
MOST_BYTES = 6 * 2**30  # encoding 8K takes 3.2 GB
# seconds after which the process is taken to hang; for each second of the moment as many more as
# encoding it anew takes on a slow machine, and one for each before it, as some films have to be
# decoded from their beginning
PATIENCE, PATIENT_RATE = 120.0, 10.0


def patience(start: float, end: float) -> float:
    """Return the seconds after which cutting out a moment is taken to hang."""
    return PATIENCE + start + PATIENT_RATE * (end - start)


@dataclass(frozen=True, slots=True)
class Clip:
    """A saved moment; `is_new` unless it was there before, `lost` is why sound is missing."""

    path: Path
    is_new: bool = True
    lost: str | None = None


class ClipFolder:
    """Saves moments into a folder, one after another; a context manager, which ends its process.

    `write` is what that calls: `write_clip`, or another function that a fresh Python can import.
    """

    def __init__(
        self,
        folder: Path,
        write: Callable[[Path, float, float, Path], tuple[str, str | None]] = write_clip,
        patience: Callable[[float, float], float] = patience,
    ) -> None:
        self._folder = folder
        self._write = write
        self._patience = patience
        self._process: ConfinedProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.end()

    def save(self, source: bytes, start: float, end: float) -> Clip:
        """Save what a video shows in `[start, end)` seconds, unless the folder has that clip.

        The same moment of the same content always gets the same name. Raises QvsearchError if the
        source is gone or cannot be cut.
        """
        path = Path(os.fsdecode(source))
        if not path.is_file():
            raise QvsearchError(f"{path} cannot be cut: it is no longer there")
        try:
            stem = _stem(source, start, end)
            for known in (self._folder / f"{stem}{suffix}" for suffix in SUFFIXES):
                if known.is_file():
                    return Clip(known, is_new=False)
            self._folder.mkdir(parents=True, exist_ok=True)
            with _unfinished(self._folder) as made:
                job = (self._write, path, start, end, made)
                answers = self._running().run(job, self._patience(start, end), _understood)
                if len(answers) != 1 or not _is_filled(made):  # the process was taken over
                    raise MediaError("nothing was written")
                [(suffix, lost)] = answers
                return Clip(made.replace(self._folder / f"{stem}{suffix}"), lost=lost)
        except MediaError as error:
            raise QvsearchError(f"{path} cannot be cut: {error}") from error
        except OSError as error:
            # within the folder only what is unfinished can fail, whose name says nothing
            place = os.fsdecode(error.filename or self._folder).partition(f"/{UNFINISHED}")[0]
            raise QvsearchError(f"{place}: {(error.strerror or str(error)).lower()}") from error

    def _running(self) -> ConfinedProcess:
        """Return the process, a new one where a file has broken the last."""
        if self._process is not None and not self._process.is_usable():
            self._process.end()
            self._process = None
        if self._process is None:
            self._process = ConfinedProcess(_work, MOST_BYTES)
            self._process.wait_until_ready()
        return self._process


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Give the path of a file that nobody else has, and that is gone afterwards unless renamed."""
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as made:
        yield Path(made) / "clip"


def _is_filled(made: Path) -> bool:
    """Tell whether something was written, and not elsewhere, by way of a link."""
    try:
        status = made.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _stem(source: bytes, start: float, end: float) -> str:
    """Return a name that no terminal, shell or file system makes more of."""
    stem = Path(source.decode("utf-8", "replace")).stem
    shown = "".join(c if c.isprintable() and c not in '\\/:*?"<>|\ufffd' else "_" for c in stem)
    harmless = shown.strip(" .-").encode()[:MAX_NAME].decode(errors="ignore")
    content = content_hash(source, Path(os.fsdecode(source)).stat().st_size)[:DIGITS]
    return f"{harmless or 'clip'} {_minutes(start)}-{_minutes(end)} {content}"


def _minutes(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 600}m{tenths % 600 // 10:02}.{tenths % 10}s"


def _work(pipe: socket.socket, write: Callable[..., tuple[str, str | None]], *job: object) -> None:
    """Cut one moment out in a process: `job` is what `write_clip` takes."""
    suffix, lost = write(*job)
    send(pipe, {"suffix": suffix, "lost": lost})


def _understood(said: dict[str, Any], _: list[Array]) -> tuple[str, str | None]:
    """Return the suffix of a message, which becomes part of a path, and why sound is missing."""
    suffix, lost = said.get("suffix"), said.get("lost")
    if suffix not in SUFFIXES or not (lost is None or isinstance(lost, str)):
        raise BadMessage("no suffix of a video")
    return str(suffix), lost
