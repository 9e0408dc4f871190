"""Which publishers of a table have rows of an older version; cached by table version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from qvsearch.cache import cache_folder, file_name, keep, read
from qvsearch.published.publishers import list_publishers
from qvsearch.published.schema import FORM
from qvsearch.published.sql import quoted

if TYPE_CHECKING:
    from qvsearch.published.engine import Table


def outdated_publishers(table: Table) -> list[str]:
    """Return the publishers whose rows lack words and regions, or have those of another FORM.

    Raises QvsearchError if the table cannot be read.
    """
    if "form" in table.lacking.names:
        return [each.name for each in list_publishers(table)]
    names = [each.name for each in list_publishers(table)]
    place = (str(table.address), table.version, table.about, FORM, names, "outdated")
    path = cache_folder("tables") / file_name(*place)
    if (known := _read(read(path))) is not None:
        return known
    older = f"(form IS NULL OR form <> {FORM})"
    found = [name for name in names if table.count(f"publisher = {quoted(name)} AND {older}")]
    keep(path, orjson.dumps(found))
    return found


def _read(body: bytes | None) -> list[str] | None:
    try:
        return [str(each) for each in orjson.loads(body or b"")]
    except (TypeError, ValueError):
        return None
