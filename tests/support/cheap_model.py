"""The whole command line with a model that hashes what it reads: exact, at once, without torch.

Run as a program it is `qvsearch` with this model, for libraries that have FINGERPRINT.
"""

import hashlib
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from qvsearch import media
from qvsearch.cli import app as cli
from qvsearch.errors import MediaError
from qvsearch.indexing import batching as batches
from qvsearch.indexing import pipeline as ingest
from qvsearch.library.library import Library
from qvsearch.models.patches import PREPROCESSING
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, PROMPT_LAYOUT, PROMPT_TOKENS
from qvsearch.runtime import loading as fingerprint
from qvsearch.types import Detail, Fingerprint, Skipped

DIM = 8
BATCH = 4
FINGERPRINT = Fingerprint(
    "hashes", "1", DIM, Detail.LOW, DOCUMENT_INSTRUCTION, PROMPT_LAYOUT, PREPROCESSING
)


class CheapModel:
    """Its vector is a hash of the text, and of nothing else."""

    dim = DIM

    def embed(self, inputs):
        return np.stack([vector_of(each.text or "") for each in inputs])


def vector_of(text):
    digest = hashlib.sha256(text.encode()).digest()
    found = np.frombuffer(digest, np.uint8)[:DIM].astype(np.float32) + 1
    return found / np.linalg.norm(found)


class DecodersHere:
    """Decodes in this process: starting another costs more than all that is tested with it."""

    def __init__(self, workers=None, decode=media.decode):
        self._decode = decode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def decode(self, jobs, options, stop=lambda: False, *, in_parts=False):
        for item, content_hash in jobs:
            try:
                yield self._decode(item, content_hash, options)
            except MediaError as error:
                yield Skipped(item.location, str(error))

    def look(self, items, stop):
        for item, since in items:
            try:
                yield item, media.look(item, since)
            except MediaError as error:
                yield item, Skipped(item.location, str(error))


@contextmanager
def instead(model=None, decoders=DecodersHere, batch=BATCH, commit_seconds=0.0):
    """Have the command line load this model, embed a batch of notes at once and commit each."""
    model = model or CheapModel()
    options = partial(ingest.IngestOptions, commit_seconds=commit_seconds)
    with (
        patch.object(fingerprint, "load_embedder", lambda *_: model),
        patch.object(ingest, "Decoders", decoders),
        patch.object(ingest, "IngestOptions", options),
        patch.object(batches, "MAX_TOKENS", batch * PROMPT_TOKENS),
    ):
        yield model


def load_all():
    """Index a note, so that this process has loaded what those that are forked from it need."""
    with TemporaryDirectory() as place, instead():
        notes, library = Path(place, "notes"), Path(place, "library")
        write_notes(notes, 1)
        Library.create(library, FINGERPRINT)
        assert cli.main(["index", str(notes), "-l", str(library), "--quiet"]) == 0


def write_notes(folder, count, first=0):
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number:04}.txt").write_text(f"note {number}\n")


if __name__ == "__main__":
    with instead():
        code = cli.main()
    sys.exit(code)
