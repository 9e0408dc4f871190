"""The published table of a run: what it has of the folder, and the rows that it gets."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.published.engine import Table, lists_of, quoted
from qvsearch.published.publishers import Ledger, Publisher
from qvsearch.published.schema import Row, arrow_rows, item_of, published
from qvsearch.vectors.store import check_unit

if TYPE_CHECKING:
    from qvsearch.indexing.batching import Embedded
    from qvsearch.types import Fingerprint, Item, Segment

COLUMNS = ("row", "publisher", "root", "path", "line", "mean", "spread")


class Destination:
    """One publisher's rows in a table; its only root is the folder, or bucket, of the run.

    Rows are added and removed by the next `commit`. Raises QvsearchError if the name is taken.
    """

    def __init__(self, table: Table, name: str, root: bytes) -> None:
        self._table, self.name, self.root = table, name, root
        self._ledger = Ledger(table)
        # whoever indexes the same folder, from whichever computer, continues the same publisher
        owner = f"ray-{hashlib.blake2b(root, digest_size=16).hexdigest()}"
        self._ledger.claim(name, owner)
        self._publisher = Publisher(name, owner, run=uuid.uuid4().hex)
        self._ledger.write(self._publisher)
        self._rows: list[Row] = []
        self._new: list[Row] = []
        self._shrunk: list[int] = []
        self._files = 0
        self._counts: Counter[int] = Counter()  # rows of each file in the table

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the vectors of the table."""
        return self._table.about.fingerprint
