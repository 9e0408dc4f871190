"""Records that `similarity --json` prints.

The docstring of each function describes its fields; `docs/json.md` is generated from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvsearch.formats import path_fields

if TYPE_CHECKING:
    from qvsearch.tasks.similarity import Similarity


def similarity_record(
    row: tuple[int, bytes], column: tuple[int, bytes], value: float
) -> dict[str, object]:
    """Return a pair of `similarity --json`, one a line.

    a, b (integer): places of both inputs on their sides, from 0
    a_name, b_name, a_name_b64, b_name_b64 (string): words of an input, or the path of its file
    similarity (number): cosine or dot product, -1 to 1; with `--metric euclidean` the distance, 0
        to 2; with `--rerank` the probability that `b` answers `a`
    """
    return {
        "a": row[0],
        "b": column[0],
        **path_fields("a_name", row[1]),
        **path_fields("b_name", column[1]),
        "similarity": round(value, 6),
    }


def similarity_records(result: Similarity) -> Iterator[dict[str, object]]:
    """Yield the record of each pair, row by row."""
    columns = list(zip(result.columns.index, result.columns.names, strict=True))
    rows = zip(result.rows.index, result.rows.names, strict=True)
    for row, values in zip(rows, result.values.tolist(), strict=True):
        for column, value in zip(columns, values, strict=True):
            yield similarity_record(row, column, value)
