"""Writes a library's vectors and the metadata of their rows for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder, new_file, remove_file
from qvsearch.formats import path_fields, present, utc_text
from qvsearch.library.filters import Filters
from qvsearch.retrieval.selection import allowed_rows
from qvsearch.tasks.vector_files import (
    AT_ONCE,
    FLOATS,
    array_header,
    load_pyarrow,
    write_table,
)
from qvsearch.types import metadata_fields, place_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.tasks.vector_files import Column
    from qvsearch.types import Segment, Vectors

    Part = tuple[list[Segment], Vectors]  # rows and their vectors (n, dim)

VECTORS, ROWS, TABLE = "vectors.npy", "rows.jsonl", "rows.parquet"
PROJECTED, LABELS = "vectors.tsv", "metadata.tsv"  # as the Embedding Projector loads them
_LABELS = ("path", "kind", "start", "taken", "camera", "snippet")  # columns of the projector
_TYPES = {  # of the columns of a table, in Arrow's words
    **{"path": "string", "path_b64": "string", "kind": "string", "start": "double"},
    **{"end": "double", "first_line": "int64", "last_line": "int64", "snippet": "string"},
    **{"width": "int64", "height": "int64", "clip": "bool", "mtime": "string"},
    **{"taken": "string", "camera": "string", "latitude": "double", "longitude": "double"},
    **{"duration": "double", "page": "bool", "taken_from": "string", "damaged": "string"},
    **{"several": "bool", "title": "string", "author": "string", "keywords": "list<string>"},
    **{"rating": "int64", "language": "string", "pages": "int64", "pictures": "int64"},
    **{"partial": "string", "page_number": "int64", "section": "string"},
}


def export(
    library: Library,
    folder: Path | str,
    filters: Filters | None = None,
    *,
    parquet: bool = False,
    projector: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Write the vectors of a library's rows, and the rows, into a folder; return their number.

    They are `vectors.npy` (n, dim), float32, and `rows.jsonl`, line i for vector i. With `parquet`
    they are one `rows.parquet` instead, with `projector` the `vectors.tsv` and `metadata.tsv` of
    the Embedding Projector. Memory does not grow with the library. `progress` is called with the
    number of written rows and of all. Raises QvsearchError unless the folder is new or empty, and
    if no row passes the filters; then nothing is written.
    """
    folder = Path(folder)
    rows = np.flatnonzero(allowed_rows(library, filters or Filters()))
    if not len(rows):
        raise QvsearchError(f"no file in the library {library.folder} passes the filters")
    writers = [*([_write_table] if parquet else []), *([_write_projector] if projector else [])]
    if parquet:
        load_pyarrow()
    with _new_folder(folder):
        for write in writers or [_write_arrays]:
            parts = _parts(library, rows, progress)
            write(folder, len(rows), library.fingerprint.dim, parts)
    return len(rows)


def row_record(segment: Segment) -> dict[str, object]:
    """Return a row of `rows.jsonl` of `export`; line i belongs to vector i.

    path, path_b64 (string): absolute path of the file
    kind (string): `image`, `video`, `text` or `document`
    start, end (number, seconds): moment of a video, from `start` up to `end`
    clip (boolean): true if the vector is of a clip, not of one frame
    lines (two integers): first and last line of a passage, from 1
    snippet (string): beginning of the passage
    width, height (integer, pixels): of the upright image or video
    taken, taken_from, camera, title, author, language, damaged, partial (string): as of a hit
    latitude, longitude, duration (number): as of a hit
    page (integer or boolean): as of a hit; with `--parquet` the column `page_number` has the page
        of a document, and `page` is true for a screenshot or a scanned page
    several (boolean): as of a hit
    keywords (list of strings): as of a hit
    rating, pages, pictures (integer): as of a hit
    section (string): place of a passage without lines, e.g. `slide 3`
    mtime (string, ISO 8601 in UTC): last change of the file
    """
    return present(
        {
            **path_fields("path", segment.item.location),
            "kind": segment.item.kind.value,
            **place_fields(segment.start, segment.end, segment),
            "clip": segment.clip or None,
            "snippet": segment.snippet,
            "width": segment.width,
            "height": segment.height,
            **metadata_fields(segment),
            "mtime": utc_text(segment.item.mtime_ns),
        }
    )


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Create a folder; after an error nothing is left of it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise QvsearchError(f"{folder} is not a new or empty folder; name another")
    is_new = not folder.exists()
    make_folder(folder)
    try:
        yield
    except BaseException:
        for name in (VECTORS, ROWS, TABLE, PROJECTED, LABELS):
            remove_file(folder / name)
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _parts(
    library: Library, rows: NDArray[np.int64], progress: Callable[[int, int], None]
) -> Iterator[Part]:
    """Yield the rows and their vectors, AT_ONCE each, and keep none."""
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        yield list(library.segments.stream(some.tolist())), library.pick(some).fetch(slice(None))
        progress(first + len(some), len(rows))


def _write_arrays(folder: Path, count: int, dim: int, parts: Iterable[Part]) -> None:
    with new_file(folder / VECTORS) as vectors, new_file(folder / ROWS) as lines:
        vectors.write(array_header(FLOATS, (count, dim)))
        for segments, part in parts:
            vectors.write(part.astype(FLOATS, copy=False).tobytes())
            for segment in segments:
                lines.write(orjson.dumps(row_record(segment), option=orjson.OPT_APPEND_NEWLINE))


def _write_table(folder: Path, count: int, dim: int, parts: Iterable[Part]) -> None:
    def columns(part: Part) -> dict[str, Column]:
        records = []
        for segment in part[0]:
            first, last = segment.lines or (None, None)
            row = row_record(segment) | {"page": segment.metadata.page}
            row |= {"first_line": first, "last_line": last, "page_number": segment.page}
            records.append(row)
        lists = {key: [each.get(key) for each in records] for key in _TYPES}
        return {**lists, "vector": part[1]}

    with new_file(folder / TABLE) as file:
        write_table(file, map(columns, parts), _TYPES)


def _write_projector(folder: Path, count: int, dim: int, parts: Iterable[Part]) -> None:
    """Write TSV files: numbers without a heading, labels below one."""
    with new_file(folder / PROJECTED) as numbers, new_file(folder / LABELS) as labels:
        labels.write("\t".join(_LABELS).encode() + b"\n")
        for segments, vectors in parts:
            for segment, vector in zip(segments, vectors, strict=True):
                values = orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
                numbers.write(values[1:-1].replace(b",", b"\t") + b"\n")
                labels.write(_label(segment).encode() + b"\n")


def _label(segment: Segment) -> str:
    """Return the columns of a row in `metadata.tsv`, without tabs and line ends of its own."""
    record = row_record(segment)
    record["path"] = segment.item.location.decode("utf-8", "backslashreplace")
    return "\t".join(" ".join(str(record.get(key, "")).split()) for key in _LABELS)
