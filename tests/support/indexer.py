"""An index run over small files, with an embedder that hashes what it gets."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qvsearch.errors import QvsearchError
from qvsearch.indexing.counts import Event
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.indexing.plan import plan
from qvsearch.library.library import Library
from qvsearch.media.workers import LOOK_AHEAD_FILES
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION
from qvsearch.types import Detail, Fingerprint

DIM = 8


FINGERPRINT = Fingerprint("counting", "1", DIM, Detail.LOW, DOCUMENT_INSTRUCTION, 1, 1)


def hash_vector(source) -> np.ndarray:
    """Return a unit vector that is a hash of what the model would see."""
    digest = hashlib.sha256((source.text or "").encode())
    for image in source.images:
        digest.update(repr(image.shape).encode() + image.tobytes())
    vector = np.frombuffer(digest.digest(), dtype=np.uint8)[:DIM].astype(np.float32) + 1
    return vector / np.linalg.norm(vector)


@dataclass
class Counting:
    """An embedder that counts, refuses words it is told to, and loads only when it is asked."""

    refuses: str = "no such words"
    dim: int = DIM
    loads: int = 0
    embedded: list[str] = field(default_factory=list)

    def load(self):
        self.loads += 1
        return self

    def embed(self, inputs):
        documents = [source for source in inputs if source.instruction is None]
        if any(self.refuses in (source.text or "") for source in documents):
            raise QvsearchError(f"cannot embed {self.refuses}")
        self.embedded += [
            source.text or f"{len(source.images)} images"
            for source in documents  # the others are the bank's generic queries
        ]
        return np.stack([hash_vector(source) for source in inputs])


@dataclass
class Bench:
    """A library, a folder to index, and what the last run reported."""

    library_folder: Path
    root: Path
    embedder: Counting = field(default_factory=Counting)
    events: list[Event] = field(default_factory=list)

    def open(self) -> Library:
        return Library.open(self.library_folder)

    def index(self, *paths: Path, stop=lambda: False, **options):
        """Run on the library as the disk has it; check what must hold of every run."""
        self.embedder.embedded.clear()
        self.events.clear()
        library = self.open()
        summary = index(
            library,
            [os.fsencode(path) for path in paths or (self.root,)],
            self.embedder.load,
            IngestOptions(**options),
            self.events.append,
            stop,
        )
        assert summary.found == summary.indexed + summary.unchanged + summary.skipped
        assert summary.indexed == summary.embedded + summary.reused
        assert summary.skipped == len(summary.failures)
        states = Counter(event.state for event in self.events)
        assert states["indexed"] == summary.embedded
        assert states["removed"] == summary.removed
        for state in ("reused", "unchanged", "skipped"):
            assert states[state] == getattr(summary, state)
        (planned,) = [event for event in self.events if event.state == "planned"]
        assert sum(event.estimate for event in self.events) - planned.estimate <= planned.estimate
        if not summary.interrupted:
            assert summary.left == 0
            assert sum(event.estimate for event in self.events) == 2 * planned.estimate
        on_disk = list(self.open().segments.values())
        assert list(library.segments.values()) == on_disk, "what the object says is on the disk"
        return summary

    def plan(self, *paths: Path, **options):
        asked = [os.fsencode(path) for path in paths or (self.root,)]
        return plan(self.open(), asked, IngestOptions(**options))

    def rows(self) -> dict[bytes, list]:
        """Return what a reader finds on the disk: places, with each row's hash and vector."""
        library = self.open()
        found: dict[bytes, list] = {}
        for row, segment in library.segments.items():
            vector = library.vectors([row])[0].tobytes()
            place = segment.item.location
            found.setdefault(place, []).append((segment.content_hash, segment.lines, vector))
        return found

    def names(self) -> set[str]:
        return {os.path.relpath(os.fsdecode(place), self.root) for place in self.rows()}


@pytest.fixture
def bench(tmp_path):
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    return Bench(tmp_path / "library", tmp_path / "media")


def picture(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (shade, 255 - shade, shade // 2)).save(path, "PNG")
    return path


def note(path: Path, words: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{words}\n")
    return path


def notes(root: Path, count: int) -> list[Path]:
    return [note(root / f"{number:03}.txt", f"note {number}") for number in range(count)]


def while_embedding(bench: Bench, act) -> None:
    """Do something when the first batch is embedded; decoding is then some files ahead."""
    embed = bench.embedder.embed

    def acting(inputs):
        if not bench.embedder.embedded and inputs[0].instruction is None:
            act()
        return embed(inputs)

    bench.embedder.embed = acting


# the last ones are not decoded yet when the first batch, of a dozen or two, is embedded
MANY = LOOK_AHEAD_FILES + 100
