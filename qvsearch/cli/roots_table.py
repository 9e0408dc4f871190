"""The table of a library's roots."""

from collections.abc import Iterable

from rich.text import Text

from qvsearch.cli.layout import Column, Row, laid_out, new_console, print_parts, width_of
from qvsearch.display import safe_text
from qvsearch.indexing.roots import Root
from qvsearch.library.rules import rules_text
from qvsearch.types import Kind


def print_roots(roots: Iterable[Root]) -> None:
    """Print each root with the number of its files, its file system and its rules."""
    console = new_console()
    columns = [Column(f"{kind}s", right=True) for kind in Kind] + [Column("on")]
    rows = [_row(root) for root in roots]
    print_parts(console, [laid_out(columns, rows, width_of(console))])


def _row(root: Root) -> Row:
    cells = [f"{root.items.get(kind, 0):,}" for kind in Kind]
    cells.append(root.file_system or "" if root.reachable else "not there")
    rules = safe_text(rules_text(root.rules))
    below = [Text(rules, overflow="ellipsis")] if rules else []
    return Row(cells, Text(safe_text(root.path)), below, "" if root.reachable else "dim")
