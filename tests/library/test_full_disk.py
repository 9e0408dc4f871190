"""A real file system that is full: said with the bytes that are missing, nothing lost, goes on.

It fills up in the middle of the vectors, the sidecar, the facts and the words, and before the
manifest.
"""

import json
import os
import subprocess
import sys

import pytest
from support import cheap_model, full_disk

from qvsearch.library.library import Library

pytestmark = pytest.mark.faults


def test_a_full_file_system_loses_nothing_and_says_what_is_missing(tmp_path, disk, tally):
    small = tmp_path / "small"
    small.mkdir()
    before = full_disk.namespace(small)
    Library.create(tmp_path / "library", cheap_model.FINGERPRINT)
    cheap_model.write_notes(tmp_path / "notes", 10)
    assert full_disk.index(tmp_path / "library", tmp_path / "notes") == (0, "")
    cheap_model.write_notes(tmp_path / "notes", 600, first=10)
    program = [*before, sys.executable, full_disk.__file__, str(small)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    filled = [each["fills up in"][-6:] for each in records]
    assert filled == [".faiss", ".jsonl", ".facts", ".words", "on.bak"]
    for each in records:
        assert each["code"] == 2
        assert each["said"] == (
            f"qvsearch: no space for {each['fills up in']} in {place(small, each)}:"
            f" it needs {each['needed']:,} bytes ({os.strerror(28)});"
            " free some and run the same command again\n"
        )
        assert each["unchanged"]
        assert each["again"] == [0, ""]
        assert each["as with room"]
        tally["file systems really full"] += 1


def place(small, record):
    library = small / "library"
    return library / "segments" if record["fills up in"][0] == "0" else library
