"""Keeps a table fast and small: indices, compaction, and old versions, as often as pays."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from qvsearch.published.engine import SCALARS, TOKENS, VECTOR
from qvsearch.published.publishers import Upkeep

if TYPE_CHECKING:
    from qvsearch.published.engine import Shape, Table
    from qvsearch.published.publishers import Ledger

INDEX_FROM = 20_000  # rows: with fewer, comparing all takes less than 0.1 s
WORDS_FROM = 10_000  # rows; a search reads a table of fewer as a whole
GROWN = 4  # times as many rows as when the partitions were drawn: they are drawn again
MOST_LOOSE = 20_000  # rows that each search compares one by one: 0.1 s
LEAST_LOOSE = 1000
MOST_FILES = 64
KEPT = timedelta(minutes=15)  # old versions stay so long for queries that still read them


def keep_up(table: Table, ledger: Ledger, begin: Callable[[], None] = lambda: None) -> None:
    """Build the indices that are due, and compact a table of many small files or loose rows.

    `begin` is called before work that may take minutes. Others may do the same at the same time;
    the work is done twice then, and nothing is lost.
    """
    table.refresh()
    upkeep, shape = ledger.upkeep(), table.shape
    if not shape.rows:
        return
    for column in SCALARS:
        if column not in shape.indexed:
            table.index(column)
    has_words = TOKENS in shape.indexed or shape.rows < WORDS_FROM
    if not has_words and table.count("tokens IS NOT NULL"):
        begin()
        table.index(TOKENS)
    if is_due(shape):
        begin()
        table.compact(KEPT)
        upkeep = Upkeep(upkeep.trained, int(time.time()))
        ledger.write_upkeep(upkeep)
    if shape.rows >= max(INDEX_FROM, GROWN * upkeep.trained):
        begin()
        table.index(VECTOR)
        ledger.write_upkeep(Upkeep(shape.rows, upkeep.compacted))


def is_due(shape: Shape) -> bool:
    """Return whether compacting a table pays: it writes most of its last million rows again."""
    return shape.files >= MOST_FILES or shape.loose > max(
        LEAST_LOOSE, min(MOST_LOOSE, shape.rows // 10)
    )


def clean_up(table: Table, ledger: Ledger) -> None:
    """Delete the versions from before the last compaction once no query reads them any more."""
    upkeep = ledger.upkeep()
    if upkeep.compacted and time.time() - upkeep.compacted > KEPT.total_seconds():
        table.compact(KEPT)
        ledger.write_upkeep(Upkeep(upkeep.trained, 0))
