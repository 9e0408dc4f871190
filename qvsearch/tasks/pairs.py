"""Files of pairs, e.g. of sentences: reads them, and writes each line again with its score."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from qvsearch.errors import QvsearchError
from qvsearch.tasks.inputs import TaskInput, file_input, parse_dictionary
from qvsearch.tasks.sources import pieces
from qvsearch.types import Skipped, is_file_name, kind_of

if TYPE_CHECKING:
    Pair = tuple[TaskInput | Skipped, TaskInput | Skipped]

SUFFIXES = (".tsv", ".csv", ".jsonl")
COLUMN = "similarity"
# names of columns that are taken without --columns; the first are those of the STS benchmark
KNOWN = (("sentence1", "sentence2"), ("text1", "text2"), ("query", "document"), ("a", "b"))


@dataclass(frozen=True, slots=True)
class PairLine:
    """A line of a file of pairs: its cells or its object, and the two inputs in it.

    `pair` is None for the heading; a Skipped in it is an input that is wrong.
    """

    number: int
    content: list[str] | dict[str, Any]
    pair: Pair | None = None


@dataclass(frozen=True, slots=True)
class PairFile:
    """How a file of pairs is read.

    `name` is the file's, for reports; its suffix is one of SUFFIXES. `columns` are two names or
    numbers from 1; None finds the names of KNOWN, or takes the first two columns. Paths are
    relative to `folder`. `instructions` are those of both sides.
    """

    name: str
    suffix: str
    folder: bytes
    columns: tuple[str, str] | None = None
    instructions: tuple[str | None, str | None] = (None, None)

    def read(self, stream: BinaryIO) -> Iterator[PairLine | Skipped]:
        """Yield each line; a Skipped is one that cannot be written again.

        Raises QvsearchError if the file has no such columns, or already a column of scores.
        """
        lines = pieces(stream, self.name, b"\n")
        return self._read_objects(lines) if self.suffix == ".jsonl" else self._read_cells(lines)

    def write(self, line: PairLine, score: float | None) -> bytes:
        """Return a line with its score; without one the cell is empty."""
        shown = "" if score is None else f"{score:.6f}"
        if isinstance(line.content, dict):
            scored = {} if score is None else {COLUMN: round(score, 6)}
            text = json.dumps(line.content | scored, ensure_ascii=False)
            return text.encode("utf-8", "backslashreplace") + b"\n"  # half a pair is \ud83d again
        cells = [*line.content, COLUMN if line.pair is None else shown]
        if self.suffix == ".tsv":
            text = "\t".join(cells) + "\n"
        else:
            target = io.StringIO()
            csv.writer(target, lineterminator="\n").writerow(cells)
            text = target.getvalue()
        return text.encode("utf-8", "surrogateescape")

    def _read_objects(self, lines: Iterable[bytes]) -> Iterator[PairLine | Skipped]:
        keys = self.columns
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield self._wrong(number, f"it is not JSON: {error}")
                continue
            if not isinstance(content, dict):
                yield self._wrong(number, "it is not an object")
                continue
            self._check_column(content)
            keys = keys or _known(content)
            if keys is None:
                raise QvsearchError(f"{self.name} has no known columns; {self._remedy(content)}")
            yield PairLine(number, content, self._pair(number, [content.get(key) for key in keys]))

    def _read_cells(self, lines: Iterable[bytes]) -> Iterator[PairLine | Skipped]:
        places: list[int] = []
        width = 0
        for number, cells in self._cells(lines):
            if not any(cells):
                continue
            if not width:
                cells[0] = cells[0].removeprefix("\ufeff")
                places, width = self._places(cells), len(cells)
                if self._is_heading(cells):
                    self._check_column(cells)
                    yield PairLine(number, cells)
                    continue
            if len(cells) > width:
                reason = f"it has {len(cells)} columns, and the first line has {width}"
                wrong = self._wrong(number, reason)
                yield PairLine(number, cells, (wrong, wrong))
                continue
            cells += [""] * (width - len(cells))
            yield PairLine(number, cells, self._pair(number, [cells[place] for place in places]))

    def _cells(self, lines: Iterable[bytes]) -> Iterator[tuple[int, list[str]]]:
        """Yield the number and the cells of each line; TSV has no quotes, CSV those of Excel."""
        texts = (line.decode("utf-8", "surrogateescape") for line in lines)
        if self.suffix == ".tsv":
            for number, text in enumerate(texts, 1):
                yield number, text.rstrip("\r\n").split("\t")
            return
        reader = csv.reader(texts)
        try:
            for cells in reader:
                yield reader.line_num, cells
        except csv.Error as error:
            raise QvsearchError(f"line {reader.line_num} of {self.name}: {error}") from error

    def _is_heading(self, cells: list[str]) -> bool:
        names = self.columns or _known(cells)
        return names is not None and not all(name.isdigit() for name in names)

    def _places(self, cells: list[str]) -> list[int]:
        """Return the places of both columns by the first line of the file."""
        names = self.columns or _known(cells) or ("1", "2")
        places = []
        for name in names:
            if name in cells:
                places.append(cells.index(name))
            elif name.isdigit() and 0 < int(name) <= len(cells):
                places.append(int(name) - 1)
            else:
                raise QvsearchError(f"{self.name} has no column {name}; {self._remedy(cells)}")
        return places

    def _remedy(self, names: Iterable[str]) -> str:
        shown = ", ".join(map(str, names))[:200]
        return f"give two of its own with --columns A,B; it begins with: {shown}"

    def _check_column(self, names: Iterable[str]) -> None:
        if COLUMN in names:
            raise QvsearchError(f"{self.name} already has a column {COLUMN}; rename that")

    def _pair(self, number: int, values: list[Any]) -> Pair:
        first, second = (
            self._input(number, side, value)
            for side, value in zip(self.instructions, values, strict=True)
        )
        return first, second

    def _input(self, number: int, instruction: str | None, value: object) -> TaskInput | Skipped:
        """Return the input of a cell: a file if it is one, words, or a dictionary."""
        name = f"line {number} of {self.name}"
        try:
            if isinstance(value, str) and _is_file(value, self.folder):
                each = file_input(os.path.join(self.folder, os.fsencode(value)))
            else:
                content = {"text": value} if isinstance(value, str) else value
                each = parse_dictionary(name, content or {}, self.folder)
        except QvsearchError as error:
            return self._wrong(number, str(error).removeprefix(name).lstrip(": "))
        named = replace(each, name=os.fsencode(name))
        return named if named.instruction else replace(named, instruction=instruction)

    def _wrong(self, number: int, reason: str) -> Skipped:
        return Skipped(os.fsencode(f"line {number} of {self.name}"), reason)


def score_pairs(
    lines: Iterable[PairLine],
    resolve: Callable[[Iterable[TaskInput | Skipped]], Iterator[Any]],
    score: Callable[[Any, Any], float],
) -> Iterator[tuple[PairLine, float | Skipped | None]]:
    """Yield each line with its score, or why it has none; None for the heading.

    `resolve` returns what `score` compares, or a Skipped, for each input in order.
    """
    waiting: deque[PairLine] = deque()

    def inputs() -> Iterator[TaskInput | Skipped]:
        for line in lines:
            waiting.append(line)
            yield from line.pair or ()

    outcomes = resolve(inputs())
    for first in outcomes:
        second = next(outcomes)
        while waiting[0].pair is None:
            yield waiting.popleft(), None
        wrong = [each for each in (first, second) if isinstance(each, Skipped)]
        yield waiting.popleft(), wrong[0] if wrong else score(first, second)
    for line in waiting:
        yield line, None


def _known(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two names of KNOWN that are both there."""
    present = set(names)
    return next((pair for pair in KNOWN if present.issuperset(pair)), None)


def _is_file(value: str, folder: bytes) -> bool:
    """Return whether a cell is the path of a file: one is there, or a word has such a suffix."""
    try:
        path = os.fsencode(value)
        if b"\0" in path or kind_of(path) is None:
            return False
        is_there = Path(os.fsdecode(os.path.join(folder, path))).is_file()
    except (OSError, UnicodeEncodeError):  # too long for the name of a file, or no text
        return False
    return is_there or (is_file_name(path) and len(value.split()) == 1)
