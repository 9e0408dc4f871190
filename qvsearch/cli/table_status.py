"""Prints the state of a shared table."""

from typing import TYPE_CHECKING

from qvsearch.cli.layout import print_facts
from qvsearch.cli.output import counted, hint, safe_text
from qvsearch.library.names import option

if TYPE_CHECKING:
    from qvsearch.published.status import TableStatus


def print_table_status(status: "TableStatus") -> None:
    """Print what a table holds, who published it, and where its roots lie."""
    fingerprint = status.fingerprint
    model = f"{fingerprint.model} at {fingerprint.revision[:12]}, {fingerprint.dim} dimensions"
    facts = [("table", f"{status.folder}, version {status.version}"), ("model", model)]
    facts += [
        (kind, f"{counted(files, 'file')}, {counted(status.rows[kind], 'segment')}")
        for kind, files in status.files.items()
    ]
    if status.indexed:
        loose = counted(status.loose, "segment")
        facts.append(("index", f"of vectors; {loose} not in it yet, and compared one by one"))
    for each in status.publishers:
        when = (
            f"published {each.published}" if each.token else "not whole: its last run has not ended"
        )
        facts.append(("publisher", f"{each.name}: {counted(each.files, 'file')}, {when}"))
    for root in status.roots:
        place = "not mapped" if root.path is None else safe_text(root.path)
        there = " (not reachable)" if root.path is not None and not root.reachable else ""
        facts.append(("root", f"{root.name}: {place}{there}"))
    print_facts(facts)
    if any(each.path is None for each in status.roots):
        hint(f"to say where a root is: qvsearch roots map NAME FOLDER{option(status.folder)}")
