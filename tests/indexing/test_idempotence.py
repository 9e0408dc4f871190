"""What was indexed once costs nothing again: not twice, touched, renamed, moved nor moved back.

A thousand files; an unchanged run does not even write, so that the manifest stays the same to the
byte.
"""

import os

import pytest
from support import cheap_model
from support.faulty_disk import FaultyDisk
from support.readers import rows

from qvsearch import files as durable
from qvsearch.cli.app import main
from qvsearch.library.library import Library
from qvsearch.library.lock import HOLDER
from qvsearch.library.manifest import MANIFEST

NOTES = 1000


class Counting(cheap_model.CheapModel):
    """Counts what it embeds."""

    embedded = 0

    def embed(self, inputs):
        self.embedded += len(inputs)
        return super().embed(inputs)


@pytest.fixture
def folder(in_memory):
    cheap_model.write_notes(in_memory / "notes", NOTES)
    Library.create(in_memory / "library", cheap_model.FINGERPRINT)
    return in_memory


def index(folder):
    """Return how many inputs were embedded, and which files of the library were written."""
    disk, model = FaultyDisk(), Counting()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "os", disk)
        with cheap_model.instead(model, batch=NOTES, commit_seconds=60.0):
            command = ["index", str(folder / "notes"), "-l", str(folder / "library"), "--quiet"]
            assert main(command) == 0
    written = [arguments[1].name for name, arguments in disk.steps if name == "replace"]
    return model.embedded, [name for name in written if name != HOLDER]


def contents(folder):
    return sorted((each.content_hash, data) for each, data in rows(folder / "library").items())


def test_what_is_known_is_not_embedded_again(folder):
    notes, library = folder / "notes", folder / "library"
    embedded, written = index(folder)
    assert embedded > NOTES, "the generic queries come with them"
    assert MANIFEST in written
    first, manifest = contents(folder), (library / MANIFEST).read_bytes()
    assert len(first) == NOTES

    assert index(folder) == (0, [])
    assert (library / MANIFEST).read_bytes() == manifest

    for path in notes.iterdir():
        os.utime(path, ns=(0, 10**18))
    assert index(folder)[0] == 0
    assert contents(folder) == first

    (notes / "moved").mkdir()
    for path in notes.glob("*.txt"):
        path.rename(notes / "moved" / f"renamed {path.name}")
    assert index(folder)[0] == 0
    assert contents(folder) == first
    places = {segment.item.path for segment in rows(library)}
    assert all(place.startswith(b"moved/renamed ") for place in places)
    assert index(folder) == (0, [])
