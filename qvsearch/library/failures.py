"""The list of files that could not be indexed: `failed.jsonl` beside the manifest."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path

import orjson

from qvsearch.errors import QvsearchError
from qvsearch.files import open_file, write_file
from qvsearch.formats import number_field, path_fields, read_path, text_field

FAILURES = "failed.jsonl"
LARGEST = 256 * 1024 * 1024  # bytes of the list; a million files take as many
_LARGEST_LINE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be indexed: its state at the last of its `tries`.

    `reading` is the version of READING at that time; a later version may be able to read it.
    """

    path: bytes
    size: int
    mtime_ns: int
    reason: str
    tries: int
    reading: int = 1


def write_failures(folder: Path, failures: Iterable[Failure]) -> None:
    """Replace a library's list."""
    write_file(folder / FAILURES, b"".join(_encode(failure) for failure in failures))


def read_failures(folder: Path) -> list[Failure]:
    """Return a library's list. Broken lines are skipped; their files are tried again."""
    path = folder / FAILURES
    try:
        with BufferedReader(open_file(path)) as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                raise QvsearchError(
                    f"{path} is larger than {LARGEST:,} bytes; delete it (the files that it lists"
                    " are tried again)"
                )
            lines = iter(partial(file.readline, _LARGEST_LINE), b"")
            return [failure for failure in map(_decode, lines) if failure is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise QvsearchError(f"cannot read {path}: {error.strerror}") from error


def _encode(failure: Failure) -> bytes:
    record = path_fields("path", failure.path) | {
        "size": failure.size,
        "mtime_ns": number_field(failure.mtime_ns),
        "reason": text_field(failure.reason),
        "tries": failure.tries,
        "reading": failure.reading,
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _decode(line: bytes) -> Failure | None:
    try:
        record = orjson.loads(line)
        match record:
            case {"size": int(size), "reason": str(reason), "tries": int(tries)}:
                mtime_ns = int(record["mtime_ns"])
                reading = int(record.get("reading", 1))
                return Failure(read_path(record), size, mtime_ns, reason, tries, reading)
    except (KeyError, OverflowError, TypeError, ValueError):
        pass
    return None
