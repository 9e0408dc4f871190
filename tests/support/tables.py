"""Published tables of made-up rows."""

from collections import Counter
from dataclasses import replace

import numpy as np

from qvsearch.published.address import read_address
from qvsearch.published.engine import Table
from qvsearch.published.library import PublishedLibrary
from qvsearch.published.publishers import Ledger, Publisher
from qvsearch.published.schema import About, Row, arrow_rows

NOT_COMPARED = (float("nan"), float("nan"))


def published_rows(place, fingerprint, rows, names, baseline=None):
    """Write (segment, vector, background) into a table; `names` has the name of each root."""
    table = Table(read_address(str(place)), create=About(fingerprint, baseline))
    ordinals = Counter()
    records = []
    for segment, vector, background in rows:
        name = names[segment.item.root]
        known = replace(segment, item=replace(segment.item, root=name.encode()))
        ordinal = ordinals[known.item.number]
        ordinals[known.item.number] += 1
        records.append(Row("me", name, known, ordinal, 0, vector, background))
    for start in range(0, len(records), 5000):
        table.append(arrow_rows(records[start : start + 5000], fingerprint.dim))
    ledger = Ledger(table)
    ledger.write(
        Publisher("me", "owner", roots=Counter(names[each.item.root] for each, *_ in rows))
    )
    return table


def published_copy(library, place, names=None):
    """Publish the rows of a library; return it as a library again."""
    names = names or {root: f"root{number}" for number, root in enumerate(library.roots)}
    numbers = list(library.segments)
    vectors = library.vectors(numbers)
    rows = [
        (library.segments[row], vectors[place], tuple(map(float, library.backgrounds[row])))
        for place, row in enumerate(numbers)
    ]
    published_rows(place, library.fingerprint, rows, names, library.baseline)
    return reopened(place, {name: root for root, name in names.items()})


def reopened(place, places):
    """Open a table whose roots lie in these folders."""
    address = read_address(str(place))
    return PublishedLibrary(place, Table(address), places)


def unit_rows(count, dim, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
