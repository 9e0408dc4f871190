"""Libraries of files, embedded by the model of colours; and documents with a page of each."""

import os

import numpy as np

from qvsearch import media
from qvsearch.files import content_hash
from qvsearch.indexing.batching import with_words
from qvsearch.library.library import Library
from qvsearch.types import Item, kind_of
from support.coloured_pages import write_pdf
from support.colours import FINGERPRINT, ColourEmbedder


def write_documents(folder):
    """Write two documents; their second pages are green."""
    write_pdf(
        folder / "report.pdf", ("red", "Annual report"), ("green", "Meadows"), ("blue", "Sea")
    )
    write_pdf(folder / "other.pdf", ("grey", "Cover"), ("green", "Grass"))


def make_library(place, folder):
    """Make a library of a folder's files, decoded in this process."""
    library = Library.create(place, FINGERPRINT)
    library.add_root(os.fsencode(folder))
    for path in sorted(folder.iterdir()):
        status, name = path.stat(), os.fsencode(path.name)
        item = Item(os.fsencode(folder), name, kind_of(name), status.st_size, status.st_mtime_ns)
        digest = content_hash(item.location, item.size)
        decoded = media.decode(item, digest, FINGERPRINT.decode_options)
        segments, sources = zip(*decoded.segments, strict=True)
        vectors = np.stack(ColourEmbedder().embed(list(sources)))
        library.add([with_words(*each) for each in zip(segments, sources, strict=True)], vectors)
    library.commit()
    return Library.open(place)
