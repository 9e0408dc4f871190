"""Pictures drawn for tests, and their decoding."""

import os

import numpy as np
from PIL import Image

from qvsearch import media
from qvsearch.files import content_hash
from qvsearch.types import DecodeOptions, Item, Kind

MEDIUM = 768 * 32 * 32


def item_of(path, kind=Kind.IMAGE):
    status = os.stat(path)
    return Item(os.fsencode(path), b"", kind, status.st_size, status.st_mtime_ns)


def decode(path, max_pixels=MEDIUM):
    item = item_of(path)
    return media.decode(item, content_hash(item.location, item.size), DecodeOptions(max_pixels))


def scene(width=200, height=150):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8))
