"""How many words the rows of a table have, and which of them most rows have; cached by version."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import orjson

from qvsearch.cache import cache_folder, file_name, keep, read

if TYPE_CHECKING:
    from qvsearch.published.engine import Table

SAMPLE = 4096  # rows in which words are counted
SURE = 0.55  # share of the sample: six standard errors above one half


@dataclass(frozen=True, slots=True)
class WordCounts:
    """The number of `rows` with words, that of their `tokens`, and tokens of more than half."""

    rows: int = 0
    tokens: int = 0
    frequent: tuple[str, ...] = ()


def word_counts(table: Table) -> WordCounts:
    """Return the counts of a table's present version, from the cache if they are there.

    Raises QvsearchError if the table cannot be read.
    """
    place = (str(table.address), table.version, table.about, "words")
    path = cache_folder("tables") / file_name(*place)
    if (known := _read(read(path))) is not None:
        return known
    lengths = table.scan(["length"], "length IS NOT NULL")["length"].to_numpy()
    if not len(lengths):
        return WordCounts()
    where = f"lot < {(SAMPLE << 32) // len(lengths)} AND tokens IS NOT NULL"
    texts = table.scan(["tokens"], where)["tokens"].to_pylist()
    found = Counter(token for text in texts for token in {*text.split(" ")})
    frequent = tuple(token for token, rows in found.items() if rows > SURE * len(texts))
    counts = WordCounts(len(lengths), int(lengths.sum(dtype="int64")), frequent)
    keep(path, orjson.dumps(asdict(counts)))
    return counts


def _read(body: bytes | None) -> WordCounts | None:
    try:
        record = orjson.loads(body or b"")
        return WordCounts(int(record["rows"]), int(record["tokens"]), tuple(record["frequent"]))
    except (KeyError, TypeError, ValueError):
        return None
