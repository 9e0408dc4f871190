"""The tool status: what the libraries hold, what failed and what search can filter by."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.mcp.arguments import names_of

if TYPE_CHECKING:
    from pathlib import Path

    from qvsearch.mcp.arguments import StatusArguments
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.retrieval.shelf import Shelf

SHOWN = 5  # files of each list
SHOWN_VALUES = 20  # of a field, e.g. cameras


def status(shelf: Shelf, arguments: StatusArguments) -> dict[str, Any]:
    """Return the record of `status`: each library beside its folders.

    It opens libraries of its own, since looking at all files may take long on a slow drive.
    """
    return {
        "libraries": [
            _record(name, folder)
            for name, folder in shelf.folders(names_of(arguments.library)).items()
        ]
    }


def _record(name: str, folder: Path) -> dict[str, Any]:
    from qvsearch.indexing.fields import library_fields
    from qvsearch.indexing.status import library_status
    from qvsearch.published.opening import is_published, open_at
    from qvsearch.records.library import fields_record, status_record
    from qvsearch.runtime.manager import running

    try:
        library = open_at(folder)
        if is_published(library):
            return {**_table_record(library), "library": name}
        record: dict[str, Any] = status_record(library_status(library), running())
        fields: dict[str, Any] = fields_record(library, library_fields(library))
    except QvsearchError as error:
        return {"library": name, "problem": str(error)}
    more: dict[str, int] = {}
    for each in ("changed", "gone", "failed", "left_out", "damaged", "partial"):
        if (rest := len(record[each]) - SHOWN) > 0:
            more[each] = rest
            record[each] = record[each][:SHOWN]
    record["left_aside"] = dict(islice(record["left_aside"].items(), SHOWN_VALUES))
    record.pop("library_b64", None)
    return {
        **record,
        "library": name,
        "fields": _short(fields["fields"]),
        **({"more": more} if more else {}),
    }


def _table_record(library: PublishedLibrary) -> dict[str, Any]:
    """Return the record of a shared table."""
    from qvsearch.indexing.fields import library_fields
    from qvsearch.published.status import table_status
    from qvsearch.records.library import fields_record
    from qvsearch.records.published import table_record

    fields: dict[str, Any] = fields_record(library, library_fields(library))
    return {**table_record(table_status(library)), "fields": _short(fields["fields"])}


def _short(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields with the names of arguments, and with the most frequent values only."""
    for each in fields.values():
        each["options"] = [name.lstrip("-").replace("-", "_") for name in each["options"]]
        if "values" in each:
            each["values"] = dict(islice(each["values"].items(), SHOWN_VALUES))
    return fields
