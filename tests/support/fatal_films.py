"""Decodes files as the product does, but some pictures, or the films within, end the process."""

import os
import signal
from pathlib import Path

from qvsearch import media
from qvsearch.media import motion


def _ended(*_):
    os.kill(os.getpid(), signal.SIGSEGV)


def decode(item, content_hash, options):
    motion._moments = _ended
    return media.decode(item, content_hash, options)


def decode_some(item, content_hash, options):
    """Crash once for a file `*-once.*` and always for others; each crash adds a byte to a file."""
    crashes = Path(f"{os.fsdecode(item.location)}.crashes")
    if not crashes.exists() or b"-once" not in item.location:
        with crashes.open("ab") as file:
            file.write(b".")
        _ended()
    return media.decode(item, content_hash, options)
