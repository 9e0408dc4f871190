"""Writes vectors as .npy, .npz, .jsonl or .parquet, in bounded memory and whole or not at all."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import orjson

from qvsearch.errors import QvsearchError
from qvsearch.files import new_file
from qvsearch.formats import path_fields
from qvsearch.tasks.extras import needed
from qvsearch.types import Stored
from qvsearch.vectors.encoding import Form

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors

    Numbers = NDArray[Any]
    Column = Numbers | Sequence[object]

AT_ONCE = 1024  # rows
FLOATS = np.dtype("<f4")
HEADER_SIZE = 128  # bytes of an .npy file before its numbers: room for any number of rows
ZERO_CODE = 128  # the byte that stands for 0 in a stored int8 vector


@dataclass(frozen=True, slots=True)
class VectorRow:
    """The unit vector (dim,) of an input; `index` is its place among all inputs, from 0."""

    index: int
    name: bytes
    vector: Vectors


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some rows. `columns` are `index`, and `vector` or `codes` and `scale`, (n, ...) each."""

    names: list[bytes]
    columns: dict[str, Numbers]


def write_vectors(
    path: Path | str, rows: Iterable[VectorRow], dim: int, store: Stored | str | None = None
) -> int:
    """Write the vectors (dim,) of rows in the form of the file's suffix; return their number.

    `.npy` is an array (n, dim), float32. `.npz` has `vectors` with `index` and `names`; `.jsonl`
    and `.parquet` have `index`, `name` and `vector` for each row. With `store` int8 a vector is
    `codes` times `scale`. The file appears when `rows` end; if they raise, an old one stays.
    Raises QvsearchError for another suffix, and if the file cannot be written.
    """
    path = Path(path)
    check_vector_file(path, store)
    with new_file(path) as file:
        return _WRITERS[path.suffix](file, _batches(iter(rows), dim, store))


def check_vector_file(path: Path, store: Stored | str | None = None) -> None:
    """Raise QvsearchError if `write_vectors` cannot write to this path; nothing is written."""
    if path.suffix not in _WRITERS:
        *others, last = _WRITERS
        raise QvsearchError(f"{path} does not end in {', '.join(others)} or {last}")
    if path.suffix == ".npy" and store == Stored.INT8:
        raise QvsearchError(
            f"{path} has no place for the scales of int8 vectors; give .npz, .jsonl or .parquet"
        )
    if path.suffix == ".parquet":
        load_pyarrow()
    check_output(path)


def check_output(path: Path) -> None:
    """Raise QvsearchError unless a plain file can be created or replaced here."""
    if path.exists() and not path.is_file():
        raise QvsearchError(f"{path} is not a plain file; name another")
    if not path.parent.is_dir():
        raise QvsearchError(f"cannot write {path}: there is no folder {path.parent}")


def load_pyarrow() -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the module pyarrow with its Parquet; raises QvsearchError without it."""
    needed("pyarrow.parquet", "pyarrow", "Parquet", "parquet")
    return needed("pyarrow", "pyarrow", "Parquet", "parquet")


def vector_record(row: VectorRow, store: Stored | None = None) -> dict[str, object]:
    """Return a vector of `embed`, one a line.

    index (integer): place of the input among all inputs, from 0
    name, name_b64 (string): words of the input, or the path of its file; otherwise its line
    vector (list of numbers): unit vector of the input
    codes (list of integers): vector divided by `scale`, -127 to 127; with `--store int8`
    scale (number): length of a step of `codes`
    """
    [batch] = _batches(iter([row]), len(row.vector), store)
    return dict(orjson.loads(_lines(batch)))


def _batches(rows: Iterator[VectorRow], dim: int, store: Stored | str | None) -> Iterator[_Batch]:
    """Yield rows together, AT_ONCE each; one empty batch if there is none."""
    some = list(islice(rows, AT_ONCE))
    while True:
        vectors = np.empty((len(some), dim), FLOATS)
        for place, each in enumerate(some):
            if each.vector.shape != (dim,):
                raise QvsearchError(f"a vector has the shape {each.vector.shape}, not ({dim},)")
            vectors[place] = each.vector
        index = np.array([each.index for each in some], "<i8")
        columns = {"index": index, **_encoded(vectors, store)}
        yield _Batch([each.name for each in some], columns)
        some = list(islice(rows, AT_ONCE))
        if not some:
            return


def _encoded(vectors: Vectors, store: Stored | str | None) -> dict[str, Numbers]:
    if store != Stored.INT8:
        return {"vector": vectors}
    form = Form(vectors.shape[1], Stored.INT8)
    codes = form.encode(vectors)
    steps = (codes.astype(np.int16) - ZERO_CODE).astype("i1")
    return {"codes": steps, "scale": (1 / form.norms(codes)).astype(FLOATS)}


def _write_npy(file: BinaryIO, batches: Iterable[_Batch]) -> int:
    count, shape = 0, (0,)
    file.write(array_header(FLOATS, shape))
    for batch in batches:
        shape = batch.columns["vector"].shape
        count += shape[0]
        file.write(batch.columns["vector"].tobytes())
    file.seek(0)
    file.write(array_header(FLOATS, (count, *shape[1:])))
    return count


def array_header(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the header of an .npy file of version 1.0 (NEP 1), HEADER_SIZE bytes for any shape."""
    start = b"\x93NUMPY\x01\x00"
    length = HEADER_SIZE - len(start) - 2
    text = f"{{'descr': {kind.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return start + length.to_bytes(2, "little") + f"{text:{length - 1}}\n".encode("latin-1")


def _write_npz(file: BinaryIO, batches: Iterable[_Batch]) -> int:
    """Write arrays whose headers have their lengths, so that each needs a file of its own before.

    Names stay in memory, since the longest one decides the size of all.
    """
    names: list[bytes] = []
    with ExitStack() as stack:
        spools: dict[str, Any] = {}
        columns: dict[str, Numbers] = {}
        for batch in batches:
            names += batch.names
            for key, columns[key] in batch.columns.items():
                if key not in spools:
                    folder = Path(file.name).parent
                    spools[key] = stack.enter_context(TemporaryFile(dir=folder))
                spools[key].write(columns[key].tobytes())
        archive = stack.enter_context(zipfile.ZipFile(file, "w"))
        for key, array in columns.items():
            spools[key].seek(0)
            member = "vectors" if key == "vector" else key
            with archive.open(f"{member}.npy", "w", force_zip64=True) as target:
                target.write(array_header(array.dtype, (len(names), *array.shape[1:])))
                shutil.copyfileobj(spools[key], target)
        write_names(archive, "names", names)
    return len(names)


def write_names(archive: zipfile.ZipFile, key: str, names: Sequence[bytes]) -> None:
    """Add names to an .npz archive as NumPy's texts; `os.fsencode` gives the bytes of each back."""
    texts = [each.decode("utf-8", "surrogateescape") for each in names]
    width = max(map(len, texts), default=1)
    member = zipfile.ZipInfo(f"{key}.npy")
    member.compress_type = zipfile.ZIP_DEFLATED  # most of it is padding
    with archive.open(member, "w", force_zip64=True) as target:
        target.write(array_header(np.dtype(f"<U{width}"), (len(texts),)))
        for text in texts:
            target.write(text.ljust(width, "\0").encode("utf-32-le", "surrogatepass"))


def _write_jsonl(file: BinaryIO, batches: Iterable[_Batch]) -> int:
    count = 0
    for batch in batches:
        count += len(batch.names)
        file.write(_lines(batch))
    return count


def _lines(batch: _Batch) -> bytes:
    """Return a line for each row; numbers have the fewest digits that give the same float32."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    index, *others = batch.columns
    return b"".join(
        orjson.dumps(
            {
                index: batch.columns[index][place],
                **path_fields("name", name),
                **{key: batch.columns[key][place] for key in others},
            },
            option=options,
        )
        for place, name in enumerate(batch.names)
    )


def _write_parquet(file: BinaryIO, batches: Iterable[_Batch]) -> int:
    def part(batch: _Batch) -> dict[str, Column]:
        named = [path_fields("name", each) for each in batch.names]
        texts = {key: [each.get(key) for each in named] for key in ("name", "name_b64")}
        return {"index": batch.columns["index"], **texts, **batch.columns}

    return write_table(file, map(part, batches), {"name": "string", "name_b64": "string"})


def write_table(
    file: BinaryIO, parts: Iterable[Mapping[str, Column]], types: Mapping[str, str]
) -> int:
    """Write a Parquet file of parts with the same columns; return its number of rows.

    A column is an array (n,) or (n, dim), or a list whose type, in Arrow's words, is in `types`.
    """
    arrow = load_pyarrow()

    def column_type(name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
        if name == "list<string>":  # which has no alias
            return arrow.list_(arrow.string())
        return arrow.type_for_alias(name)

    def column(key: str, values: Column) -> Any:  # noqa: ANN401 - pyarrow has no types
        if not isinstance(values, np.ndarray):
            return arrow.array(values, column_type(types[key]))
        if values.ndim == 1:
            return arrow.array(values)
        return arrow.FixedSizeListArray.from_arrays(values.reshape(-1), values.shape[1])

    count = 0
    with ExitStack() as stack:
        writer = None
        for part in parts:
            table = arrow.table({key: column(key, values) for key, values in part.items()})
            if writer is None:
                # a dictionary would only cost time: numbers of vectors hardly repeat
                writer = arrow.parquet.ParquetWriter(file, table.schema, use_dictionary=False)
                stack.callback(writer.close)
            writer.write_table(table)
            count += len(table)
    return count


_WRITERS = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
