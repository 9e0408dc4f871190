"""Files that look unchanged and yet may need work: those that an older version read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qvsearch.types import Event, Item, Skipped

if TYPE_CHECKING:
    from qvsearch.changes import Changes
    from qvsearch.media.workers import Decoders
    from qvsearch.run import Run


def review(
    run: Run, changes: Changes, decoders: Decoders, report: Callable[[Event], None]
) -> list[Item]:
    """Return the files to decode, after a look at the unchanged ones that an older version read.

    A file that gives other segments now is decoded again, as is one that cannot be looked at, whose
    failure is then noted like any other. The others keep their vectors and get new metadata.
    """
    items = list(changes.to_do)
    if changes.older:
        report(Event("looking", files=len(changes.older)))
        readings = ((item, run.reading(item)) for item in changes.older)
        for item, found in decoders.look(readings, run.stopped):
            if run.stopped():
                break
            if found is None or isinstance(found, Skipped):
                run.read_anew(item)
                items.append(item)
            else:
                run.refresh(item, found)
    run.plan(items)
    return items
