"""Turns a file into segments with their model inputs: a module per kind of file.

Hostile files are expected: `workers` runs `decode` and `look` in confined processes. Neighbours use
`workers.Decoders` and `workers.film_lengths`, `clips.ClipFolder` for moments as files, `pixels.fit`
for a picture in memory, and `text.PASSAGE_TOKENS` for estimates. Importing this package loads only
the standard library; the decoders load where they run.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from qvsearch.errors import MediaError
from qvsearch.files import hash_open_file
from qvsearch.types import Decoded, Item

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, EmbedInput, Metadata, Segment

CHANGED = "changed while it was being indexed"


class _Decoder(Protocol):
    def decode(
        self, file: BinaryIO, item: Item, content_hash: str, options: DecodeOptions
    ) -> list[tuple[Segment, EmbedInput]]: ...

    def reads_otherwise(self, file: BinaryIO, item: Item, since: int) -> bool: ...

    def read_metadata(self, file: BinaryIO, item: Item) -> Metadata: ...


def decode(item: Item, content_hash: str, options: DecodeOptions) -> Decoded:
    """Decode a file in this process.

    `content_hash` is empty if the file was never read before. Raises MediaError with the reason if
    the file cannot be used. It is also raised if the file does not match `item` and the hash,
    before or after it was read.
    """
    from qvsearch.media.companion import completed

    # libraries warn of odd metadata; failures are raised
    with warnings.catch_warnings(action="ignore"), open_unchanged(item, content_hash) as file:
        segments = _decoder(item).decode(file, item, content_hash, options)
        metadata = completed(segments[0][0].metadata, item)
    return Decoded(
        item,
        tuple(
            (replace(each, metadata=replace(metadata, page=each.metadata.page)), input_)
            for each, input_ in segments
        ),
    )


def look(item: Item, since: int) -> Metadata | None:
    """Return a file's metadata, or None if its segments are others than those of version `since`.

    `page` and `duration` may be missing, because they need decoding. Raises MediaError for a file
    that cannot be read or has changed.
    """
    from qvsearch.media.companion import completed

    decoder = _decoder(item)
    with warnings.catch_warnings(action="ignore"), open_unchanged(item, "") as file:
        if decoder.reads_otherwise(file, item, since):
            return None
        file.seek(0)
        return completed(decoder.read_metadata(file, item), item)


def _decoder(item: Item) -> _Decoder:
    return cast("_Decoder", import_module(f"qvsearch.media.{item.kind}"))


class _Bounded(io.BufferedReader):
    """A file that never allocates more than its size, however much a header claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = max(0, min(size, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


@contextmanager
def open_unchanged(item: Item, content_hash: str) -> Iterator[BinaryIO]:
    """Open the very file that was hashed, so that its vector belongs to the recorded hash.

    Size and time alone would not show that a synchronising program has replaced it.
    """
    try:
        file = _Bounded(io.FileIO(os.fsdecode(item.location), opener=_without_waiting))
    except OSError as error:
        raise MediaError(_open_failure(error)) from error
    with file:
        _check_same(file, item)
        yield file
        _check_same(file, item)
        if content_hash and _hash(file, item) != content_hash:
            raise MediaError(CHANGED)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO in its place would wait for ever


def _open_failure(error: OSError) -> str:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "no longer there"
    if isinstance(error, IsADirectoryError):
        return "not a regular file"
    if isinstance(error, PermissionError):
        return "permission denied"
    # e.g. ENXIO for a socket or an unplugged device
    return f"cannot be opened: {error.strerror}"


def _hash(file: BinaryIO, item: Item) -> str:
    try:
        return hash_open_file(file, item.size)
    except OSError as error:
        raise MediaError(CHANGED) from error


def _check_same(file: BinaryIO, item: Item) -> None:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise MediaError("not a regular file")
    if (status.st_size, status.st_mtime_ns) != (item.size, item.mtime_ns):
        raise MediaError(CHANGED)
    if status.st_size == 0:
        raise MediaError("empty file")
