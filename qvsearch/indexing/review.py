"""Known files that look unchanged and yet may need work: their status changed, or a version did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from qvsearch.indexing.changes import hashed
from qvsearch.types import Event, Item, Skipped

if TYPE_CHECKING:
    from qvsearch.indexing.changes import Changes
    from qvsearch.indexing.session import Run
    from qvsearch.media.workers import Decoders


def review(
    run: Run,
    changes: Changes,
    threads: Executor,
    decoders: Decoders,
    report: Callable[[Event], None],
) -> list[Item]:
    """Return the files to decode: those to do, and known ones that turn out to need it."""
    items = list(changes.to_do)
    older = list(changes.older)
    if changes.touched:
        report(Event("checking", files=len(changes.touched)))
        for item in _same_content(run, changes.touched, threads, items):
            if run.before(item).is_older:
                older.append(item)
            else:
                run.refresh(item)
    if older and not run.stopped():
        report(Event("looking", files=len(older)))
        _look(run, older, decoders, items)
    run.plan(items)
    return items


def _same_content(
    run: Run, touched: Iterable[Item], threads: Executor, items: list[Item]
) -> Iterable[Item]:
    """Yield the files that have the content of before; those of another go to `items`.

    One that cannot be read now counts as unchanged, and is compared the next time.
    """
    for item, digest in hashed(touched, threads):
        if run.stopped():
            return
        if isinstance(digest, Skipped):
            run.keep(item)
        elif digest == run.before(item).content_hash:
            yield item
        else:
            items.append(item)


def _look(run: Run, older: Iterable[Item], decoders: Decoders, items: list[Item]) -> None:
    """Look at unchanged files that an older version read; those to be read anew go to `items`.

    They are those that give other segments now, and those that cannot be looked at, whose failure
    is then noted like any other. The rest keep their vectors and get new metadata.
    """
    readings = ((item, run.before(item).reading) for item in older)
    for item, found in decoders.look(readings, run.stopped):
        if run.stopped():
            return
        if found is None or isinstance(found, Skipped):
            run.read_anew(item)
            items.append(item)
        else:
            run.refresh(item, found)
