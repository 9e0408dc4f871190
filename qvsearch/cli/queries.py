"""Many queries, one a line of a file or of standard input, asked one after another."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qvsearch.cli import output
from qvsearch.errors import INCOMPLETE, NOTHING_FOUND, QvsearchError

if TYPE_CHECKING:
    from qvsearch.retrieval.query import Query
    from qvsearch.types import Hit

LONGEST = 1 << 16  # bytes of a line; the model reads some thousand words


def read_lines(source: bytes | None) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line that holds a query.

    None is standard input, of which a line is read as soon as it is there.
    """
    if source is None:
        if sys.stdin.isatty():
            output.hint("one query a line; Ctrl-D ends")
        yield from _numbered(sys.stdin.buffer, "standard input")
        return
    name = os.fsdecode(source)
    with Path(name).open("rb") as file:
        yield from _numbered(file, name)


def _numbered(file: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    number, found = 0, False
    while line := file.readline(LONGEST):
        number += 1
        if len(line) == LONGEST:
            raise QvsearchError(f"line {number} of {name} is longer than {LONGEST - 1:,} bytes")
        text = os.fsdecode(line).strip("\r\n\ufeff")
        if text.strip():
            found = True
            yield number, text
    if not found:
        raise QvsearchError(f"there is no query in {name}; write one a line")


def ask_all(
    source: bytes | None,
    parse: Callable[[str], Query],
    answers: Callable[[Iterable[Query]], Iterator[list[Hit] | QvsearchError]],
    show: Callable[[list[Hit], int, str], int],
) -> int:
    """Show the hits of each query, and return the exit code of all.

    A query that cannot be understood, or whose file cannot be read, is reported and left out.
    """
    codes: set[int] = set()
    waiting: deque[tuple[int, str]] = deque()

    def fail(number: int, error: QvsearchError) -> None:
        output.fail(f"query {number}: {error}")
        codes.add(INCOMPLETE)

    def queries() -> Iterator[Query]:
        for number, text in read_lines(source):
            try:
                query = parse(text)
            except QvsearchError as error:
                fail(number, error)
            else:
                waiting.append((number, text))
                yield query

    for found in answers(queries()):
        number, text = waiting.popleft()
        if isinstance(found, QvsearchError):
            fail(number, found)
        else:
            codes.add(show(found, number, text))
    return INCOMPLETE if INCOMPLETE in codes else min(codes, default=NOTHING_FOUND)
