"""Values as SQL writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

AT_ONCE = 1000  # values in one list


def quoted(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def lists_of(column: str, values: Iterable[str]) -> Iterator[str]:
    """Yield SQL filters of a column for some values, written as SQL, AT_ONCE in each."""
    listed = list(values)
    for start in range(0, len(listed), AT_ONCE):
        yield f"{column} IN ({', '.join(listed[start : start + AT_ONCE])})"
