"""The columns of a shared table: how a row of a library is stored in it, and read again."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import orjson

from qvsearch.errors import QvsearchError
from qvsearch.formats import text_field
from qvsearch.library.columns import areas_at
from qvsearch.library.manifest import read_fingerprint
from qvsearch.library.patterns import path_text
from qvsearch.library.shard_columns import point
from qvsearch.library.sidecar import decode_segment, encode_segment
from qvsearch.library.tokens import plain
from qvsearch.library.words_file import TOKENS, stored_text
from qvsearch.times import wall_time
from qvsearch.types import KIND_CODES, item_number

if TYPE_CHECKING:
    import pyarrow as pa

    from qvsearch.types import Fingerprint, Segment, Vectors

FORMAT = 1  # of tables; raised if an older version would misread one
PLACES = 1  # raised if regions and countries have other numbers
FORM = 100 * PLACES + TOKENS  # of later columns: both versions in one number, e.g. 103
ABOUT = b"qvsearch"  # the key of `About` in the metadata of the schema
_ODD_BYTES = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}


@dataclass(frozen=True, slots=True)
class About:
    """What holds for a whole table since it was created.

    `baseline` (m, dim) are the generic queries that the backgrounds of all rows are of.
    """

    fingerprint: Fingerprint
    baseline: Vectors | None = None
    format: int = FORMAT

    def to_bytes(self) -> bytes:
        """Return it for the metadata of a schema."""
        baseline = None if self.baseline is None else _base64(self.baseline)
        record = {"format": self.format, "fingerprint": self.fingerprint, "baseline": baseline}
        return orjson.dumps(record)


@dataclass(frozen=True, slots=True)
class Row:
    """A row to publish: a segment of the file `path` below the named root, with its vector.

    `root` is the root's name in the table, and `ordinal` the segment's place in its file.
    `vector` (dim,) is a unit vector; `background` is of the table's baseline, or NaN. `tokens` are
    those that a search by words finds, `length` is their number; None if none were stored.
    """

    publisher: str
    root: str
    segment: Segment
    ordinal: int
    digest: int
    vector: Vectors
    background: tuple[float, float]
    tokens: str | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A row that was read: the root of its segment's item is the root's name in the table.

    `vector` (dim,) float32 is None if it was not asked for.
    """

    row: str
    publisher: str
    segment: Segment
    background: tuple[float, float]
    vector: Vectors | None


def read_about(metadata: Mapping[bytes, bytes] | None, place: str) -> About:
    """Return what the metadata of a schema tells; raises QvsearchError if it is not ours."""
    try:
        record = orjson.loads((metadata or {})[ABOUT])
        number = record["format"]
        if number > FORMAT:
            raise QvsearchError(
                f"{place} has format {number}, but this qvsearch reads up to {FORMAT};"
                " upgrade with: pip install -U qvsearch"
            )
        fingerprint = read_fingerprint(record["fingerprint"])
        baseline = record["baseline"]
        vectors = None if baseline is None else _vectors(baseline, fingerprint.dim)
    except (KeyError, TypeError, ValueError) as error:
        raise QvsearchError(f"{place} is not a table that qvsearch published") from error
    return About(fingerprint, vectors, number)


def row_key(item: int, ordinal: int) -> str:
    """Return the key of a row: it stays if the content of its file changes."""
    return f"{item:016x}-{ordinal}"


def lot(row: str) -> int:
    """Return 32 bits by which a sample of rows is drawn: the rows with the smallest."""
    return int.from_bytes(hashlib.blake2b(row.encode(), digest_size=4).digest(), "little")


def path_column(root: str, path: bytes) -> str:
    """Return what `--glob` compares, as a column holds it: the path below its root."""
    return storable(path_text(path or os.path.basename(os.fsencode(root))))


def storable(text: str) -> str:
    """Return `path_text` with each byte that is not UTF-8 as one character that can be stored."""
    return text.translate(_ODD_BYTES)


@cache
def types(dim: int) -> dict[str, pa.DataType]:
    """Return the columns of a table of vectors of `dim` numbers, in order.

    `time` is nanoseconds since 1970, of a local time if `wall`. `x`, `y` and `z` are a `point`.
    `camera` is `plain`. `path_text` is `path_column`. `ordinal` counts the segments of a file.
    `lot` is for samples. `digest` changes with anything of the row. `mean` and `spread` are its
    background.
    """
    import pyarrow as pa

    return {
        "row": pa.string(),
        "publisher": pa.string(),
        "root": pa.string(),
        "path": pa.binary(),
        "path_text": pa.string(),
        "item": pa.int64(),
        "ordinal": pa.int32(),
        "kind": pa.uint8(),
        "lot": pa.int64(),
        "digest": pa.int64(),
        "vector": pa.list_(pa.float16(), dim),
        "line": pa.binary(),
        "mean": pa.float32(),
        "spread": pa.float32(),
        "content_hash": pa.string(),
        "dhash": pa.uint64(),
        "time": pa.int64(),
        "wall": pa.bool_(),
        "x": pa.float64(),
        "y": pa.float64(),
        "z": pa.float64(),
        "camera": pa.string(),
        "width": pa.int64(),
        "height": pa.int64(),
        "duration": pa.float64(),
        **later_types(),
    }


def later_types() -> dict[str, pa.DataType]:
    """Return the columns that tables of older versions lack, in order.

    Texts are `plain`. `keywords` are lines, each with a line break before and behind it.
    `region` and `country` are numbers of places. `tokens` are divided by spaces, `length` is their
    number, `words` the text of the row as its file has it, and `text_hash` tells it from others.
    `form` is FORM; rows whose later columns an older version wrote have another one, or none.
    """
    import pyarrow as pa

    texts = {name: pa.string() for name in ("title", "author", "keywords", "language")}
    numbers = {name: pa.int32() for name in ("rating", "page", "region", "country")}
    words = {"tokens": pa.string(), "words": pa.string(), "length": pa.int32()}
    return {**texts, **numbers, **words, "text_hash": pa.int64(), "form": pa.int32()}


def lacking_columns(schema: pa.Schema) -> pa.Schema:
    """Return the columns that a table of an older version lacks."""
    import pyarrow as pa

    return pa.schema([each for each in later_types().items() if each[0] not in schema.names])


READ = ("row", "publisher", "root", "path", "line", "mean", "spread")  # what `published` needs
STORED = (*READ, "item", "vector")


def table_schema(about: About) -> pa.Schema:
    """Return the schema of a new table."""
    import pyarrow as pa

    fields = list(types(about.fingerprint.dim).items())
    return pa.schema(fields, metadata={ABOUT: about.to_bytes()})


def arrow_rows(rows: Sequence[Row], dim: int) -> pa.Table:
    """Return rows as they are stored."""
    import pyarrow as pa

    vectors = np.array([row.vector for row in rows], np.float32).astype(np.float16)
    names = types(dim)
    table = _columns(rows, {name: kind for name, kind in names.items() if name != "vector"})
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
    return table.append_column("vector", flat).select(list(names))


def later_columns(rows: Sequence[Row]) -> pa.Table:
    """Return what tables of older versions lack of rows, by key; vectors are not needed.

    They have `camera`, but with its accents.
    """
    import pyarrow as pa

    return _columns(rows, {"row": pa.string(), "camera": pa.string(), **later_types()})


def _columns(rows: Sequence[Row], types: Mapping[str, pa.DataType]) -> pa.Table:
    import pyarrow as pa

    values = [_values(row) for row in rows]
    points = np.array([[row[axis] for row in values] for axis in "xyz"], np.float64)
    areas = dict(zip(("region", "country"), areas_at(points.reshape(3, -1)), strict=True))
    columns = [
        pa.array(areas[name], kind, mask=areas[name] < 0)
        if name in areas
        else pa.array([row[name] for row in values], kind)
        for name, kind in types.items()
    ]
    return pa.table(columns, names=list(types))


def _values(row: Row) -> dict[str, object]:
    segment, metadata = row.segment, row.segment.metadata
    item = segment.item
    time, wall = wall_time(metadata.taken, item.mtime_ns)
    north, east = metadata.latitude, metadata.longitude
    x, y, z = (None,) * 3 if north is None or east is None else point(north, east)
    mean, spread = (None if math.isnan(each) else each for each in row.background)
    number = item_of(row.root, item.path)
    key = row_key(number, row.ordinal)
    return {
        "row": key,
        "publisher": row.publisher,
        "root": row.root,
        "path": item.path,
        "path_text": path_column(row.root, item.path),
        "item": number,
        "ordinal": row.ordinal,
        "kind": KIND_CODES[item.kind],
        "lot": lot(key),
        "digest": row.digest,
        "line": encode_segment(segment),
        "mean": mean,
        "spread": spread,
        "content_hash": segment.content_hash,
        "dhash": segment.dhash,
        "time": time,
        "wall": wall,
        "x": x,
        "y": y,
        "z": z,
        "camera": None if metadata.camera is None else plain(metadata.camera),
        "width": segment.width,
        "height": segment.height,
        "duration": metadata.duration,
        "title": _plain(metadata.title),
        "author": _plain(metadata.author),
        "keywords": keyword_lines(metadata.keywords) if metadata.keywords else None,
        "language": metadata.language and metadata.language.lower().partition("-")[0],
        "rating": metadata.rating,
        "page": segment.page,
        "tokens": row.tokens,
        "words": segment.words and stored_text(segment.words),
        "length": row.length,
        "text_hash": text_hash(segment.words),
        "form": FORM,
    }


def text_hash(text: str | None) -> int:
    """Return 63 bits of the text of a row; -1 if none was stored."""
    if text is None:
        return -1
    digest = hashlib.blake2b(stored_text(text).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def keyword_lines(keywords: Iterable[str]) -> str:
    """Return keywords as a column holds them."""
    return "".join(f"\n{plain(text_field(each))}" for each in keywords) + "\n"


def _plain(text: str | None) -> str | None:
    return None if text is None else plain(text_field(text))


def item_of(root: str, path: bytes) -> int:
    """Return the number of a published file (see `item_number`)."""
    return item_number(os.fsencode(root), path)


def check_below(root: str, path: bytes) -> None:
    """Raise ValueError for a row whose file would not be below a root; anyone may write a table."""
    parts = os.fsencode(root).split(b"/") + (path.split(b"/") if path else [])
    if any(part in (b"", b".", b"..") for part in parts):
        raise ValueError(f"{path!r} leads out of the root {root!r}")


def published(table: pa.Table, place: str) -> list[Published]:
    """Return rows that were read with the columns of READ, and their vectors if `vector` is there.

    Raises QvsearchError if a row is not one that was published.
    """
    rows = table.drop_columns(["vector"]) if "vector" in table.column_names else table
    vectors = vectors_of(table) if "vector" in table.column_names else None
    found = []
    for number, record in enumerate(rows.to_pylist()):
        try:
            check_below(record["root"], record["path"])
            segment = decode_segment(record["line"], os.fsencode(record["root"]), record["path"])
        except ValueError as error:
            raise QvsearchError(f"a row of {place} is damaged: {error}") from error
        mean, spread = (math.nan if record[n] is None else record[n] for n in ("mean", "spread"))
        vector = None if vectors is None else vectors[number]
        found.append(Published(record["row"], record["publisher"], segment, (mean, spread), vector))
    return found


def vectors_of(table: pa.Table | pa.RecordBatch) -> Vectors:
    """Return the vectors (n, dim) of rows that were read, float32."""
    column = table.column("vector")
    column = getattr(column, "combine_chunks", lambda: column)()
    dim = table.schema.field("vector").type.list_size
    flat = column.flatten().to_numpy(zero_copy_only=False)
    vectors: Vectors = flat.reshape(-1, dim).astype(np.float32)
    return vectors


def _base64(vectors: Vectors) -> str:
    return base64.b64encode(vectors.astype("<f2").tobytes()).decode()


def _vectors(text: str, dim: int) -> Vectors:
    """Return the vectors in a text; raises ValueError unless they are whole."""
    data = np.frombuffer(base64.b64decode(text, validate=True), "<f2")
    return data.reshape(-1, dim).astype(np.float32)
