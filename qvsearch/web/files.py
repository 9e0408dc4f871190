"""Opens a file of a library only if it still has the indexed content."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from qvsearch.errors import system_reason
from qvsearch.files import hash_open_file, open_file
from qvsearch.library.identity import Gone

if TYPE_CHECKING:
    from io import FileIO

    from qvsearch.types import Segment

VERIFIED = 10_000  # files whose content is not hashed again while their state is the same


class _State(NamedTuple):
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Originals:
    """Opens the files of items; safe for several threads.

    The path of an item may lead elsewhere by now, e.g. through a link that somebody has put in its
    place. So the opened file is compared with the indexed content, whatever its name is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verified: OrderedDict[tuple[str, _State], None] = OrderedDict()

    def open(self, segment: Segment) -> FileIO:
        """Return the open file of an item; raises Gone if it is missing or has another content."""
        name = os.fsdecode(os.path.basename(segment.item.location))
        try:
            file = open_file(segment.item.location)
        except OSError as error:
            raise Gone(f"{name} cannot be opened: {system_reason(error)}") from error
        try:
            self._verify(file, segment, name)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def touched(self, segment: Segment) -> Segment:
        """Return a segment with the present time of its file, whose content is the indexed one.

        Decoders compare times; a program may have changed only that. Raises Gone.
        """
        with self.open(segment) as file:
            mtime_ns = os.fstat(file.fileno()).st_mtime_ns
        return replace(segment, item=replace(segment.item, mtime_ns=mtime_ns))

    def check(self, segment: Segment) -> None:
        """Raise Gone if the file of an item is missing or has another content."""
        self.open(segment).close()

    def _verify(self, file: FileIO, segment: Segment, name: str) -> None:
        status = os.fstat(file.fileno())
        state = _State(
            *(status.st_dev, status.st_ino, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        )
        known = (segment.content_hash, state)
        with self._lock:
            if known in self._verified:
                self._verified.move_to_end(known)
                return
        try:
            digest = hash_open_file(file, segment.item.size)
        except OSError:  # of another size
            digest = ""
        if digest != segment.content_hash or not stat.S_ISREG(status.st_mode):
            raise Gone(f"{name} has changed since it was indexed; run: qvsearch index")
        with self._lock:
            self._verified[known] = None
            while len(self._verified) > VERIFIED:
                self._verified.popitem(last=False)
