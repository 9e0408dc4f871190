"""Prints hits as CSV (RFC 4180), with the fields of --json as columns."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping

from qvsearch.cli.output import write
from qvsearch.display import safe_text

COLUMNS = (
    *("query", "rank", "relevance", "score", "id", "kind", "path", "path_b64"),
    *("path_marks", "root"),
    *("start", "end", "clip", "lines", "section", "snippet", "marks", "width", "height"),
    *("taken", "taken_from", "camera", "latitude", "longitude", "duration"),
    *("page", "pages", "pictures", "partial", "damaged", "several"),
    *("title", "author", "keywords", "rating", "language", "mtime", "library", "library_b64"),
    *("rerank_score", "saved", "saved_b64", "copy", "copy_b64", "moments", "gone", "duplicates"),
)


class HitCsv:
    """Writes records of hits to standard output; the first ones bring the heading.

    Texts are exact, also those that a spreadsheet would compute; on a terminal they are harmless.
    Lists are JSON, and absent fields are empty.
    """

    def __init__(self) -> None:
        self._has_heading = False

    def write(self, records: Iterable[Mapping[str, object]]) -> None:
        """Write a line for each record."""
        is_terminal = sys.stdout.isatty()
        text = io.StringIO()
        writer = csv.writer(text)
        for record in records:
            if not self._has_heading:
                writer.writerow(COLUMNS)
                self._has_heading = True
            cells = [_cell(record.get(name)) for name in COLUMNS]
            writer.writerow(map(safe_text, cells) if is_terminal else cells)
        write(text.getvalue().encode("utf-8", "replace"))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
