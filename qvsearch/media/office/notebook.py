"""Notebooks of Jupyter (.ipynb): the text and the code of cells, and what they printed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import orjson

from qvsearch.errors import MediaError
from qvsearch.media.office.contents import Contents, Line, field
from qvsearch.types import NO_METADATA

MOST_BYTES = 64 * 2**20  # with pictures in base64, which are left out
MOST_OUTPUT = 50  # lines of a cell's output: some print for hours


def read(file: BinaryIO) -> Contents:
    """Read a notebook; raises MediaError."""
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise MediaError(f"too large: a notebook of more than {MOST_BYTES / 2**20:.0f} MiB")
    try:
        notebook = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MediaError("damaged: not a notebook, which is JSON") from error
    cells = _list(notebook, "cells")
    for sheet in _list(notebook, "worksheets"):  # of version 3
        cells = cells + _list(sheet, "cells")
    lines: list[Line] = []
    for number, cell in enumerate(cells, start=1):
        section = f"cell {number}"
        lines += [(section, line) for line in _cell(cell)]
        lines.append((section, ""))
    title = next((line.lstrip("# ") for _, line in lines if line.startswith("# ")), None)
    return Contents([lines], replace(NO_METADATA, title=field(title)))


def _cell(cell: object) -> Iterator[str]:
    yield from _text(_get(cell, "source") or _get(cell, "input")).splitlines()
    for output in _list(cell, "outputs"):
        texts = (_get(output, "text"), _get(_get(output, "data"), "text/plain"))
        printed = "\n".join(filter(None, map(_text, texts))).splitlines()
        yield from printed[:MOST_OUTPUT]


def _get(record: object, name: str) -> Any:  # noqa: ANN401 - JSON of others
    return record.get(name) if isinstance(record, dict) else None


def _list(record: object, name: str) -> list[Any]:
    value = _get(record, name)
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    """Return a text, which notebooks write as one or as a list of lines."""
    if isinstance(value, list):
        return "".join(each for each in value if isinstance(each, str))
    return value if isinstance(value, str) else ""
