"""How alike inputs are: the matrix of all pairs of two sides, by the embedder or by a reranker."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.choices import Metric
from qvsearch.errors import QvsearchError
from qvsearch.files import new_file
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.tasks.inputs import TaskInput, decode_options_of, embed_inputs, read_inputs
from qvsearch.tasks.sources import as_inputs, label
from qvsearch.tasks.vector_files import FLOATS, array_header, write_names
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.sources import Source
    from qvsearch.types import DecodeOptions, Embedder, Reranker, Vectors

    Inputs = Sequence[TaskInput | Skipped]
    Progress = Callable[[int], None]

MOST_PAIRS = 100_000_000  # 400 MB of scores
ROWS_AT_ONCE = 256  # of distances, which need double precision


@dataclass(frozen=True, slots=True)
class Side:
    """The inputs of one side that could be read: their names, and their places among all.

    `skipped` are the others, with their places and the reasons.
    """

    names: tuple[bytes, ...]
    index: tuple[int, ...]
    skipped: tuple[tuple[int, Skipped], ...] = ()


@dataclass(frozen=True, slots=True)
class Similarity:
    """How alike each row and each column is: `values` (n, m), float32.

    Without columns of their own, `columns` are the rows.
    """

    values: Vectors
    rows: Side
    columns: Side


def similarity(
    rows: Iterable[Source],
    columns: Iterable[Source] | None = None,
    *,
    embedder: Embedder,
    metric: Metric | str = Metric.COSINE,
    query: bool = False,
    instruction: str | None = None,
) -> Similarity:
    """Return how alike each row and each column is; without columns the rows among each other.

    Inputs are those of `embed`. Cosines are from -1 to 1; euclidean distances from 0, for the same
    vector, to 2. All inputs get the instruction of documents or, if given, `instruction`; with
    `query` the columns keep that of documents, and rows get the one of queries.
    """
    first, second = instructions(query, instruction)
    sides = [list(as_inputs(rows, first))]
    if columns is not None:
        sides.append(list(as_inputs(columns, second)))
    return compare(sides, lambda: embedder, decode_options_of(embedder), Metric(metric))


def instructions(query: bool, instruction: str | None) -> tuple[str | None, str | None]:
    """Return the instructions of rows and of columns; None is that of documents."""
    return (instruction or QUERY_INSTRUCTION, None) if query else (instruction, instruction)


def compare(
    sides: Sequence[Inputs],
    load: Callable[[], Embedder],
    options: DecodeOptions,
    metric: Metric = Metric.COSINE,
    progress: Progress = lambda _: None,
) -> Similarity:
    """Return how alike the inputs of one side, or of two, are by their vectors."""
    check_size(sides)
    outcomes = embed_inputs(chain(*sides), load, options)
    read = _read(sides, outcomes, progress)
    rows, columns = (np.array(values, np.float32) for _, values in (read[0], read[-1]))
    return Similarity(scores(rows, columns, metric), read[0][0], read[-1][0])


def compare_by_reranker(
    sides: Sequence[Inputs],
    load: Callable[[], Reranker],
    options: DecodeOptions,
    progress: Progress = lambda _: None,
) -> Similarity:
    """Return P(relevant) of each column for each row, which is the query.

    All inputs are in memory, pictures as pixels. `progress` is called with the number of pairs.
    """
    check_size(sides)
    read = _read(sides, read_inputs(chain(*sides), options), lambda _: None)
    rows, columns = read[0][1], read[-1][1]
    values = np.empty((len(rows), len(columns)), np.float32)
    if values.size:
        reranker = load()
        for place, source in enumerate(rows):
            values[place] = reranker.score(source, columns)
            progress((place + 1) * len(columns))
    return Similarity(values, read[0][0], read[-1][0])


def check_size(sides: Sequence[Inputs]) -> None:
    """Raise QvsearchError for more pairs than memory holds, or none."""
    rows, columns = len(sides[0]), len(sides[-1])
    if not rows or not columns:
        raise QvsearchError("there is nothing to compare; give inputs, or a file with one a line")
    if rows * columns > MOST_PAIRS:
        raise QvsearchError(
            f"{rows:,} x {columns:,} pairs are more than {MOST_PAIRS:,};"
            " compare fewer, or write vectors with: qvsearch embed"
        )


def scores(rows: Vectors, columns: Vectors, metric: Metric) -> Vectors:
    """Return the similarities or distances (n, m) of unit rows (n, dim) and (m, dim)."""
    if not len(rows) or not len(columns):
        return np.empty((len(rows), len(columns)), np.float32)
    if metric is not Metric.EUCLIDEAN:
        products: Vectors = rows @ columns.T
        return products if metric is Metric.DOT else products.clip(-1, 1)
    # |a - b|^2 = |a|^2 + |b|^2 - 2ab, which loses the small distances in single precision
    exact = columns.astype(np.float64)
    lengths = np.einsum("md,md->m", exact, exact)
    distances = np.empty((len(rows), len(columns)), np.float32)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE].astype(np.float64)
        own = np.einsum("nd,nd->n", some, some)
        squares = own[:, None] + lengths - 2 * (some @ exact.T)
        distances[first : first + ROWS_AT_ONCE] = np.sqrt(squares.clip(0))
    return distances


def write_similarity(path: Path, result: Similarity) -> None:
    """Write an .npz file: `similarity` (n, m), and `rows` and `columns` with their `_index`."""
    with new_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        sides = {"row": result.rows, "column": result.columns}
        arrays = {"similarity": result.values.astype(FLOATS, copy=False)}
        arrays |= {f"{key}_index": np.array(side.index, "<i8") for key, side in sides.items()}
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as target:
                target.write(array_header(array.dtype, array.shape) + array.tobytes())
        for key, side in sides.items():
            write_names(archive, f"{key}s", side.names)


def _read(
    sides: Sequence[Inputs], outcomes: Iterator[Any], progress: Progress
) -> list[tuple[Side, list[Any]]]:
    """Return each side with the values of its inputs, from the outcomes of all inputs in order."""
    read = []
    done = 0
    for inputs in sides:
        values, index, skipped = [], [], []
        for place, outcome in enumerate(islice(outcomes, len(inputs))):
            if isinstance(outcome, Skipped):
                skipped.append((place, outcome))
            else:
                values.append(outcome)
                index.append(place)
            done += 1
            progress(done)
        names = tuple(label(inputs[place]) for place in index)
        read.append((Side(names, tuple(index), tuple(skipped)), values))
    return read
