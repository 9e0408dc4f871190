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
from qvsearch.library.vendored import Vendored
from qvsearch.published.address import read_address, storage_options
from qvsearch.types import Item, Skipped, kind_of

if TYPE_CHECKING:
    from qvsearch.library.rules import ScanOptions

S3 = b"s3://"
CONNECT_SECONDS, REQUEST_SECONDS, ATTEMPTS = 10, 60, 3


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
    vendored = Vendored(options.include)
    leftovers: dict[bytes, Counter[str]] = {}
    for path, info in _files(root):
        if stop():
            return
        parts = path.split(b"/")
        if clutter.within(path) is not None or not {b"", b".", b".."}.isdisjoint(parts):
            continue
        if not options.hidden and any(part.startswith(b".") for part in parts):
            continue
        kind = kind_of(path) if vendored.reason(path) is None else None
        if kind is None:
            if selects(path, None):
                folder = os.path.join(root, *parts[:-1])
                leftovers.setdefault(folder, Counter())[suffix_of(parts[-1])] += 1
        elif selects(path, kind):
            yield Item(root, path, kind, info.size, info.mtime_ns)
    yield from (Leftovers(folder, suffixes) for folder, suffixes in leftovers.items())


def _files(root: bytes) -> Iterator[tuple[bytes, Any]]:
    """Yield the files of a prefix: the path below it, and what the bucket tells of each."""
    from pyarrow import fs

    base = os.fsdecode(root.removeprefix(S3))
    try:
        listed = _file_system(root).get_file_info(fs.FileSelector(base, recursive=True))
    except OSError as error:
        raise QvsearchError(f"cannot list {os.fsdecode(root)}: {_reason(error)}") from error
    for info in sorted(listed, key=lambda info: str(info.path)):
        if info.is_file:
            yield os.fsencode(info.path)[len(os.fsencode(base)) + 1 :], info


def _file_system(root: bytes) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return pyarrow's S3, with the server and the keys that a published table there would have."""
    from pyarrow import fs

    options = storage_options(read_address(os.fsdecode(root) + "/table"))
    endpoint = options.get("endpoint", "")
    scheme, _, host = endpoint.rpartition("://")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(
        endpoint_override=host or None,
        scheme=scheme or "https",
        region=region,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


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
        systems = {root: _file_system(root) for root in {item.root for item in items}}
        sources = [systems[item.root] for item in items]
        for item, copied in zip(items, threads.map(_fetch, items, places, sources), strict=True):
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


def _fetch(item: Item, folder: bytes, system: Any) -> Item | Skipped:  # noqa: ANN401 - as above
    """Copy a file of a bucket, with its name, which may have a date, and its time."""
    name = os.path.basename(item.path)
    target = Path(os.fsdecode(os.path.join(folder, name)))
    try:
        target.parent.mkdir()
        source = os.fsdecode(item.location.removeprefix(S3))
        with system.open_input_stream(source) as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file)
        os.utime(target, ns=(item.mtime_ns, item.mtime_ns))
    except OSError as error:
        return Skipped(item.location, _reason(error))
    return replace(item, root=folder, path=name)


def _reason(error: OSError) -> str:
    return next(iter((error.strerror or str(error)).splitlines()), type(error).__name__)
