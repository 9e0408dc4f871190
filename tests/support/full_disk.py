"""Indexes on a small file system with too little room, and again with enough.

Run as a program: `full_disk.py FOLDER`, by one who may mount a file system in memory on FOLDER.
Beside it lie `notes` and a `library` that knows some of them. Each try is a line of JSON.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qvsearch.cli import app as cli
from qvsearch.library.library import Library
from qvsearch.library.manifest import COPY
from support import cheap_model
from support.readers import view

SIZE = 4 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")


def namespace(folder):
    """Return what comes before a command that may mount a file system on the folder."""
    said = "there is no unshare"
    for words in (["unshare", "--map-root-user", "--mount"], ["unshare", "--mount"]):
        if shutil.which("unshare"):
            trial = [*words, "mount", "-t", "tmpfs", "none", str(folder)]
            done = subprocess.run(trial, capture_output=True, text=True, check=False)
            if not done.returncode:
                return words
            said = done.stderr
    pytest.skip(f"no small file system can be mounted here: {said}")


def index(library, notes):
    """Return the exit code and what was said of errors; all is one commit."""
    said = io.StringIO()
    with (
        cheap_model.instead(batch=10_000, commit_seconds=60.0),
        contextlib.redirect_stderr(said),
    ):
        code = cli.main(["index", str(notes), "-l", str(library), "--quiet"])
    return code, said.getvalue()


def leave(pages, path):
    """Write a file that leaves so many pages of its file system."""
    free = os.statvfs(path.parent).f_bavail
    path.write_bytes(bytes((free - pages) * PAGE))


def sizes(library):
    return {path.name: path.stat().st_size for path in library.rglob("*") if path.is_file()}


def main():
    small = Path(sys.argv[1])
    notes, library, roomy = (small.with_name(name) for name in ("notes", "library", "roomy"))
    shutil.copytree(library, roomy)
    assert index(roomy, notes)[0] == 0
    new = f"{Library.open(roomy)._manifest.next - 1:06}"
    vectors, sidecar, facts, words = (
        -(-sizes(roomy)[f"{new}.{end}"] // PAGE) for end in ("faiss", "jsonl", "facts", "words")
    )
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", small], check=True)
    # two pages are those that say who holds the lock and what is left to do
    for name, room in (
        (f"{new}.faiss", 2 + vectors // 2),
        (f"{new}.jsonl", 2 + vectors + sidecar // 2),
        (f"{new}.facts", 2 + vectors + sidecar + facts // 2),
        (f"{new}.words", 2 + vectors + sidecar + facts + words // 2),
        (COPY, 2 + vectors + sidecar + facts + words),
    ):
        shutil.copytree(library, small / "library")
        leave(room, small / "filler")
        code, said = index(small / "library", notes)
        unchanged = view(small / "library") == view(library)
        (small / "filler").unlink()
        again = index(small / "library", notes)
        record = {
            "fills up in": name,
            "code": code,
            "said": said,
            "unchanged": unchanged,
            "again": again,
            "needed": sizes(small / "library")[name],
            "as with room": view(small / "library") == view(roomy),
        }
        sys.stdout.write(json.dumps(record) + "\n")
        shutil.rmtree(small / "library")


if __name__ == "__main__":
    main()
