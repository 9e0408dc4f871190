"""Decodes files as the product does, but a film within a picture ends the process."""

import os
import signal

from qvsearch import media
from qvsearch.media import motion


def _ended(*_):
    os.kill(os.getpid(), signal.SIGSEGV)


def decode(item, content_hash, options):
    motion._moments = _ended
    return media.decode(item, content_hash, options)
