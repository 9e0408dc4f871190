"""Saves moments of videos as files of a folder; a confined process cuts them out."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qvsearch.copying import UNFINISHED
from qvsearch.errors import MediaError, QvsearchError, system_reason
from qvsearch.files import content_hash
from qvsearch.media.clip_writer import write_clip
from qvsearch.media.sandbox import LastingProcess
from qvsearch.types import KIND_OF_SUFFIX, Kind
from qvsearch.wire import BadMessage, send

if TYPE_CHECKING:
    import socket

    from qvsearch.wire import Array

MAX_NAME = 100  # bytes of the source's name; a file system takes 255 in all
DIGITS = 6  # of the film's content hash, in the name: films of one name differ in them
SUFFIXES = sorted(suffix for suffix, kind in KIND_OF_SUFFIX.items() if kind is Kind.VIDEO)
MOST_BYTES = 6 * 2**30  # encoding 8K takes 3.2 GB
# seconds after which the process counts as hanging. Each second of the moment adds as many as
# encoding takes on a slow machine. Each second before it adds one, because some films must be
# decoded from their beginning
PATIENCE, PATIENT_RATE = 120.0, 10.0


def patience(start: float, end: float) -> float:
    """Return the seconds after which the process counts as hanging."""
    return PATIENCE + start + PATIENT_RATE * (end - start)


@dataclass(frozen=True, slots=True)
class Clip:
    """A saved moment; `is_new` unless it existed before, `lost` is the reason for missing sound."""

    path: Path
    is_new: bool = True
    lost: str | None = None


class ClipFolder:
    """Saves moments into a folder, one after another; a context manager, which ends its process.

    The process calls `write`, a function that a fresh Python can import by its name.
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
        self._process = LastingProcess(_work, MOST_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()

    def save(self, source: bytes, start: float, end: float) -> Clip:
        """Save the moment `[start, end)`, in seconds, of a video, unless the folder has that clip.

        The same moment of the same content always gets the same name. Raises QvsearchError if the
        source is gone or cannot be cut.
        """
        path = Path(os.fsdecode(source))
        if not path.is_file():
            raise QvsearchError(f"{path} cannot be cut: it is no longer there")
        try:
            stem = _stem(source, start, end)
            for existing in (self._folder / f"{stem}{suffix}" for suffix in SUFFIXES):
                if existing.is_file():
                    return Clip(existing, is_new=False)
            self._folder.mkdir(parents=True, exist_ok=True)
            with unfinished(self._folder) as target:
                job = (self._write, path, start, end, target)
                answers = self._process.run(job, self._patience(start, end), _read_result)
                if len(answers) != 1 or not is_filled(target):  # the process was taken over
                    raise MediaError("nothing was written")
                [(suffix, lost)] = answers
                return Clip(target.replace(self._folder / f"{stem}{suffix}"), lost=lost)
        except MediaError as error:
            raise QvsearchError(f"{path} cannot be cut: {error}") from error
        except OSError as error:
            # within the folder only the unfinished clip can fail, and its name is not useful
            place = os.fsdecode(error.filename or self._folder).partition(f"/{UNFINISHED}")[0]
            raise QvsearchError(f"{place}: {system_reason(error)}") from error


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """Return the path of a file that only this process uses; it is removed unless renamed."""
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as target:
        yield Path(target) / "clip"


def is_filled(target: Path) -> bool:
    """Return whether a clip was written, and not elsewhere, through a link."""
    try:
        status = target.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _stem(source: bytes, start: float, end: float) -> str:
    """Return a name that is harmless in terminals, shells and file systems."""
    stem = Path(source.decode("utf-8", "replace")).stem
    shown = "".join(c if c.isprintable() and c not in '\\/:*?"<>|\ufffd' else "_" for c in stem)
    harmless = shown.strip(" .-").encode()[:MAX_NAME].decode(errors="ignore")
    content = content_hash(source, Path(os.fsdecode(source)).stat().st_size)[:DIGITS]
    return f"{harmless or 'clip'} {_minutes(start)}-{_minutes(end)} {content}"


def _minutes(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 600}m{tenths % 600 // 10:02}.{tenths % 10}s"


def _work(pipe: socket.socket, write: Callable[..., tuple[str, str | None]], *job: object) -> None:
    """Cut one moment out, in the process; `job` holds the arguments of `write_clip`."""
    suffix, lost = write(*job)
    send(pipe, {"suffix": suffix, "lost": lost})


def _read_result(message: dict[str, Any], _: list[Array]) -> tuple[str, str | None]:
    """Return the suffix, which becomes part of a path, and the reason for missing sound."""
    suffix, lost = message.get("suffix"), message.get("lost")
    if suffix not in SUFFIXES or not (lost is None or isinstance(lost, str)):
        raise BadMessage("not the suffix of a video")
    return str(suffix), lost
