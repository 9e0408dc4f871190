"""Time and memory of exporting a library: python tests/bench/export_memory.py --rows 1000000

The vectors are random. A million rows are 4 GB of library and 8.4 GB of exported files, in a
temporary folder that is deleted at the end. Library and export have a process each.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from qvsearch import Kind, Library, export
from qvsearch.types import Detail, Fingerprint, Item, Segment

CHUNK = 20_000


def fill(folder, rows, dim):
    fingerprint = Fingerprint("random", "1", dim, Detail.LOW, "Represent the user's input.", 1, 1)
    library = Library.create(folder, fingerprint)
    library.add_root(b"/photos")
    vectors = np.random.default_rng(0).standard_normal((min(rows, CHUNK), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for first in range(0, rows, CHUNK):
        segments = [
            Segment(Item(b"/photos", b"%07d.jpg" % number, Kind.IMAGE, 1, number), str(number))
            for number in range(first, min(first + CHUNK, rows))
        ]
        library.add(segments, np.roll(vectors[: len(segments)], first // CHUNK, axis=1))
        library.commit()


def memory():
    """The most memory of this process up to now, and what it has of its own now, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return tuple(int(values[key].split()[0]) / 1000 for key in ("VmHWM", "RssAnon"))


def measure(folder):
    library = Library.open(folder / "library")
    print(f"opened: at most {memory()[0]:,.0f} MB")
    started = time.monotonic()
    count = export(library, folder / "export")
    seconds = time.monotonic() - started
    most, own = memory()
    size = sum(each.stat().st_size for each in (folder / "export").iterdir())
    print(f"exported {count:,} rows, {size / 1e9:.2f} GB, in {seconds:.0f} s")
    print(f"memory: at most {most:,.0f} MB with pages of the library's files, {own:,.0f} MB own")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--measure", type=Path, help="a folder that this command has filled")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "library", options.rows, options.dim)
        command = [sys.executable, __file__, "--measure", folder]
        print(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
