"""Files that change between the walk, the hash and the decoder's last look at them.

Proves that whatever happens to a file at any of five steps, nothing crashes, and that each vector
in the library is that of the very content whose hash stands beside it.
"""

import os

import numpy as np
import pytest
from PIL import Image
from support.indexer import FINGERPRINT, Bench, Counting
from support.racing import ACTS, HOOKS, Racing, racing_decode

from qvsearch import files as durable
from qvsearch.indexing import pipeline as ingest
from qvsearch.library.library import Library
from qvsearch.media.workers import Decoders

pytestmark = pytest.mark.faults

SUFFIXES = ("png", "bmp", "txt")
NAMES = [f"{hook}-{act}-.{suffix}" for hook in HOOKS for act in ACTS for suffix in SUFFIXES]


def write(path, seed):
    """Write a file that none of another seed equals, yet is as long."""
    dice = np.random.default_rng(seed)
    if path.suffix == ".txt":
        path.write_text(
            "".join(f"{number:012d} words\n" for number in dice.integers(10**12, size=20))
        )
    else:
        pixels = dice.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        options = {"compress_level": 0} if path.suffix == ".png" else {}
        Image.fromarray(pixels).save(path, **options)


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """A library after a run during which every file of `media` changed, and what the run said."""
    home = tmp_path_factory.mktemp("raced")
    for name in ("media", "other", "done", "before", "after"):
        (home / name).mkdir()
    for seed, name in enumerate(NAMES):
        for folder in ("media", "before"):
            write(home / folder / name, seed)
        write(home / "other" / name, seed + len(NAMES))
    bench = Bench(home / "library", home / "media")
    Library.create(bench.library_folder, FINGERPRINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "os", Racing("walk", "hash"))
        patch.setattr(ingest, "Decoders", lambda: Decoders(2, racing_decode))
        summary = bench.index()
    return bench, summary, bench.rows()


def quiet_run(home, name, *folders):
    """What a library of its own holds of these folders while nothing in them changes."""
    bench = Bench(home / name, home)
    Library.create(bench.library_folder, FINGERPRINT)
    bench.index(*(home / folder for folder in folders))
    return bench.rows()


def test_every_file_changed_and_none_stopped_the_run(raced):
    bench, summary, _ = raced
    assert {path.name for path in (bench.root.parent / "done").iterdir()} == set(NAMES)
    assert summary.found == len(NAMES)
    reasons = {each.reason for each in summary.failures}
    assert {"no longer there", "changed while it was being indexed"} <= reasons
    assert not [reason for reason in reasons if "crash" in reason]


def test_a_vector_is_that_of_the_content_whose_hash_is_recorded(raced, tally):
    bench, _, rows = raced
    home = bench.root.parent
    # the content that took a file's place is in that place now, or still in `other`
    quiet = quiet_run(home, "quiet", "before", "other", "media")
    vectors = {digest: vector for found in quiet.values() for digest, _, vector in found}
    assert len(rows) > len(NAMES) / 5
    wrong = {
        os.path.basename(place)
        for place, found in rows.items()
        for digest, _, vector in found
        if vectors[digest] != vector
    }
    assert wrong == set()
    tally["files changed between walk, hash and decode"] += len(list((home / "done").iterdir()))


def test_a_quiet_run_afterwards_finds_every_file_as_it_is(raced):
    bench, _, _ = raced
    bench.embedder = Counting()
    bench.index(retry_failed=True)
    rows = bench.rows()
    quiet = quiet_run(bench.root.parent, "quiet too", "media")
    # whatever has the size and the time that the file had is that file, for all that can be told
    plain = {place for place in quiet if b"slyly" not in place}
    assert len(plain) > len(NAMES) / 4
    assert {place: rows[place] for place in plain} == {place: quiet[place] for place in plain}
