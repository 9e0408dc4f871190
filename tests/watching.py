"""Decodes files in the product's worker process, which here dies of what no decoder may do.

A violation ends the process by SIGABRT, which the parent sees as a crash: no code in between can
swallow it.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

from qvsearch import media
from qvsearch.media.workers import Decoders
from qvsearch.types import Decoded, Item, Kind

FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "shutil.",
    "tempfile.",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
watched = False


def decode(item, content_hash, max_pixels, video_mode):
    """What the product's workers call, after a hook is set that no Python code can take off."""
    global watched
    if not watched:
        for kind in Kind:  # importing may write byte code
            import_module(f"qvsearch.media.{kind}")
        sys.dont_write_bytecode = True
        sys.addaudithook(abort_on_violation)
        watched = True
    return media.decode(item, content_hash, max_pixels, video_mode)


def abort_on_violation(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    if event.startswith(FORBIDDEN) or writes:
        os.abort()


class Watch:
    """Decodes files, given as (name, bytes), in one worker; a context manager.

    `peak` is then the most memory, in bytes, that a worker held which was alive at the end, and
    `children` the processes that these had started.
    """

    def __init__(self, folder, kind, seconds=30.0, max_pixels=256 * 1024, modes=()):
        self.folder, self.kind, self.max_pixels = Path(folder), kind, max_pixels
        self.modes = modes
        self.decoders = Decoders(1, decode, lambda item: seconds)
        self.peak, self.children = 0, []

    def __enter__(self):
        self.decoders.__enter__()
        return self

    def __exit__(self, *error):
        for worker in self.decoders._running:
            process = Path(f"/proc/{worker.process.pid}")
            status = (process / "status").read_text()
            self.peak = max(self.peak, 1024 * int(status.split("VmHWM:")[1].split()[0]))
            self.children += [
                child
                for path in process.glob("task/*/children")
                for child in path.read_text().split()
            ]
        self.decoders.__exit__(*error)

    def outcomes(self, files):
        """Yield (name, the number of its segments or the reason why there are none)."""
        names = []

        def jobs():
            for name, data in files:
                path = self.folder / str(len(names))
                path.write_bytes(data)
                status = path.stat()
                names.append(name)
                root, place = os.fsencode(self.folder), os.fsencode(path.name)
                yield Item(root, place, self.kind, status.st_size, status.st_mtime_ns), "hash"

        results = self.decoders.decode(jobs(), self.max_pixels, *self.modes)
        for number, result in enumerate(results):
            (self.folder / str(number)).unlink()
            good = isinstance(result, Decoded)
            yield names[number], len(result.segments) if good else result.reason
