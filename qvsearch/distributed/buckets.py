"""Files of an S3 bucket: listed like a folder, and fetched by the node that decodes them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.indexing.batching import Embedded
from qvsearch.indexing.scan import Leftovers, selector, suffix_of
from qvsearch.library.clutter import Clutter
from qvsearch.tasks.extras import needed
from qvsearch.types import Item, Skipped, kind_of

if TYPE_CHECKING:
    from qvsearch.library.rules import ScanOptions

S3 = b"s3://"


def is_bucket(path: bytes) -> bool:
    """Return whether a path lies in a bucket, and not in a folder."""
    return path.startswith(S3)


def scan_bucket(
    root: bytes, options: ScanOptions, stop: Callable[[], bool]
) -> Iterator[Item | Leftovers]:
    """Yield the files below a prefix of a bucket, chosen by the rules of `indexing.scan`.

    A `.qvsearchignore` has no effect here. Raises QvsearchError if the bucket cannot be listed: a
    part of a list would look like deleted files.
    """
    selects, clutter = selector(options), Clutter(root, options.include)
    leftovers: dict[bytes, Counter[str]] = {}
    for path, info in _files(root):
        if stop():
            return
        parts = path.split(b"/")
        if clutter.within(path) is not None or not all(parts):
            continue
        if not options.hidden and any(part.startswith(b".") for part in parts):
            continue
        kind = kind_of(path)
        if kind is None:
            if selects(path, None):
                folder = os.path.join(root, *parts[:-1])
                leftovers.setdefault(folder, Counter())[suffix_of(parts[-1])] += 1
        elif selects(path, kind):
            yield Item(root, path, kind, info.size, info.mtime_ns)
    yield from (Leftovers(folder, suffixes) for folder, suffixes in leftovers.items())


def _files(root: bytes) -> Iterator[tuple[bytes, Any]]:
    """Yield the files of a prefix: the path below it, and what the bucket tells of each."""
    fs = needed("pyarrow.fs", "pyarrow", "s3:// paths", "ray")
    base = os.fsdecode(root.removeprefix(S3))
    try:
        listed = fs.S3FileSystem().get_file_info(fs.FileSelector(base, recursive=True))
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise QvsearchError(f"cannot list {os.fsdecode(root)}: {reason}") from error
    for info in sorted(listed, key=lambda info: str(info.path)):
        if info.is_file:
            yield os.fsencode(info.path)[len(os.fsencode(base)) + 1 :], info


@contextmanager
def fetched(
    items: Sequence[Item], threads: Executor, unread: list[Skipped]
) -> Iterator[tuple[list[Item], Callable[[Embedded | Skipped], Embedded | Skipped]]]:
    """Give files as they lie on this computer, and a function that puts outcomes back in place.

    Files of a bucket are copied into a temporary folder; the failures are added to `unread`.
    """
    if not any(is_bucket(item.root) for item in items):
        yield list(items), lambda outcome: outcome
        return
    with TemporaryDirectory(prefix="qvsearch-") as folder:
        there: dict[bytes, Item] = {}
        copies = []
        places = [os.fsencode(Path(folder, str(number))) for number in range(len(items))]
        for item, copied in zip(items, threads.map(_fetch, items, places), strict=True):
            if isinstance(copied, Skipped):
                unread.append(copied)
            else:
                copies.append(copied)
                there[copied.location] = item

        def back(outcome: Embedded | Skipped) -> Embedded | Skipped:
            if isinstance(outcome, Skipped):
                item = there.get(outcome.path)  # None for one that could not be fetched
                return outcome if item is None else replace(outcome, path=item.location)
            item = there[outcome.item.location]
            segments = tuple(replace(each, item=item) for each in outcome.segments)
            return Embedded(item, segments, outcome.vectors)

        yield copies, back


def _fetch(item: Item, folder: bytes) -> Item | Skipped:
    """Copy a file of a bucket, with its name, which may have a date, and its time."""
    from pyarrow import fs

    name = os.path.basename(item.path)
    target = Path(os.fsdecode(os.path.join(folder, name)))
    try:
        target.parent.mkdir()
        source = os.fsdecode(item.location.removeprefix(S3))
        with fs.S3FileSystem().open_input_stream(source) as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file)
        os.utime(target, ns=(item.mtime_ns, item.mtime_ns))
    except OSError as error:
        return Skipped(item.location, str(error).splitlines()[0])
    return replace(item, root=folder, path=name)
