"""The text of a document: lines with the section that each is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qvsearch.types import NO_METADATA, Metadata

LONGEST_SECTION = 80  # characters of a heading that names a place
LONGEST_FIELD = 1000  # characters of a title or an author
MOST_KEYWORDS = 64
MOST_ROWS = 5000  # of the tables of a document; a million would cost the model days

Line = tuple[str | None, str]  # its section, its text


@dataclass(frozen=True, slots=True)
class Contents:
    """The flows of a document, each cut into passages of its own, and its metadata.

    A flow is e.g. a slide, a sheet or a chapter. Sections within a flow only name the place.
    """

    flows: Sequence[Sequence[Line]]
    metadata: Metadata = NO_METADATA


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, in which the words of the first row name the values."""
    filled = [[_one_line(cell) for cell in row] for row in rows if any(map(str.strip, row))]
    if not filled:
        return []
    head, *body = filled
    if not body or not _is_head(head):
        return [" | ".join(filter(None, row)) for row in filled]
    return [_named(head, row) for row in body]


def _is_head(row: Sequence[str]) -> bool:
    """Return whether a row names columns: different words, and no numbers."""
    words = [cell for cell in row if cell]
    has_number = any(cell[:1].isdigit() for cell in words)
    return len(words) > 1 and len(set(words)) == len(words) and not has_number


def _named(head: Sequence[str], row: Sequence[str]) -> str:
    names = [*head, *[""] * (len(row) - len(head))]
    pairs = zip(names, row, strict=False)
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def section_of(heading: str) -> str | None:
    """Return a heading as the name of a place, None for an empty one."""
    return _one_line(heading)[:LONGEST_SECTION].strip() or None


def field(text: str | None) -> str | None:
    """Return a field of the metadata in one line, None for an empty one."""
    return (_one_line(text)[:LONGEST_FIELD] or None) if text else None


def keywords(text: str | None) -> tuple[str, ...] | None:
    """Return keywords that stand between commas or semicolons, each once; None for none."""
    words = (field(each) for each in (text or "").replace(";", ",").split(","))
    return tuple(dict.fromkeys(filter(None, words)))[:MOST_KEYWORDS] or None


def sampled(count: int, most: int) -> range:
    """Return the numbers of at most `most` of `count` rows, evenly: the first one is among them."""
    return range(0, count, -(-count // most) if count > most else 1)
