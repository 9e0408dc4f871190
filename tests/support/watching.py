"""Decodes files in the product's worker process, which here dies of what no decoder may do.

A violation ends the process by SIGABRT, which the parent sees as a crash: no code in between can
swallow it.
"""

import os
import sys
from collections import Counter
from contextlib import ExitStack, chdir
from importlib import import_module
from pathlib import Path
from unittest import mock

from qvsearch import media
from qvsearch.media.sandbox import ConfinedProcess
from qvsearch.media.workers import Decoders
from qvsearch.types import Decoded, DecodeOptions, Item, Kind

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
MAX_PIXELS = 256 * 32 * 32
watched = False


def decode(item, content_hash, options):
    """What the product's workers call, after a hook is set that no Python code can take off."""
    global watched
    if not watched:
        for kind in Kind:  # importing may write byte code
            import_module(f"qvsearch.media.{kind}")
        sys.dont_write_bytecode = True
        sys.addaudithook(abort_on_violation)
        watched = True
    return media.decode(item, content_hash, options)


def abort_on_violation(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    if event.startswith(FORBIDDEN) or writes:
        os.abort()


def running(decoders):
    """The processes that have been started."""
    return [each._process for each in decoders._workers if each._process is not None]


def is_a_reason(text):
    return text.isprintable() and 5 < len(text) < 300 and text.strip() == text


def is_no_surprise(text):
    return not any(word in text for word in ("crashed", "took longer", "not enough memory"))


class Watch:
    """Decodes files, given as (name, bytes or what writes them), in one worker; a context manager.

    At its end there is nothing new in the folders that the worker knows: that of the files, the
    current and the temporary one. `peak` is then the most memory, in bytes, that the worker held.
    """

    def __init__(self, folder, kind, seconds=30.0, modes=()):
        self.kind, self.modes = kind, modes
        self.folders = [Path(folder) / name for name in ("files", "here", "temporary")]
        self.decoders = Decoders(1, decode, lambda item: seconds)
        self.stack = ExitStack()
        self.peak = 0

    def __enter__(self):
        for folder in self.folders:
            folder.mkdir()
        _, here, temporary = self.folders
        self.stack.enter_context(chdir(here))
        self.stack.enter_context(mock.patch.dict(os.environ, TMPDIR=str(temporary)))
        # no process of an earlier test: its highest memory would count
        own = mock.patch("qvsearch.media.sandbox.ConfinedProcess", ConfinedProcess)
        self.stack.enter_context(own)
        self.stack.enter_context(self.decoders)
        return self

    def __exit__(self, *error):
        children = []
        for worker in running(self.decoders):
            process = Path(f"/proc/{worker.process.pid}")
            status = (process / "status").read_text()
            self.peak = max(self.peak, 1024 * int(status.split("VmHWM:")[1].split()[0]))
            children += [path.read_text() for path in process.glob("task/*/children")]
        self.stack.__exit__(*error)
        if error == (None, None, None):
            assert "".join(children) == ""
            for folder in self.folders:
                assert list(folder.iterdir()) == []
                folder.rmdir()

    def outcomes(self, files):
        """Yield (name, the number of its segments or the reason why there are none).

        A file has no name but the suffix, if any.
        """
        folder = self.folders[0]
        names, paths = [], []

        def jobs():
            for name, data in files:
                path = folder / f"{len(names)}{Path(name).suffix}"
                if callable(data):
                    data(path)
                else:
                    path.write_bytes(data)
                status = path.stat()
                names.append(name)
                paths.append(path)
                root, place = os.fsencode(folder), os.fsencode(path.name)
                yield Item(root, place, self.kind, status.st_size, status.st_mtime_ns), ""

        for number, result in enumerate(
            self.decoders.decode(jobs(), DecodeOptions(MAX_PIXELS, *self.modes))
        ):
            paths[number].unlink()
            good = isinstance(result, Decoded)
            yield names[number], len(result.segments) if good else result.reason


def sort(folder, kind, files, most, **options):
    """Decode files; return how many of each name were decoded, to `most` segments, and refused."""
    decoded, refused = Counter(), Counter()
    with Watch(folder, kind, **options) as watch:
        for name, outcome in watch.outcomes(files):
            if isinstance(outcome, int):
                assert 1 <= outcome <= most
                decoded[name] += 1
            else:
                assert is_a_reason(outcome), (name, outcome)
                assert is_no_surprise(outcome), (name, outcome)
                refused[name] += 1
    assert watch.peak < 1_000_000_000
    return decoded, refused
